"""feedback_step_ and ternary_step_ against their references: every bit, since they only add, multiply and compare in one order."""

import pytest
import torch
from op_tests.compare import assert_identical
from op_tests.layouts import INPUTS, TIME_MAJOR
from op_tests.neurons import DTYPES, state_dtype
from op_tests.pairwise import parametrize
from op_tests.steps import FACTORS, run_beside_reference, step_tensors

import spikeops.functional as SF

OPS = ("feedback_step_", "ternary_step_")
# Thresholds, resets and amplitudes are such that multiples of 1/8 meet them exactly; the last one of each op never does.
OPTIONS = {
    "feedback_step_": [{}, {"threshold": 0.5, "reset_amount": 1.0}, {"leak": 0.5}, {"leak": 0.9, "threshold": 0.7, "reset_amount": 1.3}],
    "ternary_step_": [{}, {"threshold": 0.25, "amplitude": 1.0}, {"leak": 0.5, "drive_scale": 0.5},
                      {"leak": 0.9, "threshold": 0.3, "amplitude": 0.7, "drive_scale": 1 / 3}],
}  # fmt: skip
# Several tiles and vectors of neurons, and rests of both.
SHAPES = ((), (0,), (1,), (129,), (5003,), (2, 3, 5, 7), (2, 1300))


@parametrize(
    op=OPS, dtype=DTYPES, K=[1, 2, 5, 33], shape=SHAPES, order=list(TIME_MAJOR), layout=list(INPUTS), options=range(4),
    drive=[True, False], current=["none", "constant", "per_step"], factor=[True, False], count=[True, False], fired=[True, False],
)  # fmt: skip
def test_matches_the_reference(device, draw, op, dtype, K, shape, order, layout, options, drive, current, factor, count, fired):
    chosen = {"drive": drive, "current": current != "none", FACTORS[op]: factor, "count": count, "fired": fired}
    given = [name for name, wanted in chosen.items() if wanted]
    tensors = step_tensors(draw, op, K, shape, dtype, given, order, layout, device, current)
    run_beside_reference(op, tensors, **OPTIONS[op][options])


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_membranes_at_the_threshold(device, draw, op, dtype):
    """Not only must they fire: the inputs of the other tests must contain them."""
    tensors = step_tensors(draw, op, 1, (2000,), dtype, ["drive"], device=device)
    u = tensors["membrane"] + tensors["drive"][0].to(tensors["membrane"].dtype)
    threshold = 1.0 if op == "feedback_step_" else 0.5
    written = run_beside_reference(op, tensors)
    for at, spike in ((threshold, 1.0), (-threshold, -1.0 if op == "ternary_step_" else 0.0)):
        assert (u == at).sum() > 20
        assert (written["spikes"][0][u == at] == spike).all()


@pytest.mark.parametrize("op", OPS)
def test_one_step_without_a_time_axis(device, draw, op):
    given = ["drive", "current", FACTORS[op], "count", "fired"]
    for dtype in DTYPES:
        tensors = step_tensors(draw, op, 1, (2, 3, 5, 7), dtype, given, "channels_last", "channels_last", device)
        with_axis = run_beside_reference(op, tensors, leak=0.9)
        for name in ("spikes", "drive", "fired"):
            tensors[name] = tensors[name][0]
        without = run_beside_reference(op, tensors, leak=0.9)
        for name, tensor in without.items():
            assert_identical(tensor, with_axis[name].reshape(tensor.shape).cpu(), name)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_steps_are_as_good_as_one_at_a_time(device, draw, op, dtype):
    tensors = step_tensors(draw, op, 7, (2, 3, 5, 7), dtype, ["drive", "current", FACTORS[op], "count", "fired"], device=device)
    together = {name: tensor.clone() for name, tensor in tensors.items()}
    getattr(SF, op)(**together, leak=0.9)
    for k in range(7):
        now = {name: tensor[k : k + 1] if name in ("spikes", "drive", "fired") else tensor for name, tensor in tensors.items()}
        getattr(SF, op)(**now, leak=0.9)
    for name, tensor in tensors.items():
        assert_identical(together[name], tensor.cpu(), name)


