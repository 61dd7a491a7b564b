"""Multi-step recurrent spiking neurons."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from spikeops import _backend, reference
from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _derivatives, _provenance, _reduce, _register, _vmap
from spikeops.functional._lif_options import RESET_NAMES, RESETS, LIFOptions, Reset, checked_decay, checked_options, checked_states
from spikeops.functional._other_words import RECURRENT, explain_other_words
from spikeops.functional._remembered import remembered
from spikeops.functional._vmap import PARAMETER, SEQUENCE, STEP
from spikeops.functional.cuba_lif import (
    ORDER_NAMES,
    ORDERS,
    TIMING_NAMES,
    TIMINGS,
    CubaOptions,
    CubaTiming,
    CurrentOrder,
    checked_cuba,
    number_or_tensor,
)
from spikeops.surrogate import ATan, Surrogate
from spikeops.surrogate._of_numbers import from_coefficients


class RecurrentState(NamedTuple):
    """Initial values of the neurons' state; None stands for 0."""

    v: torch.Tensor | None = None
    i: torch.Tensor | None = None
    a: torch.Tensor | None = None
    s: torch.Tensor | None = None


class Adaptation(NamedTuple):
    """How the threshold adapts."""

    decay: float | torch.Tensor = 0.9
    beta: float = 0.0


