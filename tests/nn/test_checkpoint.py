"""``snn.checkpoint``: a block is computed again from its spikes, kept as bits, and all is as if it were not."""

import copy
import functools
import weakref

import pytest
import torch
from op_tests.saved import saved_bytes, saved_tensors
from torch import nn

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn

T, B = 4, 3
X = 1.2 * torch.rand(T, B, 4, 6, 6, generator=torch.Generator().manual_seed(1))
NORM = nn.BatchNorm2d(6)  # found by its name


class Block(nn.Module):
    """All that a second pass could do wrong: statistics, random numbers, a spectral norm that is iterated."""

    def __init__(self, momentum=0.1):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.norm, self.drop, self.neurons = nn.BatchNorm2d(6, momentum=momentum), nn.Dropout(0.3), snn.LIF(0.8)
        self.last = nn.utils.parametrizations.spectral_norm(nn.Conv2d(6, 4, 1))

    def forward(self, spikes, scale=1.0):
        current = self.drop(self.norm(self.conv(spikes.flatten(0, 1)))) * scale
        fired = self.neurons(current.unflatten(0, spikes.shape[:2]))
        return fired, self.last(fired.flatten(0, 1))


def block(**options):
    torch.manual_seed(0)
    return Block(**options)


def everything(module, call, x=X, backward=lambda loss: loss.backward()):
    """Outputs, gradients, the state of the module and the random numbers that come next, of one step of training."""
    module, x = copy.deepcopy(module), x.clone().requires_grad_()
    torch.manual_seed(7)
    spikes = SF.lif(x, 0.9)[0]
    fired, current = call(module, spikes)
    found = [fired.detach(), current.detach(), torch.rand(3)]
    backward(fired.float().sum() + current.float().square().sum())
    found += [x.grad, *(parameter.grad for parameter in module.parameters()), *module.state_dict().values(), torch.rand(3)]
    return [value.clone() for value in found if value is not None]


def assert_same(actual, expected):
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert torch.equal(a, e), f"number {i} of all that was compared differs"


def plain(module, spikes):
    return module(spikes)


class Around:
    """Holds a module, and is none."""

    def __init__(self, module):
        self.parts = {"module": [module]}

    def run(self, spikes):
        return self.parts["module"][0](spikes)


def in_a_block(module, spikes):
    with spikeops.pack_saved_spikes():
        return snn.checkpoint(module, spikes)


def in_another(module, spikes):
    return snn.checkpoint(lambda spikes: snn.checkpoint(module, spikes), spikes)


def in_another_of_torch(module, spikes):
    return torch.utils.checkpoint.checkpoint(lambda spikes: snn.checkpoint(module, spikes), spikes, use_reentrant=False)


