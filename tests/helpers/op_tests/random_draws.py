"""Random calls of every function of spikeops.functional beside its definition: any size, layout, type, options and numbers.

Each draw has a number, from which alone all of it follows, so that one that fails can be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import op_cases
import torch
import torch.nn.functional as F

import spikeops.functional as SF
from op_tests.compare import (
    LAST_PLACE,
    ROUNDING,
    assert_agree,
    assert_close,
    assert_identical,
    assert_same_results,
    dense_copies,
    run_call,
)  # fmt: skip
from op_tests.inputs import Inputs
from op_tests.layouts import INPUTS, UPSTREAM, lay_out
from op_tests.special_numbers import SHARES
from spikeops import reference
from spikeops._dtypes import state_dtype


def functions() -> list[str]:
    """Every function of which there are draws."""
    return sorted({call.function for call in op_cases.CALLS.values()} | set(_OF_LAYERS))


def draw(function: str, number: int, seed: int) -> str | None:
    """Make one call and compare. Returns what is wrong, with all that was drawn, or None."""
    rng = random.Random(f"{seed} {function} {number}")
    told: list[object] = []
    try:
        _OF_LAYERS.get(function, _case)(function, rng, told)
    except Exception as error:
        return f"{type(error).__name__}: {error} | {', '.join(map(str, told))}"
    return None


def faults(function: str, count: int, seed: int) -> Iterator[str]:
    """What is wrong in the first `count` draws of a function."""
    for number in range(count):
        if fault := draw(function, number, seed):
            yield f"{function} {number}: {fault}"


def _case(function: str, rng: random.Random, told: list[object]) -> None:
    """Of the case files: one of the function's calls."""
    call = rng.choice([call for call in op_cases.CALLS.values() if call.function == function])
    few = function == "convex_snn_trial"  # whose definition walks through every trial, and which refuses to have no neurons
    inputs = Inputs(
        T=_mostly_small(rng, 1, 5, 12, 8 if few else 70),
        shape=_shape(rng, few) or ((1,) if call.weights else ()),
        dtype=rng.choice(call.dtypes),
        layout=rng.choice([layout for layout in INPUTS if not (few and layout == "repeated")]),  # its cases write into x
        seed=rng.getrandbits(32),
        on_grid=rng.random() < 0.4,
    )
    if "recurrent" in function and inputs.dtype == torch.float16:
        inputs.T = min(inputs.T, 40)  # gradients grow from step to step, beyond what float16 holds
    spread = {name: rng.choice(of) for name, of in call.spreads.items()}
    options = {name: _option(rng, of, inputs.on_grid, name in call.positive) for name, of in call.ranges.items()}
    wild = bool(call.any_number) and rng.random() < 0.2
    if wild:
        options |= {name: torch.tensor(rng.choice((1, -1)) * 2 ** rng.uniform(-140, 100)).item() for name in call.any_number}
    upstream = rng.choice(list(UPSTREAM))
    told += [call, *(f"{name}={vars(inputs)[name]}" for name in ("T", "shape", "dtype", "layout", "on_grid")), spread, options, upstream]
    arguments = call.make(inputs, **spread) | options
    if wild:
        _strew(next(iter(arguments.values())), rng)
        _assert_same_bits(call(arguments), call.define(dense_copies(arguments)))
    elif function in _OWN:
        _OWN[function](call, arguments, rng)
    else:
        assert_same_results(*run_call(call, arguments, upstream))


def _mostly_small(rng: random.Random, least: int, small: int, middle: int, most: int) -> int:
    limit = rng.choices((small, middle, most), (20, 3, 1))[0]
    return rng.randint(least, max(limit, least))


def _shape(rng: random.Random, few: bool) -> tuple[int, ...]:
    most = 40 if few else 3000
    axes = rng.choices((0, 1, 2, 3), (1, 6, 3, 4))[0]
    if axes == 1:
        return (_mostly_small(rng, int(few), 70, 300, most),)
    return tuple(rng.randint(0 if rng.random() < 0.05 and not few else 1, 3 if few else 9) for _ in range(axes))


def _option(rng: random.Random, of, on_grid: bool, positive: bool):
    if isinstance(of, list):
        return rng.choice(of)
    value = rng.uniform(*of)
    value = round(8 * value) / 8 if on_grid else value
    return max(value, 0.125) if positive else value


