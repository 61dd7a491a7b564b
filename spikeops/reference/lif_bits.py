"""The backward pass of LIF neurons that keep bits in the place of their input (kernels/math/lif_bits.h)."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.surrogate._base import HEIGHT, STEP

__all__ = ["lif_bits_backward", "lif_bits_per_step"]

RESET_TO, NO_RESET = 1, 2  # spikeops/functional/_lif_options.py


def lif_bits_per_step(reset: int) -> int:
    return 2 if reset == RESET_TO else 1


def _unpack(bits, T, width):
    """(T, ..., width) bits of each step, and the one behind them."""
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device).view(8, *[1] * (bits.dim() - 1))
    flat = ((bits.unsqueeze(1) >> shifts) & 1).flatten(0, 1) != 0
    return flat[: T * width].unflatten(0, (T, width)), flat[T * width]


def lif_bits_backward(grad_spikes, grad_v_last, bits, numbers, modes, need_v_init):
    """Arguments as in csrc/lif_bits.cpp. Linear in the gradients."""
    decay, threshold, input_scale, reset_amount, _, _, _, peak, _, below, _ = numbers
    reset, _, detach_reset, kind, in_thresholds, time_steps = modes
    state, T = state_dtype(grad_spikes.dtype), grad_spikes.shape[0]
    of_steps, is_nan = _unpack(bits, T, lif_bits_per_step(reset))
    # Rounded to the precision of the state before they are divided, as tensors are.
    numbers = (peak, below if kind == STEP else 0.0, threshold if in_thresholds & HEIGHT else 1.0)
    inner, outer, unit = (torch.full((), n, dtype=torch.float64, device=bits.device).to(state) for n in numbers)
    grad_v = torch.zeros_like(grad_spikes[0], dtype=state) if grad_v_last is None else grad_v_last.to(state)
    grad_v = torch.where(is_nan, torch.full_like(grad_v, torch.nan), grad_v)
    grads = []
    for t in reversed(range(T)):
        kept, through = grad_v, grad_spikes[t].to(state)
        if reset == RESET_TO:
            kept = torch.where(of_steps[t, 1], torch.zeros_like(grad_v), grad_v)
        elif reset != NO_RESET and not detach_reset:
            through = through - grad_v * reset_amount
        grad_u = kept + through * torch.where(of_steps[t, 0], inner / unit, outer / unit)
        grads.append(grad_u * input_scale)
        grad_v = grad_u * decay
    stacked = torch.stack(grads[::-1])
    grad_x = (stacked.sum(0) if time_steps else stacked).to(grad_spikes.dtype)
    return grad_x, grad_v if need_v_init else grad_v.new_empty(0)
