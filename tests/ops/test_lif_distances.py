"""save="bfloat16": the spikes of save="input", and its gradients up to what rounding a distance from the threshold changes."""

import functools
import math

import pytest
import torch
from op_cases.lif_distances import kept_bytes
from op_tests.compare import ROUNDING, assert_close, assert_identical
from op_tests.inputs import Inputs
from op_tests.kept import assert_same_as_of_input, run
from op_tests.layouts import INPUTS, UPSTREAM, lay_out
from op_tests.pairwise import pairwise
from op_tests.saved import saved_bytes

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops.functional._lif_options import RESETS
from spikeops.surrogate import (
    ATan,
    Exponential,
    FastSigmoid,
    Gaussian,
    Heaviside,
    MultiGaussian,
    PeriodicExponential,
    Rectangle,
    Sigmoid,
    SingleExponential,
    Step,
    StraightThrough,
    SuperSpike,
    Triangle,
    Window,
)  # fmt: skip

SURROGATES = (ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(5.0), Triangle(1.0), Gaussian(0.5), SuperSpike(1.0), MultiGaussian(),
              ATan(2.0, center=0.25, height=-0.7), SingleExponential(0.5), SingleExponential(0.5, center=-0.5))  # fmt: skip
# reset, detach_reset
WAYS = (("subtract", False), ("subtract", True), ("to", False), ("to", True), ("none", False))
UNIT = 2.0**-8  # of rounding to the 8 digits of bfloat16


compare = functools.partial(assert_same_as_of_input, "bfloat16")


def potentials(x, v_init, **options):
    """Before the reset; and the distances from the threshold in float64."""
    u = SF.lif(x, v_init=v_init, return_trace="before", **options)[2]
    return u, (u - options.get("threshold", 1.0)).double()


# --- where nothing is rounded -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
@pytest.mark.parametrize("reset, detach_reset", WAYS)
def test_distances_of_eight_digits_give_the_gradients_of_the_input(device, surrogate, reset, detach_reset):
    """Bit for bit. Without a leak all potentials are multiples of 1/8, below 32, many of them exactly at the threshold."""
    rows = pairwise(T=[1, 3, 4, 5, 8, 13], dtype=[torch.float32, torch.float64], strict=[False, True], given=["both", "spikes", "v_last"],
                    still=[False, True])  # fmt: skip
    for row in rows:
        inputs = Inputs(row["T"], (3, 50), row["dtype"], device=device, on_grid=True, seed=row["T"])
        x, v_init = inputs.one_step() if row["still"] else inputs.x(), inputs.per_neuron(-0.5, 1.5)
        given = inputs.gradient(), inputs.gradient(False, inputs.state)
        upstream = [g if row["given"] in ("both", name) else None for g, name in zip(given, ("spikes", "v_last"))]
        compare(x, v_init, upstream, surrogate=surrogate, reset=reset, detach_reset=detach_reset, strict=row["strict"], decay=1.0, input_scale=0.5,
                threshold=0.875, v_reset=-0.25, reset_amount=0.75, time_steps=row["T"] if row["still"] else None)  # fmt: skip


@pytest.mark.parametrize("layout", INPUTS)
@pytest.mark.parametrize("reset", ["subtract", "to"])
def test_layouts(device, layout, reset):
    """Of the input; of the gradients; of numbers of neurons that are handled one by one and several at a time."""
    for shape in ((2, 3, 5, 7), (2, 8, 4, 4)):
        for upstream in UPSTREAM:
            inputs = Inputs(9, shape, layout=layout, device=device, on_grid=True)
            gradient = lay_out(inputs.gradient().cpu().contiguous(), upstream, device)
            compare(inputs.x(), inputs.per_neuron(-0.5, 1.5), (gradient, None), reset=reset, decay=1.0)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2500,)], ids=str)
def test_sizes(device, shape):
    inputs = Inputs(10, shape, device=device, on_grid=True)
    compare(inputs.x(), inputs.per_neuron(-0.5, 1.5), (inputs.gradient(), None), reset="to", decay=1.0)


# --- what rounding changes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_derivatives_are_off_by_a_256th_of_their_peak(device, surrogate):
    """At distances of all sizes, or less. With a center more: by what the steepest slope makes of a 256th of the center."""
    size = torch.logspace(-6, 6, 4001, base=2.0, dtype=torch.float64)
    for threshold in (1.0, 0.75):
        x = torch.cat([threshold + size, threshold - size])[None].to(device)
        slopes = [run(x, torch.zeros_like(x[0]), save, (torch.ones_like(x), None), decay=0.0, threshold=threshold, reset="none", surrogate=surrogate)[2]
                  for save in ("input", "bfloat16")]  # fmt: skip
        fine = torch.linspace(threshold - 6, threshold + 6, 40001, dtype=torch.float64)
        curve = surrogate.at(fine, threshold)
        steepest = (curve.diff() / fine.diff()).abs().max().item()
        unit = threshold if isinstance(surrogate, SingleExponential) else 1.0
        allowed = UNIT * (curve.abs().max().item() + abs(surrogate.center) * unit * steepest)
        off = (slopes[1] - slopes[0]).abs().max().item()
        # A hundredth more, since the distances of the slopes in between are larger by as much.
        assert allowed / 8 < off <= 1.01 * allowed, f"off by {off / allowed:.3f} of what is stated"


