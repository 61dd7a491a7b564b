"""LIF neurons that keep less than their input for their backward pass: what :func:`spikeops.functional.lif` runs with ``save="bits"``, or
with ``save="bfloat16"``, which keeps rounded distances from the threshold.

    lif_<bits|distances>_forward(x, v_init, numbers, modes) -> spikes, v_last, kept
    lif_<bits|distances>_backward(gradients of spikes and v_last, kept, numbers, modes, need_v_init) -> gradient of x, of v_init
"""

from __future__ import annotations

from typing import Literal

import torch

from spikeops import _layout, reference
from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _reduce, _register, _vmap
from spikeops.functional._general_lif import NONE, GeneralOptions
from spikeops.functional._lif_options import RESETS, LIFOptions, is_tensor
from spikeops.functional._remembered import remembered
from spikeops.functional._vmap import PARAMETER, SEQUENCE, STEP

Save = Literal["input", "bits", "bfloat16"]
SAVES = ("input", "bits", "bfloat16")

_KEEPS = {
    "bits": "keeps of each time step what a surrogate of two values needs, no membrane potential",
    "bfloat16": "keeps of each time step a rounded distance from the threshold, not the membrane potential",
}


def checked_save(
    op: str, save: Save, has_decay_tensor: bool, threshold, options: LIFOptions, general: GeneralOptions, trace: str | bool
) -> None:  # fmt: skip
    """Options that were looked at already.

    Raises:
        ValueError: what is kept does not suffice for; the message says what would."""
    _checks.choice(op, "save", save, SAVES)
    if save == "input":
        return
    _check_surrogate(op, save, options.surrogate)
    keeps, otherwise = f'{op}: save="{save}" {_KEEPS[save]}', 'or save="input".'
    given = {"threshold": threshold, "input_scale": options.input_scale, "reset_amount": options.reset_amount}
    found = {"decay": has_decay_tensor} | {name: is_tensor(value) for name, value in given.items()}
    for name, is_one in found.items():
        if is_one:
            raise ValueError(f"{keeps} for the gradient of a tensor {name}. Give {name} as a number, {otherwise}")
    if save == "bits" and options.reset == "to" and not options.detach_reset:
        raise ValueError(f'{keeps} for the gradient of a reset to a value. Use detach_reset=True, another reset, {otherwise}')
    if trace:
        raise ValueError(f"{keeps} for the gradient of a trace. Use return_trace=False, {otherwise}")
    for name, value in general._asdict().items():
        if value != getattr(NONE, name):
            raise ValueError(f"{keeps} for {name}={value!r}. Use {name}={getattr(NONE, name)!r}, {otherwise}")


def _check_surrogate(op, save, surrogate):
    if save == "bits" and not surrogate.has_two_values:
        rounded = 'save="bfloat16", which rounds its derivative, ' if surrogate.bears_rounding else ""
        raise ValueError(
            f'{op}: save="bits" is for a surrogate of two values, Rectangle, Window, Heaviside, Step or StraightThrough, got '
            f'{surrogate!r}. Use one of these, {rounded}or save="input".'
        )
    if save == "bfloat16" and surrogate.has_two_values:
        raise ValueError(
            f'{op}: save="bfloat16" rounds distances from the threshold, of which some would cross the borders of {surrogate!r}. Use '
            'save="bits", which keeps less, and exactly what is needed, or save="input".'
        )
    if save == "bfloat16" and not surrogate.bears_rounding:
        raise ValueError(
            f'{op}: save="bfloat16" rounds distances from the threshold, the farther away the more, where {surrogate!r} does not fade. '
            'Use another surrogate, or save="input".'
        )


def is_of_use(save: Save, x: torch.Tensor) -> bool:
    """Whether it keeps less than x: two bytes of a step are what 16-bit x takes itself."""
    return save == "bits" or (save == "bfloat16" and x.dtype in (torch.float32, torch.float64))


def run(op, ops, x, time_steps, decay, threshold, options: LIFOptions, v_init, save: Save):
    """Arguments as lif.py has checked them."""
    numbers, modes = _lists(op, x.dtype, decay, threshold, *options, time_steps)
    if ops is None:
        return reference.lif(x, decay, threshold, **options._asdict(), save=save, v_init=v_init, time_steps=time_steps or None)
    spikes, v_last, _ = _FORWARD[save](ops, x, v_init, numbers, modes)
    return spikes, v_last


