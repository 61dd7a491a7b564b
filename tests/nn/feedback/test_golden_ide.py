"""FeedbackRing(method="ide") against numbers made by the published code.

Reads ide_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden). Shapes, hyper-parameters and cases all come from the files.
Not compared: training steps of files in which the published code overwrote its own input (leaky neurons, spike input; there the
file's `train_x_after` is not its `in_x`), except for the files named *_patched.
"""

import pytest
import torch
import torch.nn.functional as F
from feedback_tests.golden import (
    Golden,
    build,
    case_name,
    golden_files,
    published_state,
    relative_error,
    same_spikes,
    use_published_draws,
)

from spikeops.nn.feedback import ide

# The published code's own float32 noise reaches 4e-6 of an array's largest magnitude.
TOLERANCE = 1e-4
# Gradients of biases before a batch-norm are zero but for rounding.
ZERO = 1e-6
FILES = golden_files("ide_*.npz")


@pytest.fixture(params=FILES, ids=case_name)
def golden(request):
    return Golden(request.param)


def skip_if_overwritten(golden):
    if "train_x_after" in golden and not torch.equal(golden["train_x_after"], golden["in_x"]):
        pytest.skip("the published code overwrote its input")


def run(golden, ring, classifier, x):
    rate = ring(x)
    return rate, F.cross_entropy(classifier(rate.flatten(1)), golden["in_target"])


def check_spikes(golden, mode, recorder, rate, expected):
    """Returns whether all spikes are those of the file."""
    spikes = [golden[f"{mode}__spikes_layer{layer}"] for layer in range(len(recorder.forward))]
    if not same_spikes(recorder.forward, spikes, golden.hp("vth")):
        return False
    assert torch.equal(rate, expected)
    return True


def check_state(golden, mode, published):
    """Batch-norm statistics and singular vectors after the pass."""
    after = golden.under(f"{mode}__buf_after__")
    state = {key: value for name, module in published.items() for key, value in published_state(name, module).items()}
    assert after and set(after) <= set(state)
    for name, expected in after.items():
        if expected.is_floating_point():
            assert relative_error(state[name], expected) < 1e-5, name
        else:
            assert torch.equal(state[name], expected), name


def test_evaluation(golden, monkeypatch, recorder):
    ring, classifier, published = build(golden)
    ring.eval()
    with torch.no_grad():
        rate, loss = run(golden, ring, classifier, golden.input())
    if check_spikes(golden, "eval", recorder, rate, golden["eval__rate"]):
        assert relative_error(loss, golden["eval__loss"]) < 1e-5
        for layer, expected in golden.under("eval__u_pre_layer").items():
            assert relative_error(recorder.potentials(recorder.forward[int(layer)]), expected) < 1e-5
    check_state(golden, "eval", published)


def test_training(golden, monkeypatch, recorder):
    """Spikes, the implicit solution and every gradient; Broyden's method as published."""
    skip_if_overwritten(golden)
    ring, classifier, published = build(golden)
    use_published_draws(monkeypatch, golden, ring, "train_broy")
    x = golden.input()
    before = x.clone()
    rate, loss = run(golden, ring, classifier, x)
    assert torch.equal(x, before)
    incoming = []
    rate.register_hook(incoming.append)
    same = check_spikes(golden, "train", recorder, rate.detach(), golden["train_broy__rate"])
    check_state(golden, "train_broy", published)
    if not same:
        return
    assert relative_error(loss, golden["train_broy__loss"]) < 1e-5
    loss.backward()
    assert relative_error(incoming[0], golden["train_broy__dloss_drate"]) < 1e-5
    check_gradients(golden, published)


def check_gradients(golden, published, tolerance=TOLERANCE):
    expected = golden.under("train_broy__grad__")
    compared = 0
    for name, module in published.items():
        for key, parameter in published_state(name, module).items():
            if not parameter.requires_grad:
                continue
            if expected[key].abs().max() < ZERO:
                assert parameter.grad.abs().max() < ZERO, key
            else:
                assert relative_error(parameter.grad, expected[key]) < tolerance, key
            compared += 1
    assert compared == len(expected)


def test_fixed_point_converges_to_the_implicit_gradient(golden, monkeypatch):
    """The published solver named "iter" converges to (2I - J^T)^-1 g; this one to (I - J^T)^-1 g, as Broyden's method does."""
    skip_if_overwritten(golden)
    # Each step takes the error by (1 + spectral radius) / 2 or less.
    ring, classifier, published = build(golden, solver="fixed_point", solver_steps=200)
    use_published_draws(monkeypatch, golden, ring, "train_broy")
    rate, loss = run(golden, ring, classifier, golden.input())
    if torch.equal(rate, golden["train_broy__rate"]):
        loss.backward()
        check_gradients(golden, published)


def test_solution_is_that_of_the_direct_solve(golden, monkeypatch):
    """What the solver returns, against a float64 direct solve of (I - J^T) v = g."""
    skip_if_overwritten(golden)
    solutions = []
    solve = ide.ImplicitSolve.__call__
    monkeypatch.setattr(ide.ImplicitSolve, "__call__", lambda self, grad: solutions.append(solve(self, grad)) or solutions[-1])
    ring, classifier, _ = build(golden)
    use_published_draws(monkeypatch, golden, ring, "train_broy")
    rate, loss = run(golden, ring, classifier, golden.input())
    if torch.equal(rate, golden["train_broy__rate"]):
        loss.backward()
        assert relative_error(solutions[0], golden["train_broy__ift_exact64"]) < TOLERANCE
        assert relative_error(solutions[0], golden["train_broy__ift_solution"]) < TOLERANCE