def worst(x, v_init, upstream, surrogate, reset, detach_reset, decay, reset_amount, v_reset, **options):
    """The largest difference that rounded distances can make to the gradient of x, in float64, and the gradient."""
    u, d = potentials(x, v_init, surrogate=surrogate, reset=reset, decay=decay, reset_amount=reset_amount, v_reset=v_reset, **options)
    slope = surrogate.at(u.double(), 1.0)
    of_slope = 1.01 * UNIT * surrogate.at(torch.tensor(1.0, dtype=torch.float64), 1.0).item()
    grad, error, gradients, errors = upstream[1].double(), torch.zeros_like(d[0]), [], []
    for t in reversed(range(len(x))):
        through, of_through = upstream[0][t].double(), torch.zeros_like(error)
        kept, of_kept = grad, error
        if reset == "to":
            fired = d[t] >= 0
            kept, of_kept = torch.where(fired, 0.0, grad), torch.where(fired, 0.0, error)
            if not detach_reset:
                drop, of_drop = v_reset - u[t].double(), UNIT * d[t].abs()
                through, of_through = through + grad * drop, error * (drop.abs() + of_drop) + grad.abs() * of_drop
        elif reset == "subtract" and not detach_reset:
            through, of_through = through - grad * reset_amount, error * reset_amount
        grad = kept + through * slope[t]
        error = of_kept + of_through * (slope[t].abs() + of_slope) + through.abs() * of_slope
        gradients.append(grad)
        errors.append(error)
        grad, error = grad * decay, error * decay
    return torch.stack(gradients[::-1]), torch.stack(errors[::-1])


@pytest.mark.parametrize("surrogate", [s for s in SURROGATES if s.center == 0 and not isinstance(s, SingleExponential)], ids=repr)
@pytest.mark.parametrize("reset, detach_reset", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_as_near_as_that(device, surrogate, reset, detach_reset, dtype):
    inputs = Inputs(12, (3, 50), dtype, device=device)
    x, v_init, upstream = inputs.x(), inputs.v_init(), (inputs.gradient(), inputs.gradient(False))
    options = dict(surrogate=surrogate, reset=reset, detach_reset=detach_reset, decay=0.8, reset_amount=0.9, v_reset=-0.1)
    gradient, error = worst(x, v_init, upstream, **options)
    whole, rounded = (run(x, v_init, save, upstream, **options) for save in ("input", "bfloat16"))
    for name, a, b in zip(("spikes", "v_last"), rounded, whole):
        assert_identical(a, b.cpu(), name)
    scale = ROUNDING[dtype] * gradient.abs().max()
    assert ((whole[2] - gradient).abs() <= scale).all()
    off = (rounded[2] - gradient).abs()
    assert (off <= error + scale).all(), f"off by {(off / (error + scale)).max():.2f} of what rounding can make of it"
    assert (off > scale).float().mean() > 0.5


# --- what is kept -----------------------------------------------------------------------------------------------------------

SPECIAL = (math.nan, math.inf, -math.inf, 3.4028234e38, -3.4028234e38, 1e-45, -1e-45, 1e-40, -1e-40, 0.0, -0.0, 2.0**-60, -(2.0**-60),
           1.00390625, 1.01171875, -1.00390625, 1.99999988, 255.5, -255.5)  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5])
def test_distances_are_what_they_should_be(backend, device, dtype, strict, threshold):
    """Those of the op itself, beside those made of the potentials by hand: to nearest, of two the even one; never infinite from a finite
    one; the sign set wherever there is no spike, of a zero and of NaN, too."""
    ops = torch.ops.spikeops_triton if backend == "triton" else torch.ops.spikeops
    special = torch.tensor(SPECIAL + ((1e300, -1e300, 1e-300, -1e-300) if dtype == torch.float64 else ()), dtype=dtype)
    x = torch.cat([special, torch.randn(201, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)])[None]
    numbers, modes = (0.0, threshold, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0), (RESETS["none"], int(strict), 0, 0, 0, 0)
    spikes, v_last, distances = ops.lif_distances_forward(x.to(device), None, numbers, modes)
    d = x - threshold
    most = torch.finfo(torch.bfloat16).max
    expected = torch.where(d.isinf(), d, d.clamp(-most, most)).abs().float().bfloat16()
    fired = d > 0 if strict else d >= 0
    assert_identical(spikes, fired.to(dtype), "spikes")
    assert distances.dtype == torch.bfloat16 and torch.equal(distances.cpu().isnan(), d.isnan())
    assert_identical(distances.cpu(), torch.where(fired, expected, -expected), "distances")
    assert torch.equal(distances.cpu().view(torch.int16) >= 0, fired)


