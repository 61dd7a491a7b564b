"""Runs functions so that their outputs come to lie in memory that was filled with NaN just before."""

import torch

_ATTEMPTS = 200
_CUDA_BLOCK = 512  # bytes: what torch's allocator rounds up to
_CUDA_SMALL_SEGMENT = 2 << 20  # bytes that it takes at once for small tensors


def run_over_nan(function):
    """Outputs (a tuple of tensors) of ``function()``, allocated where the allocator last held NaN.

    torch's own poisoning (torch.utils.deterministic) does not reach memory that is allocated by native libraries. So buffers as
    large as the outputs are filled with 0xFF bytes (NaN in every floating format, -1 in the integers) and freed, and the
    addresses of the outputs tell whether the allocator handed out that memory again. If not, another try is made.
    """
    sizes = [_block_of(output.untyped_storage().nbytes(), output.device) for output in function()]
    kept = []
    for attempt in range(_ATTEMPTS):
        # The function may need memory for other things first, and the allocator may know of many other free blocks.
        copies = 3 * 2 ** (6 * attempt // _ATTEMPTS)
        buffers = [torch.full((size,), 0xFF, dtype=torch.uint8, device=device) for size, device in copies * sizes]
        if any(b.is_cuda for b in buffers):
            buffers += _all_free_blocks()
        poisoned = _merged([(b.data_ptr(), b.data_ptr() + len(b)) for b in buffers if len(b)])
        while buffers:
            buffers.pop()
        outputs = function()
        if all(_inside(output, poisoned) for output in outputs):
            return outputs
        kept = [*kept[-8:], outputs]  # moves the allocator on
    raise AssertionError("the allocator never reused the poisoned memory: nothing was tested")


def _block_of(size, device):
    """The whole block that the allocator gives for `size` bytes, lest unpoisoned gaps lie between neighbours."""
    return (-(-size // _CUDA_BLOCK) * _CUDA_BLOCK if device.type == "cuda" else size), device


def _all_free_blocks():
    """Buffers that hold every free block in which torch's CUDA allocator would put a small tensor."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    held, size = [], _CUDA_SMALL_SEGMENT // 2
    while size >= _CUDA_BLOCK:
        before = torch.cuda.memory_reserved()
        held.append(torch.full((size,), 0xFF, dtype=torch.uint8, device="cuda"))
        if torch.cuda.memory_reserved() > before:  # no free block was so large: give the new segment back
            held.pop()
            torch.cuda.empty_cache()
            size //= 2
    return held


def _merged(ranges):
    """Neighbouring ranges joined, as the allocator joins free blocks; 64 bytes of its own may lie between."""
    merged = []
    for begin, end in sorted(ranges):
        if merged and begin - merged[-1][1] <= 128:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return merged


def _inside(output, ranges):
    storage = output.untyped_storage()
    begin, end = storage.data_ptr(), storage.data_ptr() + storage.nbytes()
    return begin == end or any(low <= begin and end <= high for low, high in ranges)
