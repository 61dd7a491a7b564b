"""Errors over memory, by the name that torch gives them.

The libraries can throw nothing but a RuntimeError with a text (csrc/memory.h). On the CPU torch's own allocator does the same; on a
device it is `torch.OutOfMemoryError`, by which programs know that a smaller batch may do."""

from __future__ import annotations

import torch


def as_torch_names_it(error: RuntimeError) -> RuntimeError:
    """The error, or a `torch.OutOfMemoryError` with its text where it says that a device's memory ran out."""
    text = str(error)
    if type(error) is RuntimeError and "out of memory" in text and "can't allocate memory for a tensor" in text:
        return torch.OutOfMemoryError(text)
    return error