@pytest.mark.parametrize("threshold", [1.0, 0.0, -0.5])
@pytest.mark.parametrize("surrogate", SURROGATES[:8], ids=repr)
@pytest.mark.parametrize("reset, detach_reset", WAYS)
def test_numbers_that_are_not_finite(device, surrogate, reset, detach_reset, threshold):
    """A potential that becomes NaN, from a NaN or from infinite ones, before and after spikes: gradients are NaN, infinite and finite
    where those of save="input" are."""
    special = torch.tensor([math.nan, math.inf, -math.inf, 3e38, -3e38, 3.4028234e38])
    T = 5
    x = torch.full((T, T, 6, 3), 0.75)
    x[torch.arange(T), torch.arange(T)] = special[:, None]  # one special number for each neuron
    x[:, :, :, 1] = x[:, :, :, 1] / 2
    x[:, ::2, :, 2] = -x[:, ::2, :, 2]
    g = torch.cos(torch.arange(x.numel())).view(x.shape)
    g_last = torch.sin(torch.arange(x[0].numel())).view(x[0].shape)
    rounded, whole = (run(x.to(device), torch.zeros_like(x[0], device=device), save, (g.to(device), g_last.to(device)), surrogate=surrogate, reset=reset,
                          detach_reset=detach_reset, threshold=threshold, v_reset=0.25, decay=0.9) for save in ("bfloat16", "input"))  # fmt: skip
    for name, a, b in zip(("spikes", "v_last"), rounded, whole):
        assert_identical(a, b.cpu(), name)
    for a, b in zip(rounded[2:], whole[2:]):
        assert torch.equal(a.isnan(), b.isnan())
        assert torch.equal(a.where(a.isinf(), 0.0), b.where(b.isinf(), 0.0))
    assert whole[2].isnan().any() and not whole[2].isnan().all()


