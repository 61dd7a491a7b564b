"""save="bits": the spikes and the gradients of save="input", bit for bit, from a bit or two of each time step."""

import functools
import itertools
import math

import pytest
import torch
from op_cases.lif_bits import kept_bytes, steps_per_byte
from op_tests.compare import assert_identical
from op_tests.inputs import Inputs
from op_tests.kept import assert_same_as_of_input
from op_tests.layouts import INPUTS, UPSTREAM, lay_out
from op_tests.neurons import DTYPES
from op_tests.op_calls import as_tuple
from op_tests.pairwise import pairwise

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops.functional._lif_options import RESETS
from spikeops.surrogate import (
    ATan,
    Gaussian,
    Heaviside,
    PeriodicExponential,
    Rectangle,
    Step,
    StraightThrough,
    Surrogate,
    Triangle,
    Window,
)

# Windows that begin, end and lie on the grid of the currents, so that many potentials are exactly at a border.
SURROGATES = (Rectangle(1.0), Rectangle(0.5, center=0.25, height=-0.7), Window(0.5, 1.5), Window(0.25, 1.0, center=-0.25), Heaviside(0.5),
              Step(0.25, 0.75, center=-0.5), StraightThrough(height=0.3))  # fmt: skip
# reset, detach_reset
WAYS = (("subtract", False), ("subtract", True), ("to", True), ("none", False), ("none", True))


compare = functools.partial(assert_same_as_of_input, "bits")


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
@pytest.mark.parametrize("reset, detach_reset", WAYS)
def test_bits_suffice(device, surrogate, reset, detach_reset):
    """With T around the borders of bytes, in each dtype, strict and not, whichever gradients are given, still input too."""
    rows = pairwise(T=[1, 3, 4, 5, 7, 8, 9, 16, 33], dtype=DTYPES, strict=[False, True], given=["both", "spikes", "v_last"],
                    still=[False, True], decay=[0.5, 1.0, 0.0, 0.83])  # fmt: skip
    for row in rows:
        inputs = Inputs(row["T"], (3, 50), row["dtype"], device=device, on_grid=row["decay"] == 0.5, seed=row["T"])
        x = inputs.one_step() if row["still"] else inputs.x()
        given = inputs.gradient(), inputs.gradient(False, inputs.state)
        upstream = [g if row["given"] in ("both", name) else None for g, name in zip(given, ("spikes", "v_last"))]
        compare(x, inputs.v_init(), upstream, surrogate=surrogate, reset=reset, detach_reset=detach_reset, strict=row["strict"], decay=row["decay"],
                input_scale=0.7, v_rest=0.125, v_reset=-0.25, reset_amount=0.75, time_steps=row["T"] if row["still"] else None)  # fmt: skip


@pytest.mark.parametrize("layout", INPUTS)
@pytest.mark.parametrize("reset, detach_reset", [("subtract", False), ("to", True)])
def test_layouts(device, layout, reset, detach_reset):
    """Of the input; of the gradients; of numbers of neurons that are handled one by one and several at a time."""
    for shape, upstream in itertools.product(((2, 3, 5, 7), (2, 8, 4, 4)), UPSTREAM):
        inputs = Inputs(9, shape, layout=layout, device=device)
        gradient = lay_out(inputs.gradient().cpu().contiguous(), upstream, device)
        compare(inputs.x(), inputs.v_init(), (gradient, None), reset=reset, detach_reset=detach_reset, surrogate=Rectangle(1.0))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2500,)], ids=str)
def test_sizes(device, shape):
    inputs = Inputs(10, shape, device=device)
    compare(inputs.x(), inputs.v_init(), (inputs.gradient(), None), reset="to", detach_reset=True, surrogate=Rectangle(1.0))


@pytest.mark.parametrize("threshold", [1.0, 0.0, -0.5])
@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
@pytest.mark.parametrize("reset, detach_reset", WAYS)
def test_numbers_that_are_not_finite(device, surrogate, reset, detach_reset, threshold):
    """A potential that becomes NaN, from a NaN or from infinite ones, at the first step or at the last, before and after spikes: its
    gradient is NaN as far back as it reaches. The infinite ones fire, and have finite gradients."""
    special = torch.tensor([math.nan, math.inf, -math.inf, 3e38, -3e38])
    for T in (1, 4, 5, 8, 11):
        x = torch.full((T, T, 5, 3), 0.75)
        x[torch.arange(T), torch.arange(T)] = special[:, None]  # one special number for each neuron
        x[:, :, :, 1] = x[:, :, :, 1] / 2
        x[:, ::2, :, 2] = -x[:, ::2, :, 2]
        g = torch.cos(torch.arange(x.numel())).view(x.shape)
        g_last = torch.sin(torch.arange(x[0].numel())).view(x[0].shape)
        *_, grad_x, grad_v = compare(x.to(device), torch.zeros_like(x[0], device=device), (g.to(device), g_last.to(device)), surrogate=surrogate,
                                     reset=reset, detach_reset=detach_reset, threshold=threshold, v_reset=0.25, decay=0.9)  # fmt: skip
        assert grad_x.isnan().any() and (threshold == 0 or not grad_x.isnan().all())


