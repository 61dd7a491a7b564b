"""Hooks for all modules (`torch.nn.modules.module.register_module_forward_hook` and its kin) see what hooks of the modules see."""

import pytest
import torch
from torch import nn
from torch.nn.modules import module as for_all

import spikeops.nn as snn

SAMPLES, STEPS = 4, 5
LABELS = torch.tensor([0, 1, 2, 0])


def ring(method, batch_norm=False):
    torch.manual_seed(0)
    first = [nn.Linear(6, 6), *([nn.BatchNorm1d(6)] if batch_norm else [])]
    return snn.FeedbackRing(
        [nn.Sequential(nn.Linear(6, 6), nn.Identity())], nn.Linear(6, 6), nn.Sequential(*first), method=method, time_steps=6,
        backward_time_steps=6, threshold=0.3, backward_threshold=0.05,
    )  # fmt: skip


def local(rule):
    torch.manual_seed(0)
    encoder = nn.Linear(6, 8, bias=False)
    nn.init.uniform_(encoder.weight, 0, 0.5)
    return snn.LocalBlock(encoder, snn.LocalClassifier((8,), 3), rule=rule, time_steps=STEPS)


def with_loss(batch_norm=True):
    torch.manual_seed(0)
    return snn.LocalLossBlock(nn.Linear(6, 8), (8,), 3, time_steps=STEPS, batch_norm=batch_norm)


def learn(block, x):
    block.learn(x, LABELS, torch.optim.SGD(block.parameters(), 0.1))


def train(block, x):
    block.local_losses(block(x), LABELS).total.backward()


def run_ring(module, x):
    module(x).sum().backward()


X = torch.rand(SAMPLES, 6, generator=torch.Generator().manual_seed(1))
# How to make it; how to run it; the modules inside that no call of it concerns.
CASES = {
    "ring ide": (lambda: ring("ide"), run_ring, ()),
    "ring ide, batch norm": (lambda: ring("ide", True), run_ring, (nn.Sequential,)),
    "ring spide": (lambda: ring("spide"), run_ring, ()),
    "LocalBlock ell": (lambda: local("ell"), learn, (snn.LocalBlock,)),
    "LocalBlock fell": (lambda: local("fell"), learn, (snn.LocalBlock,)),
    "LocalBlock bell": (lambda: local("bell"), learn, (snn.LocalBlock,)),
    "LocalBlock forward": (lambda: local("ell"), lambda block, x: block(x), (snn.LocalClassifier,)),
    "LocalLossBlock": (with_loss, train, ()),
    "LocalLossBlock, one value": (with_loss, lambda block, x: block(x[:1]), (nn.Flatten, nn.Linear)),
    "TimeDistributed": (lambda: snn.TimeDistributed(nn.Linear(6, 3)), lambda module, x: module(x.expand(3, *x.shape)), ()),
    "neurons": (lambda: nn.Sequential(snn.LIF(), snn.IF(), snn.ParametricLIF(), snn.TSSLBP(), snn.SynapticFilter()), run_ring, ()),
}
KINDS = {
    "forward": (for_all.register_module_forward_hook, "register_forward_hook"),
    "forward pre": (for_all.register_module_forward_pre_hook, "register_forward_pre_hook"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_they_see_every_module(case, kind):
    make, run, not_called = CASES[case]
    module, seen = make(), set()
    handle = KINDS[kind][0](lambda module, *_: seen.add(module))
    try:
        run(module, X.clone())
    finally:
        handle.remove()
    missing = [name for name, part in module.named_modules() if part not in seen and not isinstance(part, (*not_called, nn.ModuleList))]
    if case == "LocalLossBlock, one value":
        missing = [name for name in missing if name in ("encoder", "norm", "neuron")]
    assert not missing, f"never called: {missing}"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", CASES)
def test_they_see_what_hooks_of_the_modules_see(case):
    """The same calls, but of containers, whose own hooks make them a module like others."""
    make, run, _ = CASES[case]

    def calls(register):
        module, counts = make(), {}
        names = {part: name for name, part in module.named_modules() if not isinstance(part, nn.Sequential)}

        def count(part, inputs, output):
            if part in names:
                counts[names[part]] = counts.get(names[part], 0) + 1

        handles = register(module, count)
        try:
            run(module, X.clone())
        finally:
            for handle in handles:
                handle.remove()
        return counts

    of_all = calls(lambda module, hook: [for_all.register_module_forward_hook(hook)])
    of_each = calls(lambda module, hook: [part.register_forward_hook(hook) for part in module.modules() if not isinstance(part, nn.Sequential)])
    assert of_all == of_each


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", CASES)
def test_watching_changes_no_number(case):
    make, run, _ = CASES[case]

    def state(watch):
        torch.manual_seed(0)
        module = make()
        handle = for_all.register_module_forward_hook(lambda *_: None) if watch else None
        try:
            run(module, X.clone())
        finally:
            if handle:
                handle.remove()
        return {**module.state_dict(), **{f"{n}.grad": p.grad for n, p in module.named_parameters() if p.grad is not None}}

    watched, alone = state(True), state(False)
    assert watched.keys() == alone.keys()
    for name, value in alone.items():
        # Other routines add up in another order.
        torch.testing.assert_close(watched[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("rule", ["ell", "fell", "bell"])
def test_a_hook_that_changes_an_output_counts(rule):
    """The weights then learn as if the layer had that output: here, as if it were twice as strong."""
    hooked, doubled = local(rule), local(rule)
    handle = for_all.register_module_forward_hook(lambda module, inputs, output: 2 * output if isinstance(module, nn.Linear) else None)
    optimizer = torch.optim.SGD(hooked.parameters(), 0.0)
    try:
        step = hooked.learn(X, LABELS, optimizer)
    finally:
        handle.remove()
    with torch.no_grad():
        doubled.encoder.weight.mul_(2)
    expected = doubled.learn(X, LABELS, torch.optim.SGD(doubled.parameters(), 0.0))
    assert torch.equal(step.spikes, expected.spikes)
    torch.testing.assert_close(hooked.encoder.weight.grad, 2 * doubled.encoder.weight.grad, rtol=1e-5, atol=1e-7)
