"""LIF neurons that keep bits for their backward pass: what :func:`spikeops.functional.lif` runs with ``save="bits"``.

    lif_bits_forward(x, v_init, numbers, modes) -> spikes, v_last, bits
    lif_bits_backward(gradients of spikes and v_last, bits, numbers, modes, need_v_init) -> gradient of x, of v_init
"""

from __future__ import annotations

from typing import Literal

import torch

from spikeops import _layout, reference
from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _reduce, _register, _vmap
from spikeops.functional._general_lif import NONE, GeneralOptions
from spikeops.functional._lif_options import RESETS, LIFOptions
from spikeops.functional._remembered import remembered
from spikeops.functional._vmap import PARAMETER, SEQUENCE, STEP

Save = Literal["input", "bits"]
SAVES = ("input", "bits")


def checked_save(
    op: str, save: Save, has_decay_tensor: bool, threshold, options: LIFOptions, general: GeneralOptions, trace: str | bool
) -> None:  # fmt: skip
    """Options that were looked at already.

    Raises:
        ValueError: what bits do not suffice for; the message says what would."""
    _checks.choice(op, "save", save, SAVES)
    if save == "input":
        return
    keeps, otherwise = f'{op}: save="bits" keeps of each time step what a surrogate of two values needs, no membrane potential', 'or save="input".'
    if not options.surrogate.has_two_values:
        raise ValueError(
            f'{op}: save="bits" is for a surrogate of two values, Rectangle, Window, Heaviside, Step or StraightThrough, got '
            f"{options.surrogate!r}. Use one of these, {otherwise}"
        )
    given = {"threshold": threshold, "input_scale": options.input_scale, "reset_amount": options.reset_amount}
    is_tensor = {"decay": has_decay_tensor} | {name: isinstance(value, torch.Tensor) for name, value in given.items()}
    for name, found in is_tensor.items():
        if found:
            raise ValueError(f"{keeps} for the gradient of a tensor {name}. Give {name} as a number, {otherwise}")
    if options.reset == "to" and not options.detach_reset:
        raise ValueError(f'{keeps} for the gradient of a reset to a value. Use detach_reset=True, another reset, {otherwise}')
    if trace:
        raise ValueError(f"{keeps} for the gradient of a trace. Use return_trace=False, {otherwise}")
    for name, value in general._asdict().items():
        if value != getattr(NONE, name):
            raise ValueError(f"{keeps} for {name}={value!r}. Use {name}={getattr(NONE, name)!r}, {otherwise}")


def run(op, ops, x, time_steps, decay, threshold, options: LIFOptions, v_init):
    """Arguments as lif.py has checked them."""
    numbers, modes = _lists(op, x.dtype, decay, threshold, *options, time_steps)
    spikes, v_last, _ = _lif_bits_forward(ops, x, v_init, numbers, modes)
    return spikes, v_last


@remembered
def _lists(
    op, data, decay, threshold, input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate, time_steps
):  # fmt: skip
    """The numbers and modes of LIF_BITS_OPTIONS in csrc/lif_bits.cpp."""
    reset_amount = threshold if reset_amount is None else reset_amount
    kind, scale, peak, center, a, b, _, in_thresholds = surrogate.all_coefficients
    _checks.fit(
        op, data, threshold=threshold, input_scale=input_scale, reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest,
    )  # fmt: skip
    _checks.fit(op, data, **{"the center of the surrogate": center})
    numbers = (decay, threshold, input_scale, reset_amount, v_reset, v_rest, scale, peak, center, a, b)
    return numbers, (RESETS[reset], int(strict), int(detach_reset), kind, in_thresholds, time_steps)


def _bytes(reset, T):
    return T * reference.lif_bits_per_step(reset) // 8 + 1


def _fake(x, v_init, numbers, modes):
    x = _layout.sequence(x, modes[-1])
    bits = _layout.empty_sequence(x, _bytes(modes[0], x.shape[0]), torch.uint8)
    return _layout.empty_sequence(x), _layout.empty_step(x, state_dtype(x.dtype)), bits


def _backward_fake(grad_spikes, grad_v_last, bits, numbers, modes, need_v_init):
    bits, state = _layout.time_major(bits), state_dtype(grad_spikes.dtype)
    grad_x = _layout.empty_step(bits, grad_spikes.dtype) if modes[-1] else _layout.empty_sequence(bits, grad_spikes.shape[0], grad_spikes.dtype)
    return grad_x, _layout.empty_step(bits, state) if need_v_init else bits.new_empty(0, dtype=state)


def _setup_context(ctx, inputs, output):
    x, v_init, ctx.numbers, ctx.modes = inputs
    spikes, _, bits = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(bits)
    ctx.shape, ctx.dtype = spikes.shape, spikes.dtype
    # Not the tensor: no more than bits are kept.
    ctx.v_init = None if v_init is None else (v_init.shape, v_init.dtype)


def _backward(ops, ctx, grad_spikes, grad_v_last, _):
    if grad_spikes is None and grad_v_last is None:
        return None, None, None, None
    (bits,) = ctx.saved_tensors
    need_v_init = ctx.needs_input_grad[1]
    if grad_spikes is None:
        grad_spikes = grad_v_last.new_zeros((), dtype=ctx.dtype).expand(ctx.shape)
    grad_x, grad_v_init = _lif_bits_backward(ops, grad_spikes, grad_v_last, bits, ctx.numbers, ctx.modes, need_v_init)
    return grad_x, _reduce.sum_to_shape(ops, grad_v_init, *ctx.v_init) if need_v_init else None, None, None


def _layout_of_x(modes):
    return STEP if modes[-1] else SEQUENCE


_lif_bits_backward = _register.op(
    "lif_bits_backward", _backward_fake, definition=reference.lif_bits_backward,
    vmap=_vmap.as_neurons(lambda grad_spikes, grad_v_last, bits, numbers, modes, need_v_init: (
        (SEQUENCE, STEP, SEQUENCE, None, None, None), (_layout_of_x(modes), STEP if need_v_init else None)
    )),
)  # fmt: skip
_lif_bits_forward = _register.op(
    "lif_bits_forward", _fake, _backward, _setup_context, function="lif",
    vmap=_vmap.as_neurons(lambda x, v_init, numbers, modes: (
        (_layout_of_x(modes), PARAMETER, None, None), (SEQUENCE, STEP, SEQUENCE)
    )),
)  # fmt: skip
