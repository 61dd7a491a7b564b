"""Layers that learn on their own: a step of a layer and its classifier, in place, and the way back in time."""

import torch
from op_tests import measured, transformed
from op_tests.inputs import ROW
from op_tests.kinds import Call, Module, Sequence
from op_tests.layouts import lay_out
from op_tests.measured import DECAY, STEPS, THRESHOLD, Op
from op_tests.transformed import IN_PLACE, NONE, REFUSED, STEP, WIDTH, WORKS, X, of_module
from torch import nn

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops._dtypes import state_dtype
from spikeops.surrogate import ATan, Exponential

_CLASSES = 7


def step(i, optional=False):
    """The tensors of local_learning_step_ in the order of its schema: at most 300 samples. What is only written holds nonsense."""
    units = i.shape or (2, 3)
    if len(units) == 1:
        units = (*units, 3)
    units = (min(units[0], 300), *units[1:])
    # The layouts that ops copy are for input, and so is one that would put the samples innermost.
    order = i.order if len(units) > 2 or i.layout != "channels_last" else "contiguous"

    def drawn(low, high, shape, dtype, where=order):
        values = low + (high - low) * torch.rand(shape, generator=i.draw, dtype=torch.float64)
        # As a sequence of one step, whose channels are the second axis.
        return lay_out(values.to(dtype)[None], where, i.device)[0]

    def per_class(low, high, dtype):
        return drawn(low, high, (units[0], _CLASSES), dtype, "contiguous")

    def nonsense(shape=units, where=order):
        return lay_out(torch.full((1, *shape), torch.nan, dtype=i.dtype), where, i.device)[0]

    labels = torch.randint(-1, _CLASSES + 1, units[:1], generator=i.draw).to(i.device)
    # Multiples of 1/8: any order of addition gives the same class currents.
    eighths = torch.randint(-8, 9, (2, _CLASSES, *units[1:]), generator=i.draw).to(i.dtype) / 8
    matrices = [lay_out(values[None], i.layout, i.device)[0] for values in eighths]
    membrane, class_membrane = drawn(-0.3, 1.7, units, i.state), per_class(-0.3, 1.7, i.state)
    return (
        membrane, nonsense(), nonsense(), nonsense() if optional else None, drawn(0, 3, units, i.state) if optional else None,
        class_membrane, torch.full_like(class_membrane, 2), torch.full_like(class_membrane[:, 0], 3, memory_format=torch.contiguous_format),
        nonsense((units[0], _CLASSES), "contiguous"), nonsense((units[0], _CLASSES), "contiguous") if optional else None,
        drawn(-0.7, 1.3, units, i.dtype, i.layout), matrices[0], matrices[1] if optional else None, labels,
    )  # fmt: skip


def _raw_step(i, optional=False, surrogate=ATan(2.0)):
    kind, scale, peak = surrogate.coefficients
    return *step(i, optional), (0.6, 0.9, scale, peak, 0.3), kind


RAW = {
    "local_gradient_in_time": lambda i: (
        "local_gradient_in_time", (i.gradient(False).detach(), i.x().detach().clamp(0, 1), 0.6, 0.9)
    ),
    "local_learning_step_": lambda i: ("local_learning_step_", _raw_step(i)),
    "local_learning_step_/optional": lambda i: ("local_learning_step_", _raw_step(i, True, Exponential(1.0))),
}  # fmt: skip

_WRITTEN = ("membrane", "spikes", "gradient", "derivative", "trace", "class_membrane", "count", "squared_error", "error",
            "class_derivative")  # fmt: skip
_STEP = dict(
    written=_WRITTEN, options={"decay": 0.7, "error_scale": 0.1}, float32=("threshold", "error_scale"), summed="weight",
    positive=("threshold",), own_test="test_local.py", own_bad_input="test_local_bad_input.py",
)  # fmt: skip


