"""Calls of the ops themselves (torch.ops.spikeops), forward and backward, with each optional argument given and left out."""

import math

import torch

from op_tests.layouts import TIME_MAJOR, lay_out
from op_tests.neurons import currents, parameter, spike_trains, state_dtype
from spikeops.functional._lif_options import RESETS, WEIGHTINGS
from spikeops.surrogate import ATan, Exponential


class Inputs:
    """Draws the arguments of ops for one size, dtype, layout and device."""

    def __init__(self, T=6, shape=(3, 50), dtype=torch.float32, layout="contiguous", device="cpu", grad=False):
        self.draw = torch.Generator().manual_seed(11)
        self.T, self.shape, self.dtype, self.layout, self.device, self.grad = T, shape, dtype, layout, device, grad

    def _leaf(self, tensor):
        return tensor.detach().requires_grad_(self.grad and tensor.is_floating_point())

    def x(self):
        return self._leaf(currents(self.draw, self.T, self.shape, self.dtype, self.layout, self.device))

    def gradient(self, of_steps=True, dtype=None):
        shape = (self.T, *self.shape) if of_steps else self.shape
        values = torch.randn(shape, generator=self.draw, dtype=torch.float64).to(dtype or self.dtype)
        return self._leaf(lay_out(values, self.layout, self.device) if of_steps else values.to(self.device))

    def decay(self, spread):
        return self._leaf(parameter(self.draw, spread, self.shape, state_dtype(self.dtype), 0.3, 0.9, self.device))

    def v_init(self):
        return self._leaf(parameter(self.draw, "per_neuron", self.shape, state_dtype(self.dtype), -0.5, 1.5, self.device))

    def neurons(self, decay=None, v_init=False, reset="subtract", strict=False, detach_reset=False, surrogate=ATan(2.0),
                is_constant=False):  # fmt: skip
        """The arguments LIF_NEURON of csrc/ops.cpp."""
        kind, scale, peak = surrogate.coefficients
        numbers = (0.6, 1.0, 1.0, 1.0, -0.2, 0.1, scale, peak)
        modes = (RESETS[reset], int(strict), int(detach_reset), kind, self.T if is_constant else 0)
        x = self._leaf(self.x().detach()[0]) if is_constant else self.x()
        return x, decay and self.decay(decay), self.v_init() if v_init else None, numbers, modes

    def step(self, drive=True, current="constant", factor=True, count=True, fired=True):
        """The arguments FEEDBACK_NEURON of csrc/ops.cpp. What is only written holds nonsense."""
        state = state_dtype(self.dtype)

        # The layouts that ops copy are for input.
        order = self.layout if self.layout in TIME_MAJOR else "contiguous"

        def per_neuron(low, high, dtype):
            values = low + (high - low) * torch.rand(1, *self.shape, generator=self.draw, dtype=torch.float64)
            return lay_out(values.to(dtype), order, self.device)[0]

        def per_step():
            return self.x().detach()

        kinds = {None: lambda: None, "constant": lambda: per_neuron(-0.3, 0.3, self.dtype), "per_step": per_step}
        return (
            per_neuron(-0.5, 0.9, state),
            lay_out(torch.full((self.T, *self.shape), torch.nan, dtype=self.dtype), order, self.device),
            per_neuron(0, 3, state),
            per_step() if drive else None,
            kinds[current](),
            (per_neuron(0, 1, self.dtype) > 0.3).to(self.dtype) * 1.25 if factor else None,
            per_neuron(0, 3, state) if count else None,
            torch.full((self.T,), 7, dtype=torch.int32, device=self.device) if fired else None,
        )

    def local_step(self, optional=False, surrogate=ATan(2.0)):
        """The arguments of local_learning_step_: at most 300 samples, 7 classes. What is only written holds nonsense."""
        units, classes, state = self.shape or (2, 3), 7, state_dtype(self.dtype)
        if len(units) == 1:
            units = (*units, 3)
        units = (min(units[0], 300), *units[1:])
        # The layouts that ops copy are for input, and so is one that would put the samples innermost.
        has_maps = len(units) > 2 or self.layout != "channels_last"
        order = self.layout if self.layout in TIME_MAJOR and has_maps else "contiguous"

        def drawn(low, high, shape, dtype, where=order):
            values = low + (high - low) * torch.rand(shape, generator=self.draw, dtype=torch.float64)
            # As a sequence of one step, whose channels are the second axis.
            return lay_out(values.to(dtype)[None], where, self.device)[0]

        def per_class(low, high, dtype):
            return drawn(low, high, (units[0], classes), dtype, "contiguous")

        def nonsense(shape=units, where=order):
            return lay_out(torch.full((1, *shape), torch.nan, dtype=self.dtype), where, self.device)[0]

        labels = torch.randint(-1, classes + 1, units[:1], generator=self.draw).to(self.device)
        # Multiples of 1/8: any order of addition gives the same class currents.
        eighths = torch.randint(-8, 9, (2, classes, *units[1:]), generator=self.draw).to(self.dtype) / 8
        matrices = [lay_out(values[None], self.layout, self.device)[0] for values in eighths]
        membrane, class_membrane = drawn(-0.3, 1.7, units, state), per_class(-0.3, 1.7, state)
        return (
            membrane, nonsense(), nonsense(), nonsense() if optional else None, drawn(0, 3, units, state) if optional else None,
            class_membrane, torch.full_like(class_membrane, 2), torch.full_like(class_membrane[:, 0], 3, memory_format=torch.contiguous_format),
            nonsense((units[0], classes), "contiguous"), nonsense((units[0], classes), "contiguous") if optional else None,
            drawn(-0.7, 1.3, units, self.dtype, self.layout), matrices[0], matrices[1] if optional else None, labels,
            *self._local_neuron(surrogate),
        )  # fmt: skip

    @staticmethod
    def _local_neuron(surrogate):
        kind, scale, peak = surrogate.coefficients
        return (0.6, 0.9, scale, peak, 0.3), kind

    def clamped(self):
        """Input and thresholds of neurons that stop at them: x as a batch of T samples, whose second axis has the thresholds."""
        x = self.x()
        x = x if x.dim() > 1 else x.unsqueeze(1)
        values = torch.rand(x.shape[1], generator=self.draw, dtype=torch.float64) - 0.3
        return x, self._leaf(values.to(self.device, state_dtype(self.dtype)))

    def clamped_gradient(self):
        """The gradient of their membrane potentials, and spike counts."""
        gradient = self.gradient(dtype=state_dtype(self.dtype))
        gradient = gradient if gradient.dim() > 1 else gradient.unsqueeze(1)
        count = torch.randint(0, 4, gradient.shape, generator=self.draw).to(self.dtype)
        count = lay_out(count, self.layout, self.device) if count.dim() > 2 else count.to(self.device)
        return gradient.detach(), count

    def spikes(self, dtype=None):
        return spike_trains(self.draw, self.T, self.shape, dtype or self.dtype, self.layout, self.device)


