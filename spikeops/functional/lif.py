"""Multi-step leaky integrate-and-fire neurons."""

from __future__ import annotations

from functools import partial

import torch

from spikeops import _backend, _layout, reference
from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _derivatives, _reduce, _register, _transforms, _vmap
from spikeops.functional._lif_options import RESETS, WEIGHTINGS, LIFOptions, Reset, Weighting, checked_options
from spikeops.functional._other_words import NEURON, explain_other_words
from spikeops.functional._vmap import PARAMETER, SEQUENCE, STEP
from spikeops.surrogate import ATan, Surrogate, from_coefficients


@explain_other_words(NEURON)
def lif(
    x: torch.Tensor,
    decay: float | torch.Tensor = 0.5,
    threshold: float = 1.0,
    *,
    input_scale: float = 1.0,
    reset: Reset = "subtract",
    reset_amount: float | None = None,
    v_reset: float = 0.0,
    v_rest: float = 0.0,
    strict: bool = False,
    detach_reset: bool = False,
    surrogate: Surrogate = ATan(2.0),
    v_init: torch.Tensor | None = None,
    time_steps: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Leaky integrate-and-fire neurons over all time steps in one kernel, with a surrogate gradient.

    For each neuron, ``t = 0 .. T-1``, in this order (decay, input, spike, reset; no delay)::

        u[t] = v_rest + decay * (v[t-1] - v_rest) + input_scale * x[t]
        s[t] = 1 if u[t] >= threshold else 0            (strict: u[t] > threshold)
        v[t] = u[t] - reset_amount * s[t]               reset "subtract"
             = v_reset if s[t] else u[t]                reset "to"
             = u[t]                                     reset "none"

    The gradient is that of the unrolled loop with ``d s / d u`` replaced by ``surrogate`` (Neftci, Mostafa & Zenke, 2019),
    through the reset too unless ``detach_reset``. Only x is kept for the backward pass. Second derivatives (``create_graph=True``,
    `torch.func.grad` twice) are those of the same loop with ``surrogate`` in the place of ``d s / d u`` wherever s stands; they run
    the loop in plain PyTorch, some 1 ms per time step. Forward mode is refused (docs/transforms.md).

    Numbers that are not finite go through these equations like others: an infinite u fires, a NaN does not; after reset "to" v is
    v_reset whatever u was, and no gradient passes from it to u but that through s, which is NaN for an infinite u, as 0 times
    infinity is, unless ``detach_reset``. A NaN u has a NaN gradient with every surrogate.

    Args:
        x: input current (T, ...), float32, float64, float16 or bfloat16. T >= 1. A time step that is dense in memory in any
            order of its dimensions (channels-last, say) is used as it is; other strides are copied.
        decay: factor by which the membrane potential decays towards v_rest in one time step, in [0, 1]: ``exp(-1 / tau)`` or
            ``1 - 1 / tau`` for a time constant. A number, or a tensor that broadcasts to ``x.shape[1:]`` and then gets a gradient
            (summed in a fixed order). Of a tensor only a single value is checked, on the CPU and in eager code: the decays of many
            neurons, and those on a device, are taken as they are.
        threshold: membrane potential at which a neuron fires.
        input_scale: factor on x.
        reset: what a spike does to the membrane potential: "subtract", "to" or "none".
        reset_amount: subtracted by reset "subtract"; the threshold by default.
        v_reset: membrane potential after a spike with reset "to".
        v_rest: resting potential.
        strict: fire only above the threshold, not at it.
        detach_reset: treat the spike in the reset as a constant in the backward pass.
        surrogate: one of :mod:`spikeops.surrogate`.
        v_init: membrane potential before the first step, broadcastable to ``x.shape[1:]``; gets a gradient. 0 by default
            (whatever v_rest is).
        time_steps: T, for a current x (...) that has no time axis and is the same in all time steps, as from a still image. It is
            not copied T times, and its gradient is summed over time in the kernel.

    Returns:
        ``(spikes, v_last)``: spikes (T, ...), 0 or 1, in x's dtype and layout; v_last (...), the membrane potential after the
        last reset, in float32 for 16-bit x, so that a sequence cut into pieces gives the same spikes as in one piece.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device or value. RuntimeError: no kernel for the device.

    Example:
        >>> x = torch.tensor([[0.6], [0.6], [0.6]])
        >>> spikes, v = SF.lif(x, decay=0.5)
        >>> spikes.T, v
        (tensor([[0., 0., 1.]]), tensor([0.0500]))
        >>> SF.lif(torch.tensor([0.6]), decay=0.5, time_steps=3)[0].T
        tensor([[0., 0., 1.]])
    """
    options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    return run_lif(x, decay, threshold, options, v_init, time_steps)


@explain_other_words(NEURON)
def lif_rate(
    x: torch.Tensor,
    decay: float | torch.Tensor = 0.5,
    threshold: float = 1.0,
    *,
    input_scale: float = 1.0,
    reset: Reset = "subtract",
    reset_amount: float | None = None,
    v_reset: float = 0.0,
    v_rest: float = 0.0,
    strict: bool = False,
    detach_reset: bool = False,
    surrogate: Surrogate = ATan(2.0),
    v_init: torch.Tensor | None = None,
    time_steps: int | None = None,
    weighting: Weighting = "mean",
) -> torch.Tensor:
    """The firing rate of :func:`lif`, without storing a spike train.

    Args:
        x, ...: as in :func:`lif`.
        weighting: "mean" for ``sum_t s[t] / T``; "decay" for ``sum_t decay^(T-1-t) s[t] / sum_t decay^t`` (Xiao et al.,
            NeurIPS 2021), whose gradient includes the weights' dependence on a decay tensor.

    Derivatives of any order, `vmap` and forward mode as in :func:`lif`.

    Returns:
        The rate (...), between 0 and 1 (spikes per time step), in x's dtype and the layout of one of its time steps.

    Raises:
        As :func:`lif`. ValueError: more than 2^24 time steps of data other than float64, beyond which float32 does not count.

    Example:
        >>> SF.lif_rate(torch.tensor([[0.6], [0.6], [0.6]]), 0.5)
        tensor([0.3333])
    """
    options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    arguments = _arguments("lif_rate", x, decay, threshold, options, v_init, time_steps)
    _checks.choice("lif_rate", "weighting", weighting, WEIGHTINGS)
    _checks.countable("lif_rate", arguments[-1][-1] or x.shape[0], x.dtype)
    if _backend.is_reference():
        return _on_reference(reference.lif_rate, arguments, options, weighting=weighting)
    return _lif_rate_forward(_backend.namespace("lif_rate", x.device), *arguments, WEIGHTINGS[weighting])


def run_lif(
    x: torch.Tensor,
    decay: float | torch.Tensor,
    threshold: float,
    options: LIFOptions,
    v_init: torch.Tensor | None,
    time_steps: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`lif` with its options as one object."""
    arguments = _arguments("lif", x, decay, threshold, options, v_init, time_steps)
    if _backend.is_reference():
        return _on_reference(reference.lif, arguments, options)
    return _lif_forward(_backend.namespace("lif", x.device), *arguments)


def _arguments(op, x, decay, threshold, options, v_init, time_steps):
    """Checks the arguments and puts them into the form of the schemas (LIF_NEURON in csrc/lif.cpp)."""
    if time_steps is None:
        _checks.sequence(op, "x", x)
        step = x.shape[1:]
    else:
        _checks.floating(op, "x", x)
        time_steps = _checks.time_count(op, time_steps, "time_steps")
        step = x.shape
    decay_tensor = None
    if isinstance(decay, torch.Tensor):
        _checks.per_neuron(op, "decay", decay, x, step)
        if decay.numel() == 1 and _transforms.is_plain_eager(decay):
            _checks.decay_tensor(op, "decay", decay)
        decay, decay_tensor = 0.0, decay
    else:
        decay = _checks.decay(op, "decay", decay)
    threshold, options = checked_options(op, threshold, options)
    input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate = options
    if reset_amount is None:
        reset_amount = threshold
    _checks.fit(op, x.dtype, threshold=threshold, input_scale=input_scale, reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest)
    if v_init is not None:
        _checks.per_neuron(op, "v_init", v_init, x, step)
    kind, scale, peak = surrogate.coefficients
    numbers = (decay, threshold, input_scale, reset_amount, v_reset, v_rest, scale, peak)
    return x, decay_tensor, v_init, numbers, (RESETS[reset], int(strict), int(detach_reset), kind, time_steps or 0)


def _on_reference(function, arguments, options: LIFOptions, **others):
    x, decay_tensor, v_init, numbers, modes = arguments
    decay, threshold, input_scale, reset_amount, v_reset, v_rest, *_ = numbers
    options = options._replace(input_scale=input_scale, reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest)
    decay = decay if decay_tensor is None else decay_tensor
    return function(x, decay, threshold, v_init=v_init, time_steps=modes[-1] or None, **options._asdict(), **others)


# --- fake kernels and autograd formulas -------------------------------------------------------------------------------------

# The arguments of the forward ops are x, decay_tensor, v_init and then plain numbers (csrc/lif.cpp).
_TENSORS = 3
_RESET_NAMES, _WEIGHTING_NAMES = tuple(RESETS), tuple(WEIGHTINGS)


def _forward_fake(x, _decay, _v_init, _numbers, modes):
    x = _layout.sequence(x, modes[-1])
    return _layout.empty_sequence(x), _layout.empty_step(x, state_dtype(x.dtype))


def _rate_forward_fake(x, _decay, _v_init, _numbers, modes, _weighting):
    return _layout.empty_step(_layout.sequence(x, modes[-1]))


def _grads_fake(x, modes, need_decay, need_v_init):
    time_steps = modes[-1]
    x = _layout.sequence(x, time_steps)
    state = state_dtype(x.dtype)
    per_neuron = [_layout.empty_step(x, state) if need else x.new_empty(0, dtype=state) for need in (need_decay, need_v_init)]
    return _layout.empty_step(x) if time_steps else _layout.empty_sequence(x), *per_neuron


def _setup_context(ctx, inputs, output):
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:_TENSORS])
    ctx.options = inputs[_TENSORS:]


