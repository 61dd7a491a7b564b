"""The same numbers in different memory layouts."""

import torch


def contiguous(values):
    return values.contiguous()


def channels_last(values):
    """(T, B, C, ...) with the channels innermost in memory; without a batch axis, the first axis after time."""
    axis = min(2 if values.dim() > 3 else 1, values.dim() - 1)
    return values.movedim(axis, -1).contiguous().movedim(-1, axis)


def time_last(values):
    return values.movedim(0, -1).contiguous().movedim(-1, 0)


def sliced(values):
    """Every other neuron of a wider tensor; the neurons between hold NaN (1 for integers)."""
    return _every_other(values, values.dim() - 1)


def time_sliced(values):
    """Every other time step of a longer tensor."""
    return _every_other(values, 0)


def offset(values):
    """Dense, but neither at the start of its storage nor aligned to more than one element."""
    storage = values.new_zeros(values.numel() + 3)
    storage[3:] = values.flatten()
    return storage[3:].view(values.shape)


def repeated(values):
    """One time step seen T times: stride 0 along time, as of a static image. Changes the values."""
    return values[:1].expand(values.shape)


def expanded(values):
    """One number everywhere, stride 0, as the upstream gradient of .sum() is. Changes the values."""
    return values.new_full((), 0.75).expand(values.shape)


def _every_other(values, axis):
    shape = list(values.shape)
    shape[axis] *= 2
    wide = values.new_full(shape, float("nan") if values.is_floating_point() else 1)
    part = wide[(slice(None),) * axis + (slice(None, None, 2),)]
    part.copy_(values)
    return part


# Walked in place, and kept by the outputs.
TIME_MAJOR = {"contiguous": contiguous, "channels_last": channels_last, "offset": offset}
# Copied first; outputs are contiguous.
COPIED = {"time_last": time_last, "sliced": sliced, "time_sliced": time_sliced, "repeated": repeated}
INPUTS = {**TIME_MAJOR, **COPIED}
UPSTREAM = {**INPUTS, "expanded": expanded}


def lay_out(values, layout, device="cpu"):
    values = values.to(device)
    return UPSTREAM[layout](values) if values.dim() else values


def is_kept(x, layout):
    """True if the outputs must have x's strides; the layouts that are copied can coincide with dense ones at T = 1 and N <= 1."""
    return layout in TIME_MAJOR and x.numel() > 0


def same_memory_order(a, b):
    """Equal strides, axes of size 1 aside."""
    return a.shape == b.shape and all(s == r for s, r, n in zip(a.stride(), b.stride(), a.shape) if n != 1)


def dense_copy(tensor):
    """What the reference gets: contiguous, on the CPU."""
    return tensor.detach().cpu().contiguous() if isinstance(tensor, torch.Tensor) else tensor