_MEAN, _DECAY = WEIGHTINGS["mean"], WEIGHTINGS["decay"]

FORWARD = {
    "lif": lambda i: ("lif_forward", i.neurons()),
    "lif/v_init": lambda i: ("lif_forward", i.neurons(v_init=True, reset="to", strict=True)),
    "lif/decay": lambda i: ("lif_forward", i.neurons("per_channel", reset="none")),
    "lif/constant": lambda i: ("lif_forward", i.neurons("per_neuron", v_init=True, is_constant=True)),
    "lif/decay+v_init": lambda i: ("lif_forward", i.neurons("one", v_init=True, detach_reset=True)),
    "lif_rate": lambda i: ("lif_rate_forward", (*i.neurons(), _MEAN)),
    "lif_rate/weighted": lambda i: ("lif_rate_forward", (*i.neurons("per_neuron", v_init=True, reset="to"), _DECAY)),
    "lif_rate/constant": lambda i: ("lif_rate_forward", (*i.neurons("one", is_constant=True), _DECAY)),
    "tssl_bp": lambda i: ("tssl_bp_forward", (i.x(), 5.0, 3.0, 1.0, False)),
    "tssl_bp/spikes": lambda i: ("tssl_bp_forward", (i.x(), 5.0, 3.0, 1.0, True)),
    "synaptic_filter": lambda i: ("synaptic_filter_forward", (i.x(), 3.0)),
    "spike_count": lambda i: ("spike_count", (i.x(),)),
    "clamped_lif": lambda i: ("clamped_lif_forward", (*i.clamped(), (0.01, 2.0, 3.0, 0.1), 3)),
    "clamped_lif/one_step": lambda i: ("clamped_lif_forward", (*i.clamped(), (0.5, 2.0, 3.0, 0.0), 1)),
}
BACKWARD = {
    "lif_backward": lambda i: (
        "lif_backward", (i.gradient(), i.gradient(False, state_dtype(i.dtype)), *i.neurons("one", v_init=True), True, True)
    ),
    "lif_backward/spikes": lambda i: ("lif_backward", (i.gradient(), None, *i.neurons(), False, False)),
    "lif_backward/v_last": lambda i: (
        "lif_backward", (None, i.gradient(False, state_dtype(i.dtype)), *i.neurons("per_channel", reset="to"), True, False)
    ),
    "lif_backward/v_init": lambda i: ("lif_backward", (i.gradient(), None, *i.neurons(v_init=True, reset="none"), False, True)),
    "lif_backward/constant": lambda i: (
        "lif_backward",
        (i.gradient(), i.gradient(False, state_dtype(i.dtype)), *i.neurons("one", v_init=True, is_constant=True), True, True),
    ),
    "lif_rate_backward/constant": lambda i: (
        "lif_rate_backward", (i.gradient(False), *i.neurons("per_neuron", is_constant=True), _MEAN, True, False)
    ),
    "lif_rate_backward": lambda i: ("lif_rate_backward", (i.gradient(False), *i.neurons(), _MEAN, False, False)),
    "lif_rate_backward/weighted": lambda i: (
        "lif_rate_backward", (i.gradient(False), *i.neurons("per_neuron", v_init=True), _DECAY, True, True)
    ),
    "tssl_bp_backward": lambda i: ("tssl_bp_backward", (i.gradient(), i.x(), 5.0, 3.0, 1.0)),
    "synaptic_filter_backward": lambda i: ("synaptic_filter_backward", (i.gradient(), 3.0)),
    "clamped_lif_backward": lambda i: ("clamped_lif_backward", (*i.clamped_gradient(), (0.01, 2.0, 3.0, 0.1))),
    "local_gradient_in_time": lambda i: (
        "local_gradient_in_time", (i.gradient(False).detach(), i.x().detach().clamp(0, 1), 0.6, 0.9)
    ),
}  # fmt: skip
SPIKES = {
    "spike_count/int": lambda i: ("spike_count", (i.spikes(torch.int32),)),
    "spike_count/packed": lambda i: ("spike_count", (_packed(i),)),
    "pack_spikes": lambda i: ("pack_spikes", (i.spikes(),)),
    "unpack_spikes": lambda i: ("unpack_spikes", (_packed(i), i.T, i.dtype)),
    "poisson_encode": lambda i: ("poisson_encode", (_probabilities(i), i.T, torch.tensor([123], device=i.device))),
    "latency_encode": lambda i: ("latency_encode", (_probabilities(i), i.T)),
}
SUMS = {
    "row_sum/long_rows": lambda i: ("row_sum", (_matrix(i),)),
    "row_sum/many_rows": lambda i: ("row_sum", (_matrix(i).T,)),
}
TRIALS = {
    "convex_snn_trial": lambda i: ("convex_snn_trial", _convex(i)),
    "convex_snn_trial/noise": lambda i: ("convex_snn_trial", _convex(i, decodes=True, noise="drawn")),
    "convex_snn_trial/learning": lambda i: ("convex_snn_trial", _convex(i, noise="given", learns=True)),
}
IN_PLACE = {
    "feedback_step_": lambda i: ("feedback_step_", (*i.step(), 0.9, 1.0, 1.5)),
    "feedback_step_/drive": lambda i: ("feedback_step_", (*i.step(True, None, False, False, False), 1.0, 1.0, 1.0)),
    "feedback_step_/current": lambda i: ("feedback_step_", (*i.step(False, "per_step", True, False), 0.9, 0.5, 0.5)),
    "local_learning_step_": lambda i: ("local_learning_step_", i.local_step()),
    "local_learning_step_/optional": lambda i: ("local_learning_step_", i.local_step(True, Exponential(1.0))),
    "ternary_step_": lambda i: ("ternary_step_", (*i.step(), 0.7, 0.9, 0.5, 1.0)),
    "ternary_step_/drive": lambda i: ("ternary_step_", (*i.step(True, None, False, False, False), 0.7, 1.0, 0.3, 0.5)),
    "ternary_step_/current": lambda i: ("ternary_step_", (*i.step(False, "per_step", True, False), 1.0, 0.9, 0.5, 1.1)),
}
CALLS = {**FORWARD, **BACKWARD, **SPIKES, **SUMS, **TRIALS, **IN_PLACE}
# What the Triton backend has kernels for.
TRITON_CALLS = {name: build for name, build in CALLS.items() if name not in TRIALS}


