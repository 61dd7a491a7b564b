"""The backward passes of LIF neurons that keep less than their input (kernels/math/lif_kept.h): bits, or rounded distances."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference._forward_mode import call, forward_mode
from spikeops.reference._spike import ResetTo
from spikeops.surrogate._base import HEIGHT, STEP
from spikeops.surrogate._of_numbers import from_coefficients

__all__ = ["lif_bits_backward", "lif_bits_per_step", "lif_distances_backward"]

RESET_TO, NO_RESET = 1, 2  # spikeops/functional/_lif_options.py


def lif_bits_per_step(reset: int) -> int:
    return 2 if reset == RESET_TO else 1


def _unpack(bits, T, width):
    """(T, ..., width) bits of each step, and the one behind them."""
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device).view(8, *[1] * (bits.dim() - 1))
    flat = ((bits.unsqueeze(1) >> shifts) & 1).flatten(0, 1) != 0
    return flat[: T * width].unflatten(0, (T, width)), flat[T * width]


def lif_bits_backward(grad_spikes, grad_v_last, bits, numbers, modes, need_v_init):
    """Arguments as in csrc/lif_kept.cpp. Linear in the gradients."""
    threshold, peak, below = numbers[1], numbers[7], numbers[9]
    reset, _, _, kind, in_thresholds, _ = modes
    state, T = state_dtype(grad_spikes.dtype), grad_spikes.shape[0]
    of_steps, is_nan = _unpack(bits, T, lif_bits_per_step(reset))
    # Rounded to the precision of the state before they are divided, as tensors are.
    values = (peak, below if kind == STEP else 0.0, threshold if in_thresholds & HEIGHT else 1.0)
    inner, outer, unit = (torch.full((), n, dtype=torch.float64, device=bits.device).to(state) for n in values)
    grad_v = torch.zeros_like(grad_spikes[0], dtype=state) if grad_v_last is None else grad_v_last.to(state)
    grad_v = torch.where(is_nan, torch.full_like(grad_v, torch.nan), grad_v)
    slopes = torch.where(of_steps[:, 0], inner / unit, outer / unit)
    spikes = of_steps[:, 1].to(state) if reset == RESET_TO else None
    return _back(grad_spikes, grad_v, slopes, spikes, None, None, numbers, modes, need_v_init)


@forward_mode
class SpikeAt(torch.autograd.Function):
    """The spike that a distance tells of by its sign, with the surrogate derivative there."""

    generate_vmap_rule = True

    @staticmethod
    def forward(distance, threshold, surrogate):
        return (~distance.signbit()).to(distance.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        distance, ctx.threshold, ctx.surrogate = inputs
        ctx.save_for_backward(distance)
        ctx.save_for_forward(distance)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.surrogate.at_distance(ctx.saved_tensors[0], ctx.threshold), None, None

    @staticmethod
    def tangent(ctx, tangent, *_):
        return tangent * ctx.surrogate.at_distance(ctx.saved_tensors[0], ctx.threshold)


def lif_distances_backward(grad_spikes, grad_v_last, distances, numbers, modes, need_v_init, grad_distances=None):
    """Arguments as in csrc/lif_kept.cpp; grad_distances is what second derivatives ask of the forward pass besides."""
    _, threshold, _, _, _, _, *of_surrogate = numbers
    detach_reset, kind, in_thresholds = modes[2:5]
    state = state_dtype(grad_spikes.dtype)
    grad_v = torch.zeros_like(grad_spikes[0], dtype=state) if grad_v_last is None else grad_v_last.to(state)
    d, surrogate = distances.to(state), from_coefficients(kind, *of_surrogate, in_thresholds)
    spikes = call(SpikeAt, d.detach() if detach_reset else d, threshold, surrogate)
    slopes = surrogate.at_distance(d, threshold)
    return _back(grad_spikes, grad_v, slopes, spikes, threshold + d, grad_distances, numbers, modes, need_v_init)


def _back(grad_spikes, grad_v, slopes, spikes, potentials, grad_potentials, numbers, modes, need_v_init):
    """The way back from the surrogate derivatives of all steps."""
    decay, _, input_scale, reset_amount, v_reset, *_ = numbers
    reset, _, detach_reset, *_, time_steps = modes
    state = state_dtype(grad_spikes.dtype)
    grads = []
    for t in reversed(range(grad_spikes.shape[0])):
        kept, through = grad_v, grad_spikes[t].to(state)
        if reset == RESET_TO:
            kept = call(ResetTo, grad_v, spikes[t], 0.0)
            if not detach_reset:
                through = through + grad_v * (v_reset - potentials[t])
        elif reset != NO_RESET and not detach_reset:
            through = through - grad_v * reset_amount
        grad_u = kept + through * slopes[t]
        if grad_potentials is not None:
            grad_u = grad_u + grad_potentials[t].to(state)
        grads.append(grad_u * input_scale)
        grad_v = grad_u * decay
    stacked = torch.stack(grads[::-1])
    grad_x = (stacked.sum(0) if time_steps else stacked).to(grad_spikes.dtype)
    return grad_x, grad_v if need_v_init else None