@pytest.mark.parametrize("reset", RESETS)
def test_bits_are_where_they_should_be(backend, device, reset):
    """The bytes of the op itself, beside those made of the potentials by hand."""
    ops = torch.ops.spikeops_triton if backend == "triton" else torch.ops.spikeops
    options = dict(reset=reset, decay=0.5, surrogate=Rectangle(1.0), detach_reset=True)
    for T in (1, 4, 7, 8, 18):
        x = Inputs(T, (3, 50), on_grid=True).x()
        x[T // 2, 0, 0] = math.nan
        spikes, v_last, u = SF.lif(x.to(device), return_trace="before", **options)
        numbers, modes = (0.5, 1.0, 1.0, 1.0, 0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0), (RESETS[reset], 0, 1, 5, 0, 0)
        *others, bits = ops.lif_bits_forward(x.to(device), None, numbers, modes)
        assert_identical(others[0], spikes.cpu(), "spikes")
        assert_identical(others[1], v_last.cpu(), "v_last")
        of_steps = [[(u[t] - 1).abs() <= 0.5, spikes[t] != 0][: 8 // steps_per_byte(reset)] for t in range(T)]
        flat = [*itertools.chain(*of_steps), v_last.isnan()]
        expected = torch.zeros((kept_bytes(reset, T), 3, 50), dtype=torch.int64, device=device)
        for place, bit in enumerate(flat):
            expected[place // 8] |= bit.long() << place % 8
        assert_identical(bits, expected.to(torch.uint8).cpu(), f"bits of {T} steps")


def kept(function):
    """Bytes that are kept for the backward pass."""
    sizes = {}

    def note(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = as_tuple(function())
    assert outputs[0].requires_grad
    return sum(sizes.values())


@pytest.mark.parametrize("T, bytes_of_subtract, bytes_of_to", [(1, 1, 1), (4, 1, 2), (8, 2, 3), (16, 3, 5), (100, 13, 26)])
def test_bytes_of_a_neuron(device, T, bytes_of_subtract, bytes_of_to):
    """Of v_init, which has a gradient, nothing is kept either."""
    inputs = Inputs(T, (3, 40), device=device, grad=True)
    x, v_init = inputs.x(), inputs.v_init()
    for reset, expected in (("subtract", bytes_of_subtract), ("to", bytes_of_to)):
        options = dict(reset=reset, detach_reset=True, surrogate=Rectangle(1.0), v_init=v_init)
        assert kept(lambda options=options: SF.lif(x, save="bits", **options)) == 120 * expected == 120 * kept_bytes(reset, T)
        assert kept(lambda options=options: snn.LIF(save="bits", surrogate=Rectangle(1.0))(x)) == 120 * bytes_of_subtract
        assert kept(lambda options=options: SF.lif(x, **options)) == 4 * 120 * (T + 1)


def test_without_gradients_no_bits_are_made(device):
    """That of a forward pass alone is the plain kernel."""
    x = Inputs(8, (3, 40), device=device).x()
    options = dict(surrogate=Rectangle(1.0), save="bits")
    with torch.profiler.profile() as profile, torch.no_grad():
        spikes, _ = SF.lif(x, **options)
    assert not [event.key for event in profile.key_averages() if "lif_bits" in event.key]
    assert torch.equal(spikes, SF.lif(x, **options)[0])


DECAY, ONE = torch.tensor(0.5), torch.tensor(1.0)


@pytest.mark.parametrize("options, words", [
    (dict(surrogate=ATan(2.0)), "is for a surrogate of two values, Rectangle, Window, Heaviside, Step or StraightThrough, got ATan(alpha=2.0). Use one of these, save=\"bfloat16\", which rounds its derivative, or save=\"input\"."),
    (dict(surrogate=Triangle(1.0)), "is for a surrogate of two values"),
    (dict(surrogate=PeriodicExponential()), "got PeriodicExponential(width=0.5). Use one of these, or save=\"input\"."),
    (dict(surrogate=Gaussian(1.0)), "is for a surrogate of two values"),
    (dict(decay=DECAY), "no membrane potential for the gradient of a tensor decay. Give decay as a number, or save=\"input\"."),
    (dict(threshold=ONE), "for the gradient of a tensor threshold. Give threshold as a number, or save=\"input\"."),
    (dict(input_scale=ONE), "for the gradient of a tensor input_scale. Give input_scale as a number,"),
    (dict(reset_amount=ONE), "for the gradient of a tensor reset_amount. Give reset_amount as a number,"),
    (dict(reset="to"), "for the gradient of a reset to a value. Use detach_reset=True, another reset, or save=\"input\"."),
    (dict(return_trace="after"), "for the gradient of a trace. Use return_trace=False, or save=\"input\"."),
    (dict(max_spikes=3), "for max_spikes=3. Use max_spikes=1, or save=\"input\"."),
    (dict(max_spikes=None), "for max_spikes=None. Use max_spikes=1,"),
    (dict(rounding="nearest"), "for rounding='nearest'. Use rounding='down',"),
    (dict(reset_timing="late"), "for reset_timing='late'. Use reset_timing='now',"),
    (dict(v_min=-1), "for v_min=-1. Use v_min=None,"),
], ids=str)  # fmt: skip
def test_what_bits_do_not_suffice_for(options, words):
    options = dict(surrogate=Rectangle(1.0), save="bits") | options
    x = torch.zeros(4, 3)
    for function, name in ((lambda **o: SF.lif(x, **o), "lif"), (snn.LIF, "LIF"), (snn.IF, "IF")):
        if not (name != "lif" and "decay" in options):
            with pytest.raises(ValueError) as refused:
                function(**options)
            assert str(refused.value).startswith(f'{name}: save="bits" ') and words in str(refused.value)
    with torch.no_grad(), pytest.raises(ValueError, match='save="bits"'):
        SF.lif(x, **options)


def test_a_learned_decay_has_no_such_option():
    with pytest.raises(TypeError, match="ParametricLIF.*save.*the gradient of a decay needs the input"):
        snn.ParametricLIF(save="bits")


def test_a_center_that_overflows_the_state():
    far = Rectangle(1.0, center=1e39)
    with pytest.raises(ValueError, match="lif: expected the center of the surrogate to be a float32, at most 3.4e38"):
        SF.lif(torch.zeros(4, 3, requires_grad=True), surrogate=far, save="bits")
    SF.lif(torch.zeros(4, 3, requires_grad=True, dtype=torch.float64), surrogate=far, save="bits")


def test_a_surrogate_of_ones_own():
    """By what it is to the kernels, not by its name."""

    class Mine(Surrogate):
        def __init__(self, kind):
            object.__setattr__(self, "kind", kind)

        @property
        def scale_and_peak(self):
            return self.kind, 0.5, 1.0

    assert [Mine(kind).has_two_values for kind in range(7)] == [False] * 5 + [True, False]


def test_ops_check_what_protects_memory(native):
    ops = torch.ops.spikeops
    numbers, modes = (0.5, 1.0, 1.0, 1.0, 0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0), (0, 0, 0, 5, 0, 0)
    gradient, bits = torch.zeros(9, 3), torch.zeros(2, 3, dtype=torch.uint8)
    ops.lif_bits_backward(gradient, None, bits, numbers, modes, True)
    for call in (
        lambda: ops.lif_bits_backward(gradient, None, bits[:1], numbers, modes, True),
        lambda: ops.lif_bits_backward(gradient, None, bits, numbers, (1, 0, 1, 5, 0, 0), True),
        lambda: ops.lif_bits_backward(gradient, None, bits.to(torch.int8), numbers, modes, True),
        lambda: ops.lif_bits_backward(gradient[:, :2], None, bits, numbers, modes, True),
        lambda: ops.lif_bits_backward(gradient, None, bits, numbers, (0, 0, 0, 5, 0, 8), True),
        lambda: ops.lif_bits_backward(gradient, None, bits, numbers, (0, 0, 0, 0, 0, 0), True),
        lambda: ops.lif_bits_backward(gradient, None, bits, numbers, (1, 0, 0, 5, 0, 0), True),
        lambda: ops.lif_bits_backward(gradient, None, bits, numbers[:8], modes, True),
        lambda: ops.lif_bits_forward(gradient, None, numbers, modes[:5]),
        lambda: ops.lif_bits_forward(gradient, None, numbers, (3, 0, 0, 5, 0, 0)),
    ):
        with pytest.raises(RuntimeError, match="expected"):
            call()


def test_export_with_any_number_of_time_steps():
    """Fewer than 8, of which the bits are one byte, and more, from one program; with weights that learn, as in a network."""
    network = torch.nn.Sequential(torch.nn.Linear(4, 5), snn.LIF(0.7, surrogate=Rectangle(), save="bits"))
    T, B = torch.export.Dim("T"), torch.export.Dim("B")
    for steps in (3, 9):
        program = torch.export.export(network, (torch.randn(steps, 3, 4),), dynamic_shapes=({0: T, 1: B},)).module()
        for shape in ((1, 2), (7, 1), (8, 5), (30, 2)):
            x = torch.randn(*shape, 4)
            assert torch.equal(program(x), network(x)), f"exported with {steps} steps, called with {shape}"