def test_feedback_step_by_hand():
    membrane, spikes, rate = torch.tensor([0.5, 0.25, 0.0]), torch.empty(3), torch.tensor([2.0, 2.0, 2.0])
    count, fired = torch.ones(3), torch.empty(1, dtype=torch.int32)
    # u = 0.5 + 2 * 0.5 + 0.5 = 2 (at the threshold), 0.25 + 2 + 0.5 = 2.75, 0 + 0 + 0.5 = 0.5
    SF.feedback_step_(membrane, spikes, rate, torch.tensor([0.5, 1.0, 7.0]), current=torch.full((3,), 0.5),
                      mask=torch.tensor([2.0, 2.0, 0.0]), count=count, fired=fired, leak=0.5, threshold=2.0, reset_amount=3.0)  # fmt: skip
    assert spikes.tolist() == [1, 1, 0]
    assert rate.tolist() == [2, 2, 1]
    assert count.tolist() == [2, 2, 1]
    assert membrane.tolist() == [-0.5, -0.125, 0.25]
    assert fired.tolist() == [1]


def test_ternary_step_by_hand():
    membrane, spikes, rate = torch.tensor([0.5, -0.25, 0.0]), torch.empty(3), torch.tensor([2.0, 2.0, 2.0])
    count, fired = torch.ones(3), torch.empty(1, dtype=torch.int32)
    # u = 0.5 + 0.25 + 0.5 * 0.5 = 1, -0.25 + 0.25 - 0.5 = -0.5 (at the threshold), 0 + 0.25 + 0 = 0.25
    SF.ternary_step_(membrane, spikes, rate, torch.tensor([0.5, -1.0, 0.0]), current=torch.full((3,), 0.25), count=count, fired=fired,
                     gate=torch.tensor([0.0, 3.0, 3.0]), drive_scale=0.5, leak=0.5, threshold=0.5, amplitude=2.0)  # fmt: skip
    assert spikes.tolist() == [0, -3, 0]
    assert rate.tolist() == [3, -1, 1]
    assert count.tolist() == [2, 2, 1]
    assert membrane.tolist() == [-0.5, 0.75, 0.125]
    assert fired.tolist() == [1]