@pytest.mark.parametrize("T", [1, 4, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bytes_of_a_neuron(device, T, dtype):
    """Of v_init, which has a gradient, nothing is kept either."""
    inputs = Inputs(T, (3, 40), dtype, device=device, grad=True)
    x, v_init = inputs.x(), inputs.v_init()
    for reset in RESETS:
        options = dict(reset=reset, v_init=v_init)
        assert saved_bytes(lambda options=options: SF.lif(x, save="bfloat16", **options)) == 120 * 2 * T == 120 * kept_bytes(T)
        assert saved_bytes(lambda options=options: SF.lif(x, **options)) == dtype.itemsize * 120 * (T + 1)
    assert saved_bytes(lambda: snn.LIF(save="bfloat16")(x)) == 120 * 2 * T


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_input_is_kept_itself(device, dtype):
    """It takes as little, and its gradients are those of save="input"."""
    inputs = Inputs(6, (3, 40), dtype, device=device)
    compare(inputs.x(), inputs.v_init(), (inputs.gradient(), inputs.gradient(False, inputs.state)), reset="to", v_reset=0.1)
    x = Inputs(6, (3, 40), dtype, device=device, grad=True).x()
    assert saved_bytes(lambda: SF.lif(x, save="bfloat16")) == x.nbytes


def test_without_gradients_no_distances_are_made(device):
    """That of a forward pass alone is the plain kernel."""
    x = Inputs(8, (3, 40), device=device).x()
    with torch.profiler.profile() as profile, torch.no_grad():
        spikes, _ = SF.lif(x, save="bfloat16")
    assert not [event.key for event in profile.key_averages() if "lif_distances" in event.key]
    assert torch.equal(spikes, SF.lif(x)[0])


@pytest.mark.parametrize("reset, detach_reset", WAYS)
def test_second_derivatives(device, reset, detach_reset):
    """Those of save="input", rounded to bfloat16 on their way: at distances of eight digits, so that nothing else differs."""
    inputs = Inputs(5, (3, 20), torch.float64, device=device, on_grid=True)
    x, v_init, g = inputs.x(), inputs.per_neuron(-0.5, 1.5), inputs.gradient()
    found = []
    for save in ("bfloat16", "input"):
        leaves = [tensor.detach().requires_grad_() for tensor in (x, v_init, g)]
        spikes, _ = SF.lif(leaves[0], 1.0, v_init=leaves[1], reset=reset, detach_reset=detach_reset, surrogate=Gaussian(0.7), save=save)
        first = torch.autograd.grad(spikes, leaves[:2], leaves[2], create_graph=True)
        penalty = sum((gradient**2).sum() for gradient in first)
        found.append(torch.autograd.grad(penalty, leaves))
    for name, rounded, whole in zip(("x", "v_init"), *found):
        # Each of the terms, of which there are up to T in a sum, is off by half a unit of eight digits.
        assert_close(rounded, whole.cpu(), f"second derivative of {name}", rounding=5 * UNIT)
    assert_close(found[0][2], found[1][2].cpu(), "of the gradient of the spikes")


# --- what is refused --------------------------------------------------------------------------------------------------------

DECAY, ONE = torch.tensor(0.5), torch.tensor(1.0)
BITS = 'Use save="bits", which keeps less, and exactly what is needed, or save="input".'


@pytest.mark.parametrize("options, words", [
    *((dict(surrogate=surrogate), f"of which some would cross the borders of {surrogate!r}. {BITS}")
      for surrogate in (Rectangle(1.0), Window(), Heaviside(), Step(), StraightThrough())),
    (dict(surrogate=PeriodicExponential()), "where PeriodicExponential(width=0.5) does not fade. Use another surrogate, or save=\"input\"."),
    (dict(decay=DECAY), "not the membrane potential for the gradient of a tensor decay. Give decay as a number, or save=\"input\"."),
    (dict(threshold=ONE), "for the gradient of a tensor threshold. Give threshold as a number, or save=\"input\"."),
    (dict(input_scale=ONE), "for the gradient of a tensor input_scale. Give input_scale as a number,"),
    (dict(reset_amount=ONE), "for the gradient of a tensor reset_amount. Give reset_amount as a number,"),
    (dict(return_trace="after"), "for the gradient of a trace. Use return_trace=False, or save=\"input\"."),
    (dict(max_spikes=3), "for max_spikes=3. Use max_spikes=1, or save=\"input\"."),
    (dict(rounding="nearest"), "for rounding='nearest'. Use rounding='down',"),
    (dict(reset_timing="late"), "for reset_timing='late'. Use reset_timing='now',"),
    (dict(v_min=-1), "for v_min=-1. Use v_min=None,"),
], ids=str)  # fmt: skip
def test_what_distances_do_not_suffice_for(options, words):
    options = {"save": "bfloat16"} | options
    x = torch.zeros(4, 3)
    for function, name in ((lambda **o: SF.lif(x, **o), "lif"), (snn.LIF, "LIF"), (snn.IF, "IF")):
        if not (name != "lif" and "decay" in options):
            with pytest.raises(ValueError) as refused:
                function(**options)
            assert str(refused.value).startswith(f'{name}: save="bfloat16" ') and words in str(refused.value)
    with torch.no_grad(), pytest.raises(ValueError, match='save="bfloat16"'):
        SF.lif(x, **options)


def test_another_name():
    with pytest.raises(ValueError, match="lif: expected save to be one of .*bfloat16"):
        SF.lif(torch.zeros(4, 3), save="float16")


def test_ops_check_what_protects_memory(native):
    ops = torch.ops.spikeops
    numbers, modes = (0.5, 1.0, 1.0, 1.0, 0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0), (0, 0, 0, 0, 0, 0)
    gradient, distances = torch.zeros(9, 3), torch.zeros(9, 3, dtype=torch.bfloat16)
    ops.lif_distances_backward(gradient, None, distances, numbers, modes, True)
    for call in (
        lambda: ops.lif_distances_backward(gradient, None, distances[:8], numbers, modes, True),
        lambda: ops.lif_distances_backward(gradient, None, distances.half(), numbers, modes, True),
        lambda: ops.lif_distances_backward(gradient[:, :2], None, distances, numbers, modes, True),
        lambda: ops.lif_distances_backward(gradient.bfloat16(), None, distances, numbers, modes, True),
        lambda: ops.lif_distances_backward(gradient, None, distances, numbers, (0, 0, 0, 0, 0, 8), True),
        lambda: ops.lif_distances_backward(gradient, None, distances, numbers, (0, 0, 0, 5, 0, 0), True),
        lambda: ops.lif_distances_backward(gradient, None, distances, numbers, (0, 0, 0, 9, 0, 0), True),
        lambda: ops.lif_distances_backward(gradient, None, distances, numbers[:8], modes, True),
        lambda: ops.lif_distances_forward(gradient.half(), None, numbers, modes),
        lambda: ops.lif_distances_forward(gradient, None, numbers, modes[:5]),
        lambda: ops.lif_distances_forward(gradient, None, numbers, (3, 0, 0, 0, 0, 0)),
    ):
        with pytest.raises(RuntimeError, match="expected"):
            call()