def _backward(backward_op, ops, ctx, *grads):
    options = ctx.options
    no_gradients = (None,) * (_TENSORS + len(options))
    if all(grad is None for grad in grads):
        return no_gradients
    x, decay, v_init = ctx.saved_tensors
    _, need_decay, need_v_init, *_ = ctx.needs_input_grad
    grad_x, grad_decay, grad_v_init = backward_op(ops, *grads, x, decay, v_init, *options, need_decay, need_v_init)
    return (
        grad_x,
        _reduce.sum_to(ops, grad_decay, decay) if need_decay else None,
        _reduce.sum_to(ops, grad_v_init, v_init) if need_v_init else None,
        *no_gradients[_TENSORS:],
    )


# --- definitions: what is differentiated once more ----------------------------------------------------------------------------


def _forward_definition(x, decay, v_init, numbers, modes):
    return reference.lif(x, **_options(decay, v_init, numbers, modes))


def _rate_definition(x, decay, v_init, numbers, modes, weighting):
    return reference.lif_rate(x, weighting=_WEIGHTING_NAMES[weighting], **_options(decay, v_init, numbers, modes))


def _options(decay, v_init, numbers, modes):
    decay_number, threshold, input_scale, reset_amount, v_reset, v_rest, scale, peak = numbers
    reset, strict, detach_reset, kind, time_steps = modes
    return dict(
        decay=decay_number if decay is None else decay, threshold=threshold, input_scale=input_scale, reset=_RESET_NAMES[reset],
        reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest, strict=bool(strict), detach_reset=bool(detach_reset),
        surrogate=from_coefficients(kind, scale, peak), v_init=v_init, time_steps=time_steps or None,
    )  # fmt: skip