@explain_other_words(RECURRENT)
def recurrent_lif(
    x: torch.Tensor,
    weight: torch.Tensor,
    decay: float | torch.Tensor = 0.5,
    threshold: float | torch.Tensor = 1.0,
    *,
    bias: torch.Tensor | None = None,
    current_decay: float | torch.Tensor = 0.0,
    order: CurrentOrder = "decay_input_membrane",
    current_scale: float | torch.Tensor = 1.0,
    adaptation_decay: float | torch.Tensor = 0.9,
    beta: float = 0.0,
    input_scale: float = 1.0,
    reset: Reset = "subtract",
    reset_amount: float | None = None,
    v_reset: float = 0.0,
    v_rest: float = 0.0,
    reset_timing: CubaTiming = "now",
    strict: bool = False,
    detach_reset: bool = False,
    surrogate: Surrogate = ATan(2.0),
    v_init: torch.Tensor | None = None,
    i_init: torch.Tensor | None = None,
    a_init: torch.Tensor | None = None,
    s_init: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Layers of recurrent spiking neurons over all time steps in one kernel, with a surrogate gradient.

    The spikes of a layer come back as its input one time step later, through weights. ``t = 0 .. T-1``::

        total[t] = x[t] + bias + weight @ s[t-1]        (one to one: weight * s[t-1])
        i[t], u[t] = as in cuba_lif, from total[t]
        theta[t] = threshold + beta * a[t-1]
        s[t] = 1 if u[t] >= theta[t] else 0             (strict: u[t] > theta[t])
        v[t] = u[t] - reset_amount * s[t]               reset "subtract"
             = v_reset if s[t] else u[t]                reset "to"
             = u[t]                                     reset "none"
        a[t] = adaptation_decay * a[t-1] + s[t]

    By default, without a synapse and an adaptation, these are the neurons of :func:`lif`; ``current_decay`` makes them those of
    :func:`cuba_lif`, in any ``order``, and ``beta`` those of :func:`alif`: the recurrent network of Bellec et al. (NeurIPS 2018), LSNN.
    A late reset, as in :func:`cuba_lif`, is for s[t-1].

    The weights of the neurons that fired are added up in the order of the neurons, behind the bias, so that float32 spikes are the
    same on all backends. The gradient is that of the unrolled loop with ``d s / d u`` replaced by ``surrogate``, through the weights,
    the adaptation, and the reset too unless ``detach_reset``. x and the spikes are kept for the backward pass, which for some layers at a
    time, on a GPU for all of them, works with four more numbers for each neuron and time step.

    Args:
        x: input current (T, ..., N), of layers of N neurons each; float32, float64, float16 or bfloat16. T >= 1. Its memory is used as
            it is if contiguous.
        weight: (N, N), to each neuron (row) from each (column), as that of `torch.nn.Linear`; or (N,), from each neuron to itself.
            Gets a gradient, as does bias. In the precision of the state, into which other types are converted.
        decay: factor by which the membrane potential decays towards v_rest in one time step. A number, or a tensor that broadcasts to
            ``x.shape[1:]`` and then gets a gradient (summed in a fixed order).
        threshold: that of a neuron that has long been silent; a number or a tensor, as decay.
        bias: (N,), added to the input of every step.
        current_decay, order, current_scale: of the synapse, as in :func:`cuba_lif`. 0: the membrane reads the input itself.
        adaptation_decay, beta: of the threshold's adaptation, as in :func:`alif`. beta 0: none.
        reset_amount: subtracted by reset "subtract"; by default the threshold that was reached, with its gradient.
        input_scale: factor on total[t].
        reset, v_reset, v_rest, strict, detach_reset, surrogate: as in :func:`lif`.
        reset_timing: as in :func:`cuba_lif`.
        v_init, i_init, a_init, s_init: membrane potential, current, adaptation and spikes before the first step, broadcastable to
            ``x.shape[1:]``; they get gradients. 0 by default.

    Returns:
        ``(spikes, v_last, i_last, a_last)``: spikes (T, ..., N), 0 or 1, in x's dtype; v_last, i_last and a_last (..., N), membrane
        potential, current and adaptation after the last step, in float32 for 16-bit x. With them, and ``s_init=spikes[-1]``, a sequence
        goes on. All contiguous.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device or value. RuntimeError: no kernel for the device.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
        >>> ring = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # each excites the other
        >>> SF.recurrent_lif(x, ring)[0]
        tensor([[1., 0.],
                [0., 1.],
                [1., 0.]])
    """
    options = (input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    return run_recurrent_lif(
        x, weight, bias, decay, threshold, current_decay, (order, current_scale, reset_timing),
        Adaptation(adaptation_decay, beta), options, RecurrentState(v_init, i_init, a_init, s_init),
    )  # fmt: skip


def run_recurrent_lif(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    decay: float | torch.Tensor,
    threshold: float | torch.Tensor,
    current_decay: float | torch.Tensor,
    cuba: tuple[Any, ...],
    adaptation: Adaptation,
    options: tuple[Any, ...],
    initial: RecurrentState,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """:func:`recurrent_lif` with its options as tuples and named tuples."""
    op = "recurrent_lif"
    _checks.sequence(op, "x", x)
    if x.dim() < 2:
        raise ValueError(f"{op}: expected x to have shape (T, ..., N), time steps first and neurons last, got {tuple(x.shape)}.")
    _weights(op, x, weight, bias)
    decay, decay_tensor = checked_decay(op, "decay", decay, x, 0)
    current_decay, current_decay_tensor = checked_decay(op, "current_decay", current_decay, x, 0)
    adaptation_decay, adaptation_decay_tensor = checked_decay(op, "adaptation_decay", adaptation.decay, x, 0)
    order, current_scale, reset_timing = cuba
    current_scale, current_scale_tensor = number_or_tensor(op, "current_scale", current_scale, x, 0)
    threshold, threshold_tensor = number_or_tensor(op, "threshold", threshold, x, 0)
    numbers, modes = _lists(
        x.dtype, decay, threshold, current_decay, order, current_scale, reset_timing, adaptation_decay, adaptation.beta, *options
    )
    checked_states(op, x, 0, **{f"{name}_init": value for name, value in initial._asdict().items()})
    arguments = (x, weight, bias, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, adaptation_decay_tensor,
                 *initial, numbers, modes)  # fmt: skip
    ops = _backend.serving(op, x)
    if ops is None:
        return _provenance.mark_first(_definition(*arguments, surrogate=options[-1]))
    return _provenance.mark_first(_recurrent_lif_forward(ops, *arguments))


@remembered
def _lists(
    data, decay, threshold, current_decay, order, current_scale, reset_timing, adaptation_decay, beta, input_scale, reset, reset_amount,
    v_reset, v_rest, strict, detach_reset, surrogate,
):  # fmt: skip
    """The numbers and modes of RECURRENT_NEURON in csrc/recurrent.cpp."""
    op = "recurrent_lif"
    decay, current_decay = _checks.decay(op, "decay", decay), _checks.decay(op, "current_decay", current_decay)
    adaptation_decay, beta = _checks.decay(op, "adaptation_decay", adaptation_decay), _checks.number(op, "beta", beta)
    order, current_scale, reset_timing = checked_cuba(op, CubaOptions(order, current_scale, reset_timing))
    options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    threshold, options = checked_options(op, threshold, options)
    input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate = options
    subtracted = threshold if reset_amount is None else reset_amount
    _checks.fit(op, data, current_scale=current_scale, threshold=threshold, beta=beta, input_scale=input_scale, reset_amount=subtracted,
                v_reset=v_reset, v_rest=v_rest)  # fmt: skip
    numbers = (decay, current_decay, current_scale, threshold, adaptation_decay, beta, input_scale, subtracted, v_reset, v_rest,
               *surrogate.coefficients[1:])  # fmt: skip
    modes = (ORDERS[order], RESETS[reset], TIMINGS[reset_timing], int(strict), int(detach_reset), int(reset_amount is None),
             surrogate.coefficients[0])  # fmt: skip
    return numbers, modes


def _weights(op: str, x: torch.Tensor, weight, bias) -> None:
    N = x.shape[-1]
    for name, value, shapes in (("weight", weight, [(N, N), (N,)]), ("bias", bias, [(N,)])):
        if value is None and name == "bias":
            continue
        _checks.floating(op, name, value)
        if value.device != x.device:
            raise ValueError(f"{op}: expected {name} on the device of x, {x.device}, got {value.device}. Call {name}.to(x.device) first.")
        _checks.shape(op, name, value, shapes, because=" for the neurons of x")


# The forward op: x, weight, bias, numbers of each neuron and initial states, `numbers`, `modes`. The backward op: gradients of its
# outputs, the spikes, the same again, and which of the numbers and states need a gradient, which come back after that of x.
_NUMBERS, _STATES = 5, 4
_TENSORS = 3 + _NUMBERS + _STATES


def _definition(
    x, weight, bias, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, adaptation_decay_tensor, v_init, i_init,
    a_init, s_init, numbers, modes, surrogate=None,
):  # fmt: skip
    decay, current_decay, current_scale, threshold, adaptation_decay, beta, input_scale, amount, v_reset, v_rest, scale, peak = numbers
    order, reset, reset_timing, strict, detach_reset, takes_threshold, kind = modes
    return reference.recurrent_lif(
        x, weight, decay if decay_tensor is None else decay_tensor, threshold if threshold_tensor is None else threshold_tensor, bias=bias,
        current_decay=current_decay if current_decay_tensor is None else current_decay_tensor, order=ORDER_NAMES[order],
        current_scale=current_scale if current_scale_tensor is None else current_scale_tensor,
        adaptation_decay=adaptation_decay if adaptation_decay_tensor is None else adaptation_decay_tensor, beta=beta,
        input_scale=input_scale, reset=RESET_NAMES[reset], reset_amount=None if takes_threshold else amount, v_reset=v_reset,
        v_rest=v_rest, reset_timing=TIMING_NAMES[reset_timing], strict=bool(strict), detach_reset=bool(detach_reset),
        surrogate=surrogate or from_coefficients(kind, scale, peak), v_init=v_init, i_init=i_init, a_init=a_init, s_init=s_init,
    )  # fmt: skip


def _fake(x, *others):
    return x.new_empty(x.shape), *(x.new_empty(x.shape[1:], dtype=state_dtype(x.dtype)) for _ in range(3))


def _backward_fake(*args):
    x, needs = args[5], args[-1]
    state = state_dtype(x.dtype)
    return x.new_empty(x.shape), *(x.new_empty(x.shape[1:], dtype=state) if need else None for need in needs)


def _backward_definition(*args):
    grads, (x, weight, bias, *given), (numbers, modes, needs) = args[:4], args[5 : 5 + _TENSORS], args[5 + _TENSORS :]
    state = state_dtype(x.dtype)
    chosen = [place for place, need in enumerate(needs) if need]
    wide = [value.to(state).expand(x.shape[1:]) if need else value for value, need in zip(given, needs)]

    def of_chosen(x, *values):
        everything = list(wide)
        for place, value in zip(chosen, values):
            everything[place] = value
        return _definition(x, weight, bias, *everything, numbers, modes)

    grad_x, *found = _derivatives.pull_back(of_chosen, (x, *(wide[place] for place in chosen)), grads)
    per_neuron = [None] * len(needs)
    for place, grad in zip(chosen, found):
        per_neuron[place] = grad
    return grad_x, *per_neuron


def _setup_context(ctx, inputs, output):
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:_TENSORS], _provenance.mark(output[0]))
    ctx.options = inputs[_TENSORS:]


def _backward(ops, ctx, *grads):
    if all(grad is None for grad in grads):
        return (None,) * (_TENSORS + 2)
    x, weight, bias, *given, spikes = ctx.saved_tensors
    _, of_weight, of_bias, *needs = ctx.needs_input_grad[:_TENSORS]
    grad_x, *per_neuron = _recurrent_lif_backward(ops, *grads, spikes, x, weight, bias, *given, *ctx.options, [int(need) for need in needs])
    summed = (_reduce.sum_to(ops, grad, value) if need else None for grad, value, need in zip(per_neuron, given, needs))
    total = grad_x.to(state_dtype(x.dtype)) if of_weight or of_bias else grad_x
    grad_weight = _of_weight(ops, total, spikes, given[-1], weight) if of_weight else None
    grad_bias = _reduce.sum_to(ops, total.flatten(0, -2), bias) if of_bias else None
    return grad_x, grad_weight, grad_bias, *summed, None, None


def _of_weight(ops, total, spikes, s_init, weight):
    """The gradient of the weights from that of the totals: a sum over time steps and layers."""
    pairs = [(total[1:], spikes[:-1].to(total.dtype))]
    if s_init is not None:
        pairs.append((total[:1], s_init.to(total.dtype).expand(total.shape[1:]).unsqueeze(0)))
    grad = 0.0
    for grad_total, before in pairs:
        if weight.dim() == 1:
            grad = grad + _reduce.sum_to(ops, (grad_total * before).flatten(0, -2), weight.to(total.dtype))
        else:
            grad = grad + grad_total.flatten(0, -2).T @ before.flatten(0, -2)
    return grad.to(weight.dtype)


def _rule(layouts, weights: slice):
    """Layers do not see each other, but they share the weights: a batch is more layers, unless it has weights of its own."""

    def make(call, ops):
        together, each = _vmap.as_neurons(layouts)(call, ops), _vmap.one_by_one(call, ops)

        def rule(info, in_dims, *args):
            shared = all(dim is None for dim in in_dims[weights])
            return (together if shared else each)(info, in_dims, *args)

        return rule

    return make


_INPUTS = (SEQUENCE, None, None, *(PARAMETER,) * (_NUMBERS + _STATES), None, None)
_OUTPUTS = (SEQUENCE, STEP, STEP, STEP)
_recurrent_lif_backward = _register.op(
    "recurrent_lif_backward", _backward_fake, definition=_backward_definition,
    vmap=_rule(
        lambda *args: ((*_OUTPUTS, SEQUENCE, *_INPUTS, None), (SEQUENCE, *(STEP if need else None for need in args[-1]))), slice(6, 8)
    ),
)  # fmt: skip
_recurrent_lif_forward = _register.op(
    "recurrent_lif_forward", _fake, _backward, _setup_context, vmap=_rule(lambda *args: (_INPUTS, _OUTPUTS), slice(1, 3))
)