def _strew(x: torch.Tensor, rng: random.Random) -> None:
    """Infinite, missing, tiny and huge numbers among those of x, in place."""
    special = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, -0.0, 1e-45, -1e-40, 3e38, -3e38]).to(x.dtype)
    if x.dim() and x.stride(0) == 0:  # steps of a still image share their memory
        x = x[0]
    share = rng.choice(list(SHARES))
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    picked = torch.rand(x.shape, generator=generator) < share
    x.masked_scatter_(picked, special[torch.randint(len(special), x.shape, generator=generator)])


def _assert_same_bits(actual, expected) -> None:
    assert len(actual) == len(expected)
    for i, (a, e) in enumerate(zip(actual, expected)):
        assert_identical(a, e, f"output {i}")


def _clamped_lif(call, arguments, rng) -> None:
    """Its threshold's gradient is a sum over the batch, in an order of the backend's own."""
    options = {name: value for name, value in arguments.items() if not isinstance(value, torch.Tensor)}
    tensors = {name: value.detach() for name, value in arguments.items() if isinstance(value, torch.Tensor)}
    results = []
    for function, given in ((SF.clamped_lif, tensors), (reference.clamped_lif, dense_copies(tensors))):
        x, threshold = (given[name].requires_grad_() for name in ("x", "threshold"))
        count, v = function(x, threshold, **options)
        upstream = torch.linspace(-1, 1, max(v.numel(), 1), dtype=v.dtype)[: v.numel()].view(v.shape)
        results.append((count.detach(), v.detach(), *torch.autograd.grad(v, (x, threshold), upstream)))
    actual, expected = results
    _assert_same_bits(actual[:3], expected[:3])
    steps = expected[0].max().item() if expected[0].numel() else 0.0
    scale = options["threshold_gain"] * steps * expected[0].numel() + 1.0  # upstream is at most 1
    assert_close(actual[3], expected[3], "gradient of threshold", scale=scale)


def _local_learning_step(call, arguments, rng) -> None:
    """What passes through sums over units or classes agrees up to rounding, all else in every bit. Weights are multiples of 1/8."""
    written, expected = (dict(zip([name for name in call.written if name in arguments], run))
                         for run in (call(arguments), call.define(dense_copies(arguments))))  # fmt: skip
    error = expected["error"].double().abs()
    back = dense_copies(arguments)["feedback" if "feedback" in arguments else "weight"].double().abs().flatten(1)
    # An error that is rounded otherwise changes every gradient that it goes into, however small that is.
    rounding = ROUNDING[state_dtype(expected["error"].dtype)] + LAST_PLACE.get(expected["error"].dtype, 0.0)
    largest = _largest(error @ back)
    for name, actual in written.items():
        if name in ("gradient", "trace"):
            assert_close(actual, expected[name], name, rounding, max(largest, _largest(expected[name])))
        elif name in ("error", "derivative", "class_derivative"):
            assert_close(actual, expected[name], name)
        else:
            assert_identical(actual, expected[name], name)


def _largest(values: torch.Tensor) -> float:
    return values.double().abs().max().item() if values.numel() else 0.0


_OWN = {"clamped_lif": _clamped_lif, "local_learning_step_": _local_learning_step}