def _backward_definition(grad_spikes, grad_v_last, *arguments):
    return _gradients(_forward_definition, (grad_spikes, grad_v_last), *arguments)


def _rate_backward_definition(grad_rate, x, decay, v_init, numbers, modes, weighting, *needs):
    def rate(*arguments):
        return (_rate_definition(*arguments, weighting),)

    return _gradients(rate, (grad_rate,), x, decay, v_init, numbers, modes, *needs)


def _gradients(function, grads, x, decay, v_init, numbers, modes, need_decay, need_v_init):
    """What the backward ops return: gradients of x, and for each neuron those of its own decay and v_init, as far as needed."""
    state, step = state_dtype(x.dtype), x.shape if modes[-1] else x.shape[1:]
    parameters = [
        parameter.to(state).expand(step) if needed else parameter
        for parameter, needed in ((decay, need_decay), (v_init, need_v_init))
    ]  # fmt: skip
    chosen = [i for i, needed in enumerate((need_decay, need_v_init)) if needed]

    def of_chosen(x, *values):
        given = list(parameters)
        for i, value in zip(chosen, values):
            given[i] = value
        return function(x, *given, numbers, modes)

    grad_x, *others = _derivatives.pull_back(of_chosen, (x, *(parameters[i] for i in chosen)), grads)
    per_neuron = [x.new_empty(0, dtype=state)] * 2
    for i, grad in zip(chosen, others):
        per_neuron[i] = grad
    return grad_x, *per_neuron