def test_defaults():
    """The reset subtracts the threshold; an amplitude is twice the threshold."""
    for op, option, drive, expected in (("feedback_step_", "reset_amount", 2.5, 0.5), ("ternary_step_", "amplitude", 2.5, -1.5)):
        for options in ({}, {option: None}):
            membrane = torch.zeros(1)
            getattr(SF, op)(membrane, torch.empty(1), torch.zeros(1), torch.tensor([drive]), threshold=2.0, **options)
            assert membrane.item() == expected


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_fired_says_which_steps_had_a_spike(device, op, dtype):
    """One neuron of many, in steps 1 and 3: alone in the last thread's share, in the first one's, and in between."""
    N, state = 100_003, state_dtype(dtype)
    options = {"threshold": 1.0} | ({"amplitude": 1.0} if op == "ternary_step_" else {})
    for neuron in (0, N // 2, N - 1):
        drive = torch.zeros(4, N, dtype=dtype, device=device)
        drive[1::2, neuron] = 1
        fired = torch.full((4,), 7, dtype=torch.int32, device=device)
        membrane, rate = (torch.zeros(N, dtype=state, device=device) for _ in range(2))
        getattr(SF, op)(membrane, torch.empty_like(drive), rate, drive, fired=fired, **options)
        assert fired.tolist() == [0, 1, 0, 1]


def test_fired_counts_what_is_sent_on(device):
    """A ternary spike that the gate stops does not count; a negative one that it lets pass does; NaN must be passed on."""
    for gate, drive, expected in ((0.0, 1.0, 0), (2.0, 1.0, 1), (2.0, -1.0, 1), (2.0, 0.0, 0), (torch.nan, 0.0, 1)):
        fired = torch.tensor([7], dtype=torch.int32, device=device)
        membrane, rate = torch.zeros(300, device=device), torch.zeros(300, device=device)
        SF.ternary_step_(membrane, torch.empty_like(rate), rate, torch.full_like(rate, drive), gate=torch.full_like(rate, gate),
                         fired=fired)  # fmt: skip
        assert fired.item() == expected
    # float16 has no number so small: what is sent on is 0.
    state = torch.zeros(2, 300, device=device)
    spikes, drive = torch.empty(2, 300, dtype=torch.float16, device=device)
    SF.ternary_step_(state[0], spikes, state[1], drive.fill_(1), fired=fired, threshold=0.5, amplitude=1e-9)
    assert fired.item() == 0 and not spikes.any()


def test_no_neuron_and_no_spike(device):
    for op in OPS:
        fired = torch.full((3,), 7, dtype=torch.int32, device=device)
        state = torch.zeros(2, 4, 0, device=device)
        getattr(SF, op)(state[0], torch.empty(3, 4, 0, device=device), state[1], torch.empty(3, 4, 0, device=device), fired=fired)
        assert fired.tolist() == [0, 0, 0]


@pytest.mark.parametrize("op", OPS)
def test_axes_of_size_one_have_any_stride(device, draw, op):
    """(B, C, 1, 1) maps of either memory format are walked as they are, whatever strides they carry."""
    given = ["drive", "current", FACTORS[op], "count"]
    for order in TIME_MAJOR:
        tensors = step_tensors(draw, op, 2, (5, 12, 1, 1), torch.float32, given, order, "contiguous", device)
        run_beside_reference(op, tensors)
        strided = {name: tensor if name == "spikes" or tensor.dim() == 5 else torch.as_strided(tensor, tensor.shape, (12, 1, 99, 7))
                   for name, tensor in tensors.items()}  # fmt: skip
        for name, tensor in run_beside_reference(op, strided).items():
            assert tensor.shape == tensors[name].shape


@pytest.mark.parametrize("op", OPS)
def test_copies_nothing(native, draw, op):
    given = ["drive", "current", FACTORS[op], "count", "fired"]
    tensors = step_tensors(draw, op, 3, (2, 3, 5, 7), torch.float32, given, "channels_last", "channels_last")

    def other_ops():
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            getattr(SF, op)(**tensors)
        return [event.name for event in profile.events() if event.name.startswith("aten::")]

    assert other_ops() == []
    tensors["drive"] = tensors["drive"].contiguous()  # another order than the membrane's: the test sees the copy
    assert other_ops() == ["aten::copy_"]


@pytest.mark.parametrize("op", OPS)
def test_autograd_notices_that_a_saved_tensor_was_overwritten(draw, op):
    given = ["drive", "count"]
    for name in ("membrane", "spikes", "rate", "count"):
        tensors = step_tensors(draw, op, 1, (6,), torch.float32, given)
        weight = torch.ones(6, requires_grad=True)
        product = weight * tensors[name]
        getattr(SF, op)(**tensors)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.sum().backward()


@pytest.mark.parametrize("op", OPS)
def test_gradients(draw, op):
    """None flow through; what needs one is refused where it would get lost, and used where gradients are off."""
    tensors = step_tensors(draw, op, 2, (6,), torch.float32, ["drive", "current", FACTORS[op]])
    for name in ("drive", "current", FACTORS[op]):
        leaf = tensors | {name: tensors[name].clone().requires_grad_()}
        with pytest.raises(ValueError, match=rf"{op}: expected tensors that need no gradient.*but {name} requires it"):
            getattr(SF, op)(**leaf)
        with torch.no_grad():
            spikes = getattr(SF, op)(**leaf)
        assert not spikes.requires_grad


@pytest.mark.parametrize("op", OPS)
def test_inference_mode(draw, op):
    with torch.inference_mode():
        run_beside_reference(op, step_tensors(draw, op, 2, (6,), torch.float32, ["drive", "count", "fired"]))
