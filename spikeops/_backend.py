"""Which implementation runs: the native kernels, Triton, or the reference."""

from __future__ import annotations

import torch

from spikeops import _library

CHOICES = ("auto", "native", "triton", "reference")
_choice = "auto"


def set_backend(name: str) -> None:
    """Chooses the implementation of all ops, for the whole process.

    Args:
        name: ``auto`` (native kernels; on GPUs for which they were not built, Triton), ``native`` (C++ on the CPU, CUDA on
            GPUs), ``triton``, or ``reference`` (plain PyTorch, slow: the definition of every op).

    Raises:
        ValueError: unknown name.
        RuntimeError: Triton cannot be used here; the message says why. A missing native CUDA library is reported when a CUDA
            tensor meets it. Nothing ever falls back to the reference by itself.
    """
    global _choice
    if name not in CHOICES:
        raise ValueError(f"set_backend: expected one of {', '.join(CHOICES)}, got {name!r}.")
    if name == "triton" and (reason := _library.triton_reason()):
        raise RuntimeError(f"set_backend: the triton backend cannot be used: {reason}.")
    _choice = name


class backend:
    """Context manager: ``with spikeops.backend("reference"): ...`` sets the backend and restores the one before."""

    def __init__(self, name: str):
        self._name = name

    def __enter__(self):
        self._before = _choice
        set_backend(self._name)

    def __exit__(self, *_):
        set_backend(self._before)


def chosen() -> str:
    """The name of the implementation that :func:`set_backend` or :class:`backend` chose."""
    return _choice


def is_reference() -> bool:
    return _choice == "reference"


def namespace(op: str, device: torch.device):
    """The ``torch.ops`` namespace that serves this device, or an error that says how to get one."""
    kind = device.type
    if kind == "cpu":
        return torch.ops.spikeops_triton if _choice == "triton" else torch.ops.spikeops
    if kind == "cuda":
        if _choice == "triton":
            return torch.ops.spikeops_triton
        reason = _library.cuda_reason()
        if not reason:
            return torch.ops.spikeops
        if _choice == "auto" and not _library.triton_reason():
            return torch.ops.spikeops_triton
        raise RuntimeError(
            f"{op}: no {_choice} kernels for CUDA tensors: {reason} Or run the slow reference: spikeops.set_backend('reference')."
        )
    if kind == "meta":
        return torch.ops.spikeops
    raise RuntimeError(
        f"{op}: there are kernels for cpu and cuda tensors, got one on {device}. Move it there, or run the slow reference: "
        "spikeops.set_backend('reference')."
    )