# --- vmap -------------------------------------------------------------------------------------------------------------------


def _neuron_layouts(modes):
    return STEP if modes[-1] else SEQUENCE, PARAMETER, PARAMETER, None, None


def _gradient_layouts(modes, need_decay, need_v_init):
    return STEP if modes[-1] else SEQUENCE, STEP if need_decay else None, STEP if need_v_init else None


def _backward_layouts(_gs, _gv, _x, _d, _v, _n, modes, *needs):
    return (SEQUENCE, STEP, *_neuron_layouts(modes), None, None), _gradient_layouts(modes, *needs)


def _rate_backward_layouts(_g, _x, _d, _v, _n, modes, _w, *needs):
    return (STEP, *_neuron_layouts(modes), None, None, None), _gradient_layouts(modes, *needs)


_lif_forward = _register.op(
    "lif_forward", _forward_fake, partial(_backward, lambda *args: _lif_backward(*args)), _setup_context,
    vmap=_vmap.as_neurons(lambda *args: (_neuron_layouts(args[4]), (SEQUENCE, STEP))),
)  # fmt: skip
_lif_backward = _register.op(
    "lif_backward", lambda _gs, _gv, x, _d, _v, _n, modes, *needs: _grads_fake(x, modes, *needs),
    definition=_backward_definition, vmap=_vmap.as_neurons(_backward_layouts),
)  # fmt: skip
_lif_rate_forward = _register.op(
    "lif_rate_forward", _rate_forward_fake, partial(_backward, lambda *args: _lif_rate_backward(*args)), _setup_context,
    vmap=_vmap.as_neurons(lambda *args: ((*_neuron_layouts(args[4]), None), (STEP,))),
)  # fmt: skip
_lif_rate_backward = _register.op(
    "lif_rate_backward", lambda _g, x, _d, _v, _n, modes, _w, *needs: _grads_fake(x, modes, *needs),
    definition=_rate_backward_definition, vmap=_vmap.as_neurons(_rate_backward_layouts),
)  # fmt: skip