def _arguments(i, optional=False):
    return dict(zip((*_WRITTEN, "current", "weight", "feedback", "labels"), step(i, optional)))


CALLS = (
    Call(name="local_learning_step_", arguments=_arguments, on_device=False, **_STEP),
    Call(name="local_learning_step_/optional", arguments=lambda i: _arguments(i, True), on_device=False, **_STEP),
    Call(name="local_gradient_in_time", arguments=lambda i: {"gradient": i.gradient(False), "derivatives": i.x()}, on_device=False,
         options={"decay": 0.5}, ranges={"decay": [0.0, 0.5, 1.0]}, float32=("threshold",), positive=("threshold",),
         own_bad_input="test_local_bad_input.py"),
)  # fmt: skip


def _sequence(draw, T, N, dtype):
    """Currents (T, N) of units that are taken for samples of at most 64 units, and a classifier of them."""
    units = min(N, 64)
    x = (torch.randint(-8, 17, (T, N), generator=draw) / 8).to(dtype)
    labels = torch.randint(0, _CLASSES, (N // units,), generator=draw)
    # Multiples of 1/8: all backends get the same sums.
    return x, (torch.randint(-8, 9, (_CLASSES, units), generator=draw) / 8).to(dtype), labels


def _all_steps(x, weight, labels):
    """All time steps of a layer with a local classifier, and the way back in time."""
    x = x[:, : weight.shape[1] * len(labels)].unflatten(1, (-1, weight.shape[1])).contiguous()
    state, samples = state_dtype(x.dtype), len(labels)
    membrane, trace = torch.zeros_like(x[0], dtype=state), torch.zeros_like(x[0], dtype=state)
    spikes, slopes, gradient = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x[0])
    class_membrane, count = (torch.zeros(samples, _CLASSES, dtype=state, device=x.device) for _ in range(2))
    squared, error = torch.zeros(samples, dtype=state, device=x.device), x.new_empty(samples, _CLASSES)
    for x_t, s_t, slope_t in zip(x, spikes, slopes):
        SF.local_learning_step_(membrane, s_t, gradient, x_t, weight, class_membrane, count, squared, error, labels, 0.7,
                                error_scale=0.1, derivative=slope_t, trace=trace)  # fmt: skip
    gradients = SF.local_gradient_in_time(slopes[0], slopes, 0.7)
    return [membrane, trace, spikes, slopes, gradient, class_membrane, count, squared, error, gradients]


ON_DEVICE = (Sequence(name="local", tensors=_sequence, function=_all_steps, summed=(1,)),)

MODULES = (
    Module(kind=snn.LocalClassifier, needed=dict(shape=(8, 4, 4), classes=3),
           options=dict(decoder_size=32, feedback="alignment", frozen=True)),
    Module(kind=snn.LocalBlock, needed=dict(encoder=nn.Linear(4, 6, bias=False), classifier=snn.LocalClassifier((6,), 3)),
           options=dict(rule="bell", time_steps=3, tau=2.0, threshold=0.5, surrogate=ATan(1.0), update="window")),
)  # fmt: skip

_LABELS = torch.tensor([0, 1, 0, 1])


def _numbers_of_step(decay, threshold, error_scale):
    units = {name: torch.zeros(1, 3) for name in ("membrane", "spikes", "gradient")}
    classes = {name: torch.zeros(1, 2) for name in ("class_membrane", "count", "error")}
    SF.local_learning_step_(**units, **classes, current=ROW[:1], weight=torch.ones(2, 3), squared_error=torch.zeros(1),
                            labels=_LABELS[1:2], decay=decay, threshold=threshold, error_scale=error_scale)  # fmt: skip
    return list(units.values()) + list(classes.values())


def _numbers_of_block(tau, threshold, time_steps, batch_size):
    torch.manual_seed(0)
    block = snn.LocalBlock(nn.Linear(3, 4, bias=False), snn.LocalClassifier((4,), 2), time_steps=time_steps, tau=tau, threshold=threshold)
    step = block.learn(ROW, _LABELS, torch.optim.SGD(block.parameters(), 0.5), batch_size)
    return [step.spikes, step.loss, *block.state_dict().values()]


def _numbers_of_losses(units, **options):
    torch.manual_seed(0)
    block = snn.LocalLossBlock(nn.Linear(3, 8), (units,), **options)
    return [block.local_losses(block(ROW), _LABELS).total, *block.state_dict().values()]


def _numbers_of_classifier(side, classes, decoder_size):
    torch.manual_seed(0)
    made = snn.LocalClassifier((2, side, side), classes, decoder_size=decoder_size)
    return [made.weight, torch.tensor(made.pool_kernel)]


NUMBERS = {
    SF.local_learning_step_: (_numbers_of_step, dict(decay=0.5, threshold=1.0, error_scale=0.5)),
    SF.local_gradient_in_time: (lambda **o: [SF.local_gradient_in_time(ROW[0], ROW, **o)], dict(decay=0.5, threshold=1.0)),
    snn.LocalBlock: (_numbers_of_block, dict(tau=1.0, threshold=0.5, time_steps=3, batch_size=4)),
    snn.LocalLossBlock: (_numbers_of_losses, dict(units=8, classes=2, beta=0.5, decoder_size=64, time_steps=3)),
    snn.LocalClassifier: (_numbers_of_classifier, dict(side=6, classes=3, decoder_size=16)),
    snn.similarity_matching_loss: (lambda **o: [snn.similarity_matching_loss(ROW, _LABELS, **o)], dict(classes=2)),
}

# --- transforms -------------------------------------------------------------------------------------------------------------


def _one_step(current, membrane, weight):
    membrane = membrane.clone()
    spikes, gradient = torch.empty_like(current), torch.empty_like(current)
    classes = [current.new_zeros(current.shape[0], 4) for _ in range(3)]
    squared, labels = current.new_zeros(current.shape[0]), torch.ones(current.shape[0], dtype=torch.int64)
    SF.local_learning_step_(membrane, spikes, gradient, current, weight, *classes[:2], squared, classes[2], labels, 0.7)
    return spikes, gradient, membrane, squared


class _Losses(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = snn.LocalLossBlock(nn.Linear(WIDTH, 6, bias=False), (6,), 4, batch_norm=False)

    def forward(self, x):
        return self.block.local_losses(self.block(x), torch.arange(x.shape[1]) % 4).total


_OF_STEP = dict(shapes=(STEP,), batched=(0,), steps_are_fixed=True)
TRANSFORMED = {
    "local_learning_step_": transformed.Call(_one_step, (STEP, STEP, (4, "N")), (0, 0, None), steps_are_fixed=True, **IN_PLACE),
    "local_gradient_in_time": transformed.Call(lambda g, d: SF.local_gradient_in_time(g, d, 0.7), (STEP, X), (0, 1), forward=WORKS),
    "LocalBlock": of_module(lambda: snn.LocalBlock(nn.Linear(WIDTH, 6, bias=False), snn.LocalClassifier((6,), 4), "bell")),
    "LocalClassifier/transpose": of_module(lambda: snn.LocalClassifier((WIDTH,), 4), forward=WORKS, **_OF_STEP),
    "LocalClassifier/alignment": of_module(lambda: snn.LocalClassifier((WIDTH,), 4, feedback="alignment"), trace=REFUSED, **_OF_STEP),
    "LocalLossBlock": of_module(_Losses, vmap=NONE),
}

# --- benchmarks -------------------------------------------------------------------------------------------------------------

_MEASURED_UNITS, _MEASURED_CLASSES = (800, 512, 1), 10


def _samples(x):
    """(T, N) as (T, samples, units): the first number of units that divides N."""
    return x.unflatten(1, (-1, next(units for units in _MEASURED_UNITS if x.shape[1] % units == 0)))


def _state(x):
    """A classifier, labels, the state of layer and classifier, room for the spikes and for the gradients."""
    x = _samples(x)
    samples, units = x.shape[1:]
    draw = torch.Generator().manual_seed(0)
    weight = (torch.randn(_MEASURED_CLASSES, units, generator=draw) / units**0.5).to(x.device, x.dtype)
    labels = torch.arange(samples, device=x.device) % _MEASURED_CLASSES
    state = state_dtype(x.dtype)
    membrane, squared_error = torch.zeros_like(x[0], dtype=state), x.new_zeros(samples, dtype=state)
    class_membrane, count = x.new_zeros((2, samples, _MEASURED_CLASSES), dtype=state)
    return weight, labels, membrane, class_membrane, count, squared_error, torch.empty_like(x[0]), torch.empty_like(x)


def _fused_steps(x, T, weight, labels, membrane, class_membrane, count, squared_error, spikes, gradients):
    error = x.new_empty(class_membrane.shape)
    for current, gradient in zip(_samples(x), gradients):
        SF.local_learning_step_(membrane, spikes, gradient, current, weight, class_membrane, count, squared_error, error, labels,
                                DECAY, THRESHOLD)  # fmt: skip
    return gradients


def _learning_loop(x, T, weight, labels, membrane, class_membrane, count, squared_error, spikes, gradients):
    """A layer that learns by ELL, in place: the classifier (K, U), labels (N,), the state, spikes, gradients."""
    target = torch.nn.functional.one_hot(labels, len(weight)).to(x.dtype)
    for current, gradient in zip(_samples(x), gradients):
        membrane.sub_((membrane >= THRESHOLD).to(x.dtype), alpha=THRESHOLD).mul_(DECAY).add_(current)
        torch.ge(membrane, THRESHOLD, out=spikes)
        derivative = torch.exp(-(membrane - THRESHOLD).abs())
        class_membrane.sub_((class_membrane >= THRESHOLD).to(x.dtype), alpha=THRESHOLD).mul_(DECAY).add_(spikes @ weight.t())
        class_spikes = (class_membrane >= THRESHOLD).to(x.dtype)
        difference = class_spikes - target
        count.add_(class_spikes)
        squared_error.add_(difference.square().sum(1))
        error = difference * torch.exp(-(class_membrane - THRESHOLD).abs())
        torch.mul(error.to(x.dtype) @ weight, derivative, out=gradient)
    return gradients


def _back_in_time(derivatives, T):
    """From the gradient of the last membrane potential (...) to those of all currents (T + 1, ...)."""
    gradients = [derivatives[0]]
    for derivative in reversed(derivatives.unbind()):
        gradients.append(gradients[-1] * (DECAY * (1 - THRESHOLD * derivative)))
    return torch.stack(gradients[::-1])


def _moved_by_steps(T, N):
    """Currents and gradients; the rest is read and written once: two numbers a unit, a classifier, labels, and for each sample two
    numbers a class and its squared error."""
    units = next(units for units in _MEASURED_UNITS if N % units == 0)
    samples = N // units
    state = 8 * N + 4 * _MEASURED_CLASSES * units + 8 * samples + 4 * samples * (2 * _MEASURED_CLASSES + 1)
    return 8 * T * N + 2 * state, None


_TESTS = ("test_local.py", "test_local_bad_input.py")
MEASURED = (
    Op("local_learning_step_", _fused_steps, _learning_loop, measured.currents, _TESTS, _moved_by_steps, make_state=_state, sizes=STEPS),
    Op(
        "local_gradient_in_time",
        fused=lambda x, T: SF.local_gradient_in_time(x[0], x, DECAY, THRESHOLD),
        eager=_back_in_time,
        make_input=lambda T, N, dtype, device: torch.rand(T, N, device=device).to(dtype),
        tests=_TESTS,
        moves=lambda T, N: (4 * T * N + 4 * (T + 1) * N, None),
    ),
)
