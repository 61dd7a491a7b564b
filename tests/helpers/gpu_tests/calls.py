"""Every op, forward and backward, as a function of its input tensors, so that one call can run on any device and stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

import spikeops.functional as SF
from spikeops._backend import namespace


@dataclasses.dataclass(frozen=True)
class Call:
    name: str
    inputs: Callable  # (generator, T, N, dtype) -> tensors on the CPU
    run: Callable  # (*tensors) -> tensors

    def __str__(self):
        return self.name

    def on(self, device, T=33, N=1300, dtype=torch.float32, seed=3):
        """The call's inputs on a device."""
        draw = torch.Generator().manual_seed(seed)
        return [tensor.to(device) for tensor in self.inputs(draw, T, N, dtype)]


def _currents(draw, T, N, dtype):
    """Multiples of 1/8, so that many membrane potentials lie exactly at the threshold."""
    return (torch.randint(-8, 17, (T, N), generator=draw) / 8).to(dtype)


def _state(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def _lif_inputs(draw, T, N, dtype):
    decay = torch.linspace(0.3, 0.9, N, dtype=_state(dtype))
    v_init = torch.rand(N, generator=draw, dtype=_state(dtype))
    return _currents(draw, T, N, dtype), torch.randn(T, N, generator=draw).to(dtype), decay, v_init


def _shared_decay_inputs(draw, T, N, dtype):
    return _currents(draw, T, N, dtype), torch.randn(T, N, generator=draw).to(dtype), torch.tensor(0.75, dtype=_state(dtype))


def _clamped(x, gradient):
    """T samples of neurons with a threshold each."""
    threshold = x.new_zeros(x.shape[1], dtype=_state(x.dtype)) + torch.linspace(-0.5, 1, x.shape[1], device=x.device)
    x, threshold = (leaf.detach().requires_grad_() for leaf in (x, threshold.to(_state(x.dtype))))
    count, v = SF.clamped_lif(x, threshold, dt=1e-3, threshold_gain=2.0)
    return [count, v.detach(), *torch.autograd.grad(v, [x, threshold], gradient.to(v.dtype))]


def _sequence_inputs(draw, T, N, dtype):
    return _currents(draw, T, N, dtype), torch.randn(T, N, generator=draw).to(dtype)


def _differentiate(function, leaves, gradient):
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    grads = torch.autograd.grad(outputs[0], leaves, gradient)
    return [*(output.detach() for output in outputs), *grads]


def _lif(x, gradient, decay, v_init):
    return _differentiate(lambda x, d, v: SF.lif(x, d, v_init=v, reset="to", v_reset=-0.125), [x, decay, v_init], gradient)


def _lif_shared_decay(x, gradient, decay):
    return _differentiate(lambda x, d: SF.lif(x, d), [x, decay], gradient)


def _lif_rate(x, gradient, decay, v_init):
    return _differentiate(lambda x, d, v: SF.lif_rate(x, d, v_init=v, weighting="decay"), [x, decay, v_init], gradient[0])


def _tssl_bp(x, gradient):
    return _differentiate(lambda x: SF.tssl_bp(x, return_spikes=True), [x], gradient)


def _synaptic_filter(x, gradient):
    return _differentiate(lambda x: SF.synaptic_filter(x, 3.0), [x], gradient)


def _step_inputs(draw, T, N, dtype):
    state = [torch.rand(N, generator=draw, dtype=_state(dtype)) for _ in range(3)]
    return (
        _currents(draw, T, N, dtype),
        _currents(draw, 1, N, dtype)[0] / 4,
        (torch.rand(N, generator=draw) < 0.7).to(dtype),
        *state,
    )


def _step(op, factor):
    def run(drive, current, mask, *state):
        membrane, rate, count = (tensor.clone() for tensor in state)
        spikes, fired = torch.empty_like(drive), torch.empty(len(drive), dtype=torch.int32, device=drive.device)
        op(membrane, spikes, rate, drive, current=current, count=count, fired=fired, leak=0.9, **{factor: mask})
        return [membrane, spikes, rate, count, fired]

    return run


def _local_inputs(draw, T, N, dtype):
    """Currents (T, N) of units that are taken for samples of at most 64 units, and a classifier with seven classes of them."""
    units = min(N, 64)
    labels = torch.randint(0, 7, (N // units,), generator=draw)
    # Multiples of 1/8: all backends get the same sums.
    return _currents(draw, T, N, dtype), (torch.randint(-8, 9, (7, units), generator=draw) / 8).to(dtype), labels


def _local_steps(x, weight, labels):
    """All time steps of a layer with a local classifier, and the way back in time."""
    x = x[:, : weight.shape[1] * len(labels)].unflatten(1, (-1, weight.shape[1])).contiguous()
    state, samples = _state(x.dtype), len(labels)
    membrane, trace = torch.zeros_like(x[0], dtype=state), torch.zeros_like(x[0], dtype=state)
    spikes, slopes, gradient = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x[0])
    class_membrane, count = (torch.zeros(samples, 7, dtype=state, device=x.device) for _ in range(2))
    squared, error = torch.zeros(samples, dtype=state, device=x.device), x.new_empty(samples, 7)
    for x_t, s_t, slope_t in zip(x, spikes, slopes):
        SF.local_learning_step_(membrane, s_t, gradient, x_t, weight, class_membrane, count, squared, error, labels, 0.7,
                                error_scale=0.1, derivative=slope_t, trace=trace)  # fmt: skip
    gradients = SF.local_gradient_in_time(slopes[0], slopes, 0.7)
    return [membrane, trace, spikes, slopes, gradient, class_membrane, count, squared, error, gradients]


def _spikes(draw, T, N, dtype):
    return [(torch.rand(T, N, generator=draw) < 0.3).to(dtype)]


def _probabilities(draw, T, N, dtype):
    return [torch.rand(N, generator=draw).to(dtype), torch.tensor([1234567890123456789])]


def _pack(spikes):
    packed = SF.pack_spikes(spikes)
    return [packed, SF.unpack_spikes(packed, len(spikes), spikes.dtype), SF.spike_count(packed)]


def _trials(draw, T, N, dtype):
    """Trials of at most 300 neurons, which are all connected; a seed for their noise."""
    neurons = min(N, 300)
    encoder = torch.rand(neurons, 2, generator=draw).to(_state(dtype))
    x, feedforward, targets = (torch.randn(shape, generator=draw).to(encoder) for shape in ((T + 1, 3, 2), (neurons, 2), (3, 2)))
    weights = feedforward, -0.1 * encoder @ encoder.T, torch.zeros(neurons).to(encoder)
    return x, *weights, targets, encoder, torch.tensor([1234567890123456789])


def _convex(x, feedforward, recurrent, thresholds, targets, encoder, seed):
    weights, op = (feedforward, recurrent, thresholds), namespace("convex_snn_trial", x.device).convex_snn_trial
    numbers = (0.01, 2.0, 0.05, 0.1, 0.05, 0.05, 0.2, 0.1, 1.0, 2.0)
    plain = op(x, *weights, None, None, seed, None, None, numbers, 0)
    return [*plain[:2], *op(x, *weights, None, None, seed, targets, encoder, numbers, 1)]


CALLS = (
    Call("lif", _lif_inputs, _lif),
    Call("lif_shared_decay", _shared_decay_inputs, _lif_shared_decay),
    Call("lif_rate", _lif_inputs, _lif_rate),
    Call("tssl_bp", _sequence_inputs, _tssl_bp),
    Call("synaptic_filter", _sequence_inputs, _synaptic_filter),
    Call("feedback_step_", _step_inputs, _step(SF.feedback_step_, "mask")),
    Call("ternary_step_", _step_inputs, _step(SF.ternary_step_, "gate")),
    Call("clamped_lif", _sequence_inputs, _clamped),
    Call("convex_snn_trial", _trials, _convex),
    Call("local", _local_inputs, _local_steps),
    Call("spike_count", _spikes, lambda spikes: [SF.spike_count(spikes)]),
    Call("pack_spikes", _spikes, _pack),
    Call("poisson_encode", _probabilities, lambda p, seed: [namespace("poisson_encode", p.device).poisson_encode(p, 33, seed)]),
    Call("latency_encode", _probabilities, lambda p, _: [SF.latency_encode(p, 33)]),
)