WAYS = {
    "a module": snn.checkpoint, "a function": lambda module, s: snn.checkpoint(lambda s: module(s), s),
    "a method": lambda module, s: snn.checkpoint(module.forward, s), "some of its arguments": lambda module, s: snn.checkpoint(functools.partial(module, scale=1.0), s),
    "a keyword": lambda module, s: snn.checkpoint(module, s, scale=1.0), "a default": lambda module, s: snn.checkpoint(lambda s, m=module: m(s), s),
    "an argument": lambda module, s: snn.checkpoint(lambda s, m: m(s), s, module), "a list": lambda module, s: snn.checkpoint(lambda s, m=[module]: m[0](s), s),
    "an object": lambda module, s: snn.checkpoint(Around(module).run, s), "in a block": in_a_block, "nested": in_another,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_as_if_it_were_computed_once(way):
    module = block()
    assert_same(everything(module, WAYS[way]), everything(module, plain))


def test_the_test_above_sees_what_a_second_pass_does():
    """torch's own checkpoint updates statistics, and the vectors of the spectral norm, twice."""
    module = block()
    of_torch = everything(module, functools.partial(torch.utils.checkpoint.checkpoint, use_reentrant=False))
    assert any(not torch.equal(a, e) for a, e in zip(of_torch, everything(module, plain), strict=True))


def test_a_module_that_a_function_finds_by_its_name():
    before, counted = copy.deepcopy(NORM.state_dict()), NORM.num_batches_tracked.item()
    try:
        snn.checkpoint(lambda s: NORM(nn.functional.conv2d(s.flatten(0, 1), torch.ones(6, 4, 1, 1))), SF.lif(X)[0]).sum().backward()
        assert NORM.num_batches_tracked.item() == counted + 1
    finally:
        NORM.load_state_dict(before)


@pytest.mark.parametrize("module", [
    block(momentum=None), block().double(), nn.Sequential(block()), nn.Sequential(nn.Flatten(0, 1), nn.Unflatten(0, (T, B)), block()),
], ids=["cumulative", "float64", "inside", "views"])  # fmt: skip
def test_kinds_of_modules(module):
    x = X.to(next(module.parameters()).dtype)
    assert_same(everything(module, snn.checkpoint, x), everything(module, plain, x))


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_backends(backend):
    with spikeops.backend(backend):
        assert_same(everything(block(), snn.checkpoint), everything(block(), plain))


def test_autocast_is_replayed():
    def forward(call, module, spikes):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            fired, current = call(module, spikes)
            assert current.dtype == torch.bfloat16
            return fired, current

    ways = [functools.partial(forward, call) for call in (snn.checkpoint, plain)]
    assert_same(*(everything(block(), way) for way in ways))


def test_evaluation():
    """Statistics are used and not updated, dropout is none; also where the mode changes before the backward pass."""

    def evaluated(call, mode_after, module, spikes):
        module.eval()
        outputs = call(module, spikes)
        module.train(mode_after)
        return outputs

    for mode in (False, True):
        ways = [functools.partial(evaluated, call, mode) for call in (snn.checkpoint, plain)]
        assert_same(*(everything(block(), way) for way in ways))
    module = block()
    snn.checkpoint(module, SF.lif(X)[0])[1].sum().backward()
    assert module.training


def test_without_gradients():
    module, spikes = block().eval(), SF.lif(X)[0]
    with torch.no_grad():
        assert_same(snn.checkpoint(module, spikes), module(spikes))
        assert_same(snn.checkpoint(module, X), module(X))  # nothing is kept
    with torch.inference_mode():
        assert_same(snn.checkpoint(module, spikes), module(spikes))


def test_no_random_numbers_are_replayed_where_that_is_not_wanted():
    module = block()
    module.drop.p = 0.0
    way = functools.partial(snn.checkpoint, preserve_rng_state=False)
    assert_same(everything(module, way), everything(module, plain))


def test_two_backward_passes():
    def twice(loss):
        loss.backward(retain_graph=True)
        loss.backward()

    assert_same(everything(block(), snn.checkpoint, backward=twice), everything(block(), plain, backward=twice))


def test_gradients_of_gradients():
    results = []
    for call in (snn.checkpoint, plain):
        module, x = block(), X.clone().requires_grad_()
        torch.manual_seed(7)
        fired, current = call(module, SF.lif(x, 0.9)[0])
        grads = torch.autograd.grad(fired.sum() + current.square().sum(), [module.conv.weight, x], create_graph=True)
        sum(grad.square().sum() for grad in grads).backward()
        results.append([*grads, x.grad, module.conv.weight.grad])
    assert_same(*results)


def test_hooks_of_parameters_run_once():
    module, runs = block(), []
    module.conv.weight.register_hook(lambda grad: runs.append("gradient"))
    module.conv.weight.register_post_accumulate_grad_hook(lambda weight: runs.append("accumulated"))
    snn.checkpoint(module, SF.lif(X)[0])[1].sum().backward()
    assert runs == ["gradient", "accumulated"]


# --- what is kept -----------------------------------------------------------------------------------------------------------


def test_nothing_is_kept_but_bits():
    module, spikes = block(), SF.lif(X)[0]
    outputs, tensors = saved_tensors(snn.checkpoint, module, spikes)
    assert [tensor.dtype for tensor in tensors] == [torch.uint16] and tensors[0].nbytes == spikes.numel() // 8
    assert saved_bytes(module, spikes) > 50 * tensors[0].nbytes


def test_spikes_among_the_other_arguments_are_kept_as_bits():
    first, second, current = SF.lif(X)[0], SF.lif(2 * X)[0], X.clone().requires_grad_()

    def mixed(a, b, c):
        return a * b * c.exp()

    output, tensors = saved_tensors(snn.checkpoint, mixed, first, second, current)
    assert sorted(str(tensor.dtype) for tensor in tensors) == ["torch.float32", "torch.uint16", "torch.uint16"]
    (grad,) = torch.autograd.grad(output.sum(), current)
    assert torch.equal(grad, first * second * current.exp())


def test_memory_is_freed():
    spikes = SF.lif(X)[0]
    alive = weakref.ref(spikes.untyped_storage())
    fired, current = snn.checkpoint(block(), spikes)
    del spikes
    assert alive() is None
    current.sum().backward()


@pytest.mark.parametrize("spikes", [
    (X > 1).float(), (X > 1).double(), (X > 1).half(), (X > 1).float()[1:, :, ::2], (X > 1).float().transpose(0, 1), (X > 1).float()[0, 0, 0, 0, 0],
    torch.stack([(X > 1).float(), X], -1)[..., 0], SF.poisson_encode(X[0], 5), torch.zeros(0, 3),
], ids=lambda spikes: f"{tuple(spikes.shape)} {spikes.dtype}")  # fmt: skip
def test_inputs_from_elsewhere_are_looked_at_on_the_cpu(spikes):
    weight, results = torch.tensor(2.0, requires_grad=True), []

    def seen(s):
        results.append((s.shape, s.stride(), s.dtype, s.sum(dtype=torch.float64).item()))
        return (s * weight).exp()

    output = snn.checkpoint(seen, spikes)
    output.sum().backward()
    assert results[0] == results[1]


def test_a_kept_outcome_in_ints():
    """Spikes as integers, of which nothing but an embedding, say, can make something."""
    table = nn.Embedding(2, 3)
    for spikes in ((X > 1).long(), (X > 1).int()):
        table.zero_grad()
        output, tensors = saved_tensors(snn.checkpoint, table, spikes)
        assert [tensor.dtype for tensor in tensors] == [torch.uint16]
        output.sum().backward()
        assert table.weight.grad[1, 0] == (X > 1).sum()


# --- what users pass on -----------------------------------------------------------------------------------------------------


def test_arguments_and_results_are_passed_on():
    weight = torch.tensor(2.0, requires_grad=True)

    def function(s, *args, debug, use_reentrant=None, **others):
        return {"sum": (s * weight).exp() * args[0] * others["scale"], "rest": [debug, use_reentrant, args[1]]}

    result = snn.checkpoint(function, SF.lif(X)[0], 3.0, "text", debug=True, use_reentrant="mine", scale=torch.tensor(2.0))
    assert result["rest"] == [True, "mine", "text"]
    result["sum"].sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("arguments, error, message", [
    ((block(), X), ValueError, "checkpoint: expected spikes to be 0 or 1, since they are kept as bits, got other values, from "),
    ((block(), 2 * (X > 1).float()), ValueError, "checkpoint: expected spikes to be 0 or 1, .* from 0 to 2. For such inputs there is torch.utils.checkpoint"),
    ((block(), SF.lif(3 * X, max_spikes=None)[0]), ValueError, "checkpoint: expected spikes to be 0 or 1"),
    ((block(), SF.lif(X)[0].mul_(2)), ValueError, "checkpoint: expected spikes to be 0 or 1"),
    ((block(), -0.0 * (X > 1).float()), ValueError, "checkpoint: expected spikes to be 0 or 1, .* got -0.0, .* Adding 0.0"),
    ((block(), X * float("nan")), ValueError, "checkpoint: expected spikes to be 0 or 1, .* from nan to nan"),
    ((block(), X.to(torch.complex64)), TypeError, "checkpoint: expected spikes to be one of bool, uint8, .*, got complex64"),
    ((block(), (X > 1).to(torch.int8)), TypeError, "checkpoint: expected spikes to be one of bool, uint8, .*, got int8"),
    ((block(), [1.0]), TypeError, "checkpoint: expected spikes to be a tensor, got list"),
    ((3, X), TypeError, "checkpoint: expected block to be a module or a function, got int"),
], ids=range(10))  # fmt: skip
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        snn.checkpoint(*arguments)


def test_bad_flags():
    for name in ("check_values", "preserve_rng_state"):
        with pytest.raises(TypeError, match=f"checkpoint: expected {name} to be True or False, got 1"):
            snn.checkpoint(block(), SF.lif(X)[0], **{name: 1})


def test_values_on_a_device_are_not_looked_at():
    """Known by where they come from; else refused, unless looking is asked for. (A meta tensor has no values to look at.)"""
    layer = nn.Linear(6, 3, device="meta")
    snn.checkpoint(layer, SF.lif(X.to("meta"))[0]).sum().backward()
    with pytest.raises(ValueError, match="expected spikes on meta that a spiking op or module of spikeops made.* With check_values=True"):
        snn.checkpoint(layer, X.to("meta"))


def test_transforms_are_refused():
    with pytest.raises(NotImplementedError, match="checkpoint: is not for transforms of torch.func"):
        torch.func.grad(lambda x: snn.checkpoint(torch.sum, SF.lif(x)[0]))(X)


# --- what changes in between ------------------------------------------------------------------------------------------------


def test_spikes_that_are_written_to_are_an_error():
    spikes = SF.lif(X)[0]
    _, current = snn.checkpoint(block(), spikes)
    spikes.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation.* at version 1; expected version 0"):
        current.sum().backward()


def test_parameters_that_are_written_to_are_an_error():
    """The block would be computed again with others than the first time."""
    module = block()
    _, current = snn.checkpoint(module, SF.lif(X)[0])
    with torch.no_grad():
        module.conv.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation.* at version"):
        current.sum().backward()


# --- compiled code ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["inside", "inside, broken", "a compiled block"])
def test_compiled_code(way):
    """Inside it the block is computed again by the compiler's means, from spikes that are kept as they are. Where the compiler cannot
    look into the block (a spectral norm sets attributes), it stays outside."""
    torch.compiler.reset()
    results = []
    for call in (snn.checkpoint, plain):
        module, x = block(), X.clone().requires_grad_()
        module.drop.p = 0.0
        if way == "inside":
            module.last = nn.Conv2d(6, 4, 1)
            torch.manual_seed(0)
            module.last.reset_parameters()
        inside = way != "a compiled block"
        step = torch.compile(functools.partial(call, module) if inside else module, backend="aot_eager", fullgraph=way == "inside")
        fired, current = step(SF.lif(x, 0.9)[0]) if inside else call(step, SF.lif(x, 0.9)[0])
        (fired.sum() + current.square().sum()).backward()
        results.append([fired.detach(), current.detach(), x.grad, *(p.grad for p in module.parameters()), *module.state_dict().values()])
    torch.compiler.reset()
    for actual, expected in zip(*results, strict=True):  # the compiler sums up in another order in graphs that are cut otherwise
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
