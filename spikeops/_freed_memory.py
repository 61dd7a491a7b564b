"""How this process gets memory from the operating system."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h>
_NEVER = -1


def keep_freed_memory() -> bool:
    """Has the C library keep freed memory for the tensors to come, instead of giving it back to the operating system.

    Every training step allocates the same large tensors again. By default glibc asks the system for each tensor of some megabytes (at
    first of 128 kB, at most of 32 MB) anew and gives it back when it is freed, and gives back free memory at the end of its heap; the
    first touch of every page then costs more than the kernels that fill it. With this call (``mallopt``: ``M_MMAP_MAX`` 0,
    ``M_TRIM_THRESHOLD`` off) freed memory stays with the process and is used again, which then holds on to its peak.

    It is for programs, not for libraries, since it holds for the whole process and cannot be taken back: call it once, before the first
    training step. `spiketrain` does. It concerns tensors on the CPU alone, those of all libraries: PyTorch keeps the memory of GPUs
    by itself.

    Returns:
        Whether it could be done. False, and nothing has changed, where the C library is not glibc (musl, macOS, Windows) or another
        allocator stands in for its own (``LD_PRELOAD`` of jemalloc, tcmalloc or mimalloc, which have settings of their own).

    Example:
        >>> if not spikeops.keep_freed_memory():
        ...     print("every large tensor is new memory")  # doctest: +SKIP
    """
    try:
        process, libc = ctypes.CDLL(None), ctypes.CDLL("libc.so.6")
        if _address(process.malloc) != _address(libc.malloc):
            return False
        mallopt = libc.mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return mallopt(_M_MMAP_MAX, 0) == 1 and mallopt(_M_TRIM_THRESHOLD, _NEVER) == 1


def _address(function) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value
