"""Neurons of other libraries beside what spikeops.convert makes of them."""

import torch

import spikeops


def drawn(*shape, low=-0.5, high=2.0, seed=0, dtype=torch.float32):
    """Numbers drawn evenly between two."""
    generator = torch.Generator().manual_seed(seed)
    return (low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)).to(dtype)


def assert_alike(net, run, x, *, bound=1e-5, silent=False):
    """Spikes equal bit for bit; the gradients of the input and of all parameters, and the other outputs, within `bound` of the
    largest of their tensor: theirs and ours add up in other orders, over 100 steps at most.

    `run(net, x)` returns the outputs over time, and a tuple of other tensors (states, potentials)."""
    converted = spikeops.convert(net)
    assert [name for name, _ in converted.named_parameters()] == [name for name, _ in net.named_parameters()]
    results = []
    for model in (net, converted):
        x_in = x.clone().requires_grad_()
        spikes, others = run(model, x_in)
        weights = drawn(*spikes.shape, low=-1, high=1, seed=1, dtype=x.dtype)
        loss = (spikes * weights).sum() + sum((other * other).sum() for other in others)
        names, tensors = zip(("x", x_in), *((n, p) for n, p in model.named_parameters() if p.requires_grad))
        gradients = torch.autograd.grad(loss, tensors, allow_unused=True)
        results.append((spikes.detach(), [other.detach() for other in others], dict(zip(names, gradients))))
    (spikes, others, gradients), (our_spikes, our_others, our_gradients) = results
    assert silent or 0.01 < spikes.mean() < 4, f"no test of spikes: their mean is {spikes.mean():.3f}"
    differing = (spikes != our_spikes).sum().item()
    assert differing == 0, f"{differing} of {spikes.numel()} spikes differ, the first in step {(spikes != our_spikes).nonzero()[0][0]}"
    for theirs, ours in zip(others, our_others, strict=True):
        assert theirs.shape == ours.shape and theirs.dtype == ours.dtype
        assert_near("a state", theirs, ours, bound)
    for name, theirs in gradients.items():
        ours = our_gradients[name]
        if theirs is None or ours is None:
            assert (theirs is None or not theirs.any()) and (ours is None or not ours.any()), f"only one has a gradient of {name}"
        else:
            assert_near(f"the gradient of {name}", theirs, ours, bound)
    return converted


def assert_near(what, theirs, ours, bound):
    scale = theirs.abs().max()
    distance = (theirs - ours).abs().max()
    assert distance <= bound * scale, f"{what}: {distance / scale:.1e} of its largest element off, {bound:.0e} allowed"


def assert_refused(model, *words):
    """Refused with these words, and left as it was; strict=False leaves it, too."""
    kinds = [type(module) for module in model.modules()]
    for inplace in (False, True):
        try:
            spikeops.convert(model, inplace=inplace)
        except spikeops.conversion.NotExact as refusal:
            message = str(refusal)
        else:
            raise AssertionError(f"converted {model}")
        for word in words:
            assert word in message, f"{word!r} is not in {message!r}"
        assert [type(module) for module in model.modules()] == kinds
    report = []
    left = spikeops.convert(model, inplace=True, strict=False, report=report)
    assert [type(module) for module in left.modules()] == kinds
    assert all(finding.reason for finding in report) and report