@remembered
def _lists(
    op, data, decay, threshold, input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate, time_steps
):  # fmt: skip
    """The numbers and modes of LIF_KEPT_OPTIONS in csrc/lif_kept.cpp."""
    reset_amount = threshold if reset_amount is None else reset_amount
    kind, *of_surrogate, in_thresholds = surrogate.all_coefficients
    _checks.fit(
        op, data, threshold=threshold, input_scale=input_scale, reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest,
    )  # fmt: skip
    _checks.fit(op, data, **{"the center of the surrogate": of_surrogate[2]})
    numbers = (decay, threshold, input_scale, reset_amount, v_reset, v_rest, *of_surrogate)
    return numbers, (RESETS[reset], int(strict), int(detach_reset), kind, in_thresholds, time_steps)


def _backward_fake(grad_spikes, grad_v_last, kept, numbers, modes, need_v_init):
    kept, state = _layout.time_major(kept), state_dtype(grad_spikes.dtype)
    grad_x = _layout.empty_step(kept, grad_spikes.dtype) if modes[-1] else _layout.empty_sequence(kept, grad_spikes.shape[0], grad_spikes.dtype)
    return grad_x, _layout.empty_step(kept, state) if need_v_init else None


def _layout_of_x(modes):
    return STEP if modes[-1] else SEQUENCE


def _register_both(name, definition, dtype, rows):
    """The forward op; `rows(reset, T)` of this dtype are kept."""

    def fake(x, v_init, numbers, modes):
        x = _layout.sequence(x, modes[-1])
        kept = _layout.empty_sequence(x, rows(modes[0], x.shape[0]), dtype)
        return _layout.empty_sequence(x), _layout.empty_step(x, state_dtype(x.dtype)), kept

    def setup_context(ctx, inputs, output):
        x, v_init, ctx.numbers, ctx.modes = inputs
        spikes, _, kept = output
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(kept)
        ctx.shape, ctx.dtype = spikes.shape, spikes.dtype
        # Not the tensor: no more is kept.
        ctx.v_init = None if v_init is None else (v_init.shape, v_init.dtype)

    def backward(ops, ctx, grad_spikes, grad_v_last, grad_kept):
        if grad_spikes is None and grad_v_last is None and grad_kept is None:
            return None, None, None, None
        (kept,) = ctx.saved_tensors
        need_v_init = ctx.needs_input_grad[1]
        if grad_spikes is None:
            grad_spikes = kept.new_zeros((), dtype=ctx.dtype).expand(ctx.shape)
        arguments = grad_spikes, grad_v_last, kept, ctx.numbers, ctx.modes, need_v_init
        # Of distances second derivatives ask, which come from the definition.
        grad_x, grad_v_init = backward_call(ops, *arguments) if grad_kept is None else definition(*arguments, grad_kept)
        return grad_x, _reduce.sum_to_shape(ops, grad_v_init, *ctx.v_init) if need_v_init else None, None, None

    backward_call = _register.op(
        f"{name}_backward", _backward_fake, definition=definition,
        vmap=_vmap.as_neurons(lambda grad_spikes, grad_v_last, kept, numbers, modes, need_v_init: (
            (SEQUENCE, STEP, SEQUENCE, None, None, None), (_layout_of_x(modes), STEP if need_v_init else None)
        )),
    )  # fmt: skip
    return _register.op(
        f"{name}_forward", fake, backward, setup_context, function="lif",
        vmap=_vmap.as_neurons(lambda x, v_init, numbers, modes: (
            (_layout_of_x(modes), PARAMETER, None, None), (SEQUENCE, STEP, SEQUENCE)
        )),
    )  # fmt: skip


_FORWARD = {
    "bits": _register_both(
        "lif_bits", reference.lif_bits_backward, torch.uint8, lambda reset, T: T * reference.lif_bits_per_step(reset) // 8 + 1
    ),
    "bfloat16": _register_both("lif_distances", reference.lif_distances_backward, torch.bfloat16, lambda reset, T: T),
}
