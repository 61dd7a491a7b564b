"""Training steps of feedback networks against numbers made by the published code.

Reads traj_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden): SGD with momentum and weight decay; SPIDE multiplies the loss by
a scale factor, by which it divides the learning rate.
"""

import pytest
import torch
import torch.nn.functional as F
from feedback_tests.golden import Golden, build, case_name, golden_files, published_state, relative_error, use_published_draws

# Rounding grows over the steps: one spike more or less is allowed to no neuron, but later gradients see earlier rounding.
TOLERANCE = 1e-3
# Biases before a batch-norm have no gradient but rounding.
ZERO = 1e-6


@pytest.mark.parametrize("path", golden_files("traj_*.npz"), ids=case_name)
def test_training_steps(path, monkeypatch):
    golden = Golden(path)
    ring, classifier, published = build(golden)
    parameters = [p for module in published.values() for p in module.parameters()]
    scale = golden.hp("scale_factor", 1.0)
    optimizer = torch.optim.SGD(
        parameters, lr=golden.hp("lr") / scale, momentum=golden.hp("momentum"), weight_decay=golden.hp("weight_decay")
    )
    for step in range(golden.hp("steps")):
        use_published_draws(monkeypatch, golden, ring, f"step{step}")
        logits = classifier(ring(golden[f"step{step}__x"]).flatten(1))
        loss = F.cross_entropy(logits, golden[f"step{step}__target"])
        assert relative_error(logits, golden[f"step{step}__logits"]) < TOLERANCE
        optimizer.zero_grad()
        (loss * scale).backward()
        optimizer.step()
        after = golden.under(f"step{step}__param_after__") | golden.under(f"step{step}__buf_after__")
        state = {key: value for name, module in published.items() for key, value in published_state(name, module).items()}
        assert set(after) == set(state)
        for name, expected in after.items():
            difference = (state[name] - expected).abs().max()
            assert difference <= TOLERANCE * expected.abs().max() + ZERO, f"step {step}: {name}"
    for key, expected in golden.under("eval_after__logits_on_").items():
        ring.eval()
        with torch.no_grad():
            assert relative_error(classifier(ring(golden[f"{key.removesuffix('_x')}__x"]).flatten(1)), expected) < TOLERANCE
