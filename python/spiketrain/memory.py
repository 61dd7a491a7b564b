"""How this process gets memory from the operating system."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h>
_NEVER = -1


def keep_freed_memory() -> bool:
    """Has the C library keep freed memory for the tensors to come, instead of giving it back to the operating system.

    Every training step allocates the same large tensors again. By default glibc asks for each of them anew, and the first
    touch of every page costs more than the kernels that fill it. The process then holds on to its peak memory. A setting
    for whole processes, so for programs, not for libraries.

    Returns:
        Whether the C library could do it (glibc).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return mallopt(_M_MMAP_MAX, 0) == 1 and mallopt(_M_TRIM_THRESHOLD, _NEVER) == 1