def _packed(inputs):
    words = -(-inputs.T // 16)
    values = torch.randint(-(2**15), 2**15, (words, *inputs.shape), generator=inputs.draw).to(torch.int16)
    return lay_out(values, inputs.layout, inputs.device).view(torch.uint16)


def _matrix(inputs):
    return inputs.gradient(dtype=state_dtype(inputs.dtype)).detach().reshape(inputs.T, -1)


def _probabilities(inputs):
    return torch.rand(inputs.shape, generator=inputs.draw).to(inputs.device, inputs.dtype)


def _convex(inputs, decodes=False, noise=None, learns=False):
    """Trials of T steps, at most 500; x has the layout of the inputs."""
    dtype, bins, trials, neurons, readouts = state_dtype(inputs.dtype), inputs.T + 1, min(math.prod(inputs.shape), 500), 37, 3

    def rand(*shape):
        return torch.rand(shape, generator=inputs.draw, dtype=torch.float64).to(inputs.device, dtype)

    x = lay_out(4 * rand(bins, trials, 2) - 2, inputs.layout, inputs.device)
    encoder = rand(neurons, readouts)
    decoder = 0.1 * encoder.T
    weights = [2 * rand(neurons, 2) - 1, -encoder @ decoder, rand(neurons) - 0.5, decoder if decodes else None]
    normal = rand(inputs.T, trials, neurons) if noise == "given" else None
    seed = torch.tensor([5], device=inputs.device) if noise == "drawn" else None
    learning = (rand(trials, readouts), encoder) if learns else (None, None)
    numbers = (0.01, 2.0, 0.05, 0.3 if noise else 0.0, 0.02, 0.03, 0.5, 0.1, 1.0, 2.0)
    return (x, *weights, normal, seed, *learning, numbers, 1)


def call(name, inputs):
    """(op, arguments) of a call by its name."""
    op, arguments = CALLS[name](inputs)
    return getattr(torch.ops.spikeops, op), arguments


def as_tuple(outputs):
    """What an op returned, as a tuple: an op that works in place returns nothing."""
    if outputs is None:
        return ()
    return outputs if isinstance(outputs, tuple) else (outputs,)


def run_on_copies(op, arguments):
    """What an op returns, as a tuple that begins with what it wrote in place: copies of those arguments."""
    schema = op.default._schema.arguments
    written = [i for i, argument in enumerate(arguments) if schema[i].is_write and argument is not None]
    given = list(arguments)
    for i in written:
        given[i] = arguments[i].clone()
    outputs = as_tuple(op(*given))
    return *(given[i] for i in written), *outputs


def prepare(name, inputs):
    """A function of no arguments that makes the call and returns its results as a tuple (:func:`run_on_copies`)."""
    op, arguments = call(name, inputs)
    return lambda: run_on_copies(op, arguments)