def _conv(function: str, rng: random.Random, told: list[object]) -> None:
    """Convolutions of spikes beside PyTorch's in float64: each element up to the rounding of the sum of its magnitudes."""
    dtype = rng.choice((torch.float32, torch.float64, torch.float16, torch.bfloat16))
    groups = rng.choice((1, 1, 1, 2))
    channels, out = groups * rng.randint(1, 9), groups * rng.choice((rng.randint(1, 9), rng.randint(10, 70)))
    kernel = [rng.randint(1, 5) for _ in range(2)]
    padding, stride, dilation = rng.randint(0, 3), rng.randint(1, 3), rng.choice((1, 1, 1, 2))
    if 1 in kernel:
        dilation = 1  # it means nothing there, and torch 2.14's conv2d crashes on (1, 1) with padding and stride, channels last
    side = [dilation * (k - 1) + 1 + rng.randint(0, 9) for k in kernel]
    density, layout = rng.choice((0.0, 0.01, 0.05, 0.3, 1.0)), rng.choice(("contiguous", "channels_last", "sliced", "offset"))
    samples, bias = rng.randint(1, 5), rng.random() < 0.5
    told += [dtype, f"{samples} x {channels} x {side}, {out} x {kernel}", f"{groups=} {padding=} {stride=} {dilation=} {density=} {layout=} {bias=}"]
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    x = (torch.rand(samples, channels, *side, generator=generator) < density).to(dtype)
    # lay_out takes time first, as axis 0; channels_last then is that of (1, N, C, H, W).
    leaves = [lay_out(x[None], layout)[0], torch.randn(out, channels // groups, *kernel, generator=generator).to(dtype)]
    leaves += [torch.randn(out, generator=generator).to(dtype)] if bias else []
    how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    _compare_with_dense(SF.spike_conv2d, F.conv2d, leaves, generator, **how)


def _linear(function: str, rng: random.Random, told: list[object]) -> None:
    """Matrix products with spikes beside PyTorch's in float64, likewise."""
    dtype = rng.choice((torch.float32, torch.float64, torch.float16, torch.bfloat16))
    inputs, outputs = rng.choice((rng.randint(1, 9), rng.randint(10, 300))), rng.choice((rng.randint(1, 9), rng.randint(10, 300)))
    leading = [rng.randint(1, 5), rng.choice((rng.randint(1, 5), rng.randint(10, 80)))][rng.randint(0, 1) :]
    density, layout = rng.choice((0.0, 0.01, 0.05, 0.3, 1.0)), rng.choice(("contiguous", "sliced", "offset"))
    bias, by_column = rng.random() < 0.5, rng.random() < 0.5
    told += [dtype, f"{leading} x {inputs}, {outputs}", f"{density=} {layout=} {bias=} {by_column=}"]
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    x = lay_out((torch.rand(*leading, inputs, generator=generator) < density).to(dtype), layout)
    weight = torch.randn(outputs, inputs, generator=generator).to(dtype)
    leaves = [x, weight.t().contiguous().t() if by_column else weight]
    leaves += [torch.randn(outputs, generator=generator).to(dtype)] if bias else []
    _compare_with_dense(SF.spike_linear, F.linear, leaves, generator)


def _pool(function: str, rng: random.Random, told: list[object]) -> None:
    """Average pooling beside PyTorch's in float64, likewise."""
    dtype = rng.choice((torch.float32, torch.float64, torch.float16, torch.bfloat16))
    channels, samples = rng.choice((rng.randint(1, 9), rng.randint(10, 70))), rng.randint(1, 5)
    size, stride, padding = rng.choice(((2, None, 0), (2, 2, 0), (rng.randint(1, 4), rng.choice((None, 1, 3)), rng.randint(0, 1))))
    padding = min(padding, size // 2)
    side, divisor = [size + rng.randint(0, 40) for _ in range(2)], rng.choice((None, 1, 7))
    layout = rng.choice(("contiguous", "channels_last", "sliced", "offset"))
    told += [dtype, f"{samples} x {channels} x {side}", f"{size=} {stride=} {padding=} {divisor=} {layout=}"]
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    x = lay_out(torch.randn(1, samples, channels, *side, generator=generator).to(dtype), layout)[0]
    how = dict(kernel_size=size, stride=stride, padding=padding, divisor_override=divisor)
    _compare_with_dense(SF.avg_pool2d, F.avg_pool2d, [x], generator, **how)


def _compare_with_dense(ours, dense, leaves: list[torch.Tensor], generator: torch.Generator, **how) -> None:
    dtype = leaves[0].dtype
    upstream = None
    results = []
    for run, change in ((ours, lambda t: t), (dense, torch.Tensor.double), (dense, lambda t: t.double().abs())):
        given = [change(leaf).detach().requires_grad_() for leaf in leaves]
        y = run(*given, **how)
        upstream = torch.randn(y.shape, generator=generator).to(dtype) if upstream is None else upstream
        results.append((y.detach(), *torch.autograd.grad(y, given, change(upstream))))
    # A sum of n numbers is off by at most n units of rounding of the sum of their magnitudes; n is a few hundred here.
    rounding = max(ROUNDING[state_dtype(dtype)], 400 * torch.finfo(dtype).eps) if dtype.itemsize > 2 else 8 * torch.finfo(dtype).eps
    for what, actual, expected, scale in zip(("output", "spikes", "weight", "bias"), *results):
        assert_agree(actual, expected.to(dtype), f"{what}", rounding, scale)


_OF_LAYERS = {"avg_pool2d": _pool, "spike_conv2d": _conv, "spike_linear": _linear}
