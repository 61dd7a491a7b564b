"""Memory layout: a tensor (T, ...) whose steps are dense, one after the other, is walked as flat memory (T, N), whatever the
order of the other dimensions (channels-last, say). Everything else is made contiguous first. csrc/common.h has the same rule."""

import torch

from spikeops._dtypes import state_dtype


def is_dense(shape, strides) -> bool:
    """True if the strides fill memory without gaps or overlap, in any order of the dimensions."""
    left = [(stride, size) for stride, size in zip(strides, shape) if size != 1]
    expected = 1
    # Not sorted: torch 2.11 compiles no sorting of sizes that vary.
    while left:
        for place, (stride, size) in enumerate(left):
            if stride == expected:
                expected *= size
                del left[place]
                break
        else:
            return False
    return True


def count(shape):
    """How many elements there are. Not `torch.Size.numel`, which makes an int of sizes that vary."""
    elements = 1
    for size in shape:
        elements = elements * size
    return elements


def is_time_major(x: torch.Tensor) -> bool:
    step = x.shape[1:]
    return x.numel() == 0 or ((x.shape[0] == 1 or x.stride(0) == count(step)) and is_dense(step, x.stride()[1:]))


def time_major(x: torch.Tensor) -> torch.Tensor:
    """x itself where its memory can be walked as (T, N), else a contiguous copy."""
    return x if is_time_major(x) else x.contiguous()


def dense(x: torch.Tensor) -> torch.Tensor:
    """The same for a tensor (...) without a time axis."""
    return x if x.numel() == 0 or is_dense(x.shape, x.stride()) else x.contiguous()


def sequence(x: torch.Tensor, time_steps: int) -> torch.Tensor:
    """x (T, ...) as `time_major`, or, given a number of time steps, x (...) repeated in time without a copy: its time axis has
    stride 0."""
    return dense(x).expand(time_steps, *x.shape) if time_steps else time_major(x)


def empty_sequence(x: torch.Tensor, T=None, dtype=None) -> torch.Tensor:
    """Uninitialised (T, ...) with x's order of dimensions. x must be time-major."""
    T = x.shape[0] if T is None else T
    return x.new_empty_strided((T, *x.shape[1:]), (count(x.shape[1:]), *x.stride()[1:]), dtype=dtype or x.dtype)


def empty_step(x: torch.Tensor, dtype=None) -> torch.Tensor:
    """Uninitialised (...), one time step of x, in x's order of dimensions."""
    return x.new_empty_strided(x.shape[1:], x.stride()[1:], dtype=dtype or x.dtype)


def like_step(value: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """value broadcast to one time step of x, laid out like it, in the precision of the state."""
    dtype = state_dtype(x.dtype)
    if value.dtype == dtype and value.shape == x.shape[1:] and value.stride() == x.stride()[1:]:
        return value
    return empty_step(x, dtype).copy_(value)


def like_sequence(value: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """value, of x's shape, laid out like `empty_sequence` of x and of its dtype."""
    if value.dtype == x.dtype and value.stride() == (count(x.shape[1:]), *x.stride()[1:]):
        return value
    return empty_sequence(x).copy_(value)
