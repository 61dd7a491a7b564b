"""Which implementation runs: the native kernels, Triton, or the reference."""

from __future__ import annotations

import torch

from spikeops import _devices, _library

CHOICES = ("auto", "native", "triton", "reference")
_choice = "auto"


def set_backend(name: str) -> None:
    """Chooses the implementation of all ops, for the whole process.

    Args:
        name: ``auto`` (native kernels; on GPUs that they cannot serve, since they were not built for them or the driver is too
            old, Triton), ``native`` (C++ on the CPU, CUDA on GPUs), ``triton``, or ``reference`` (plain PyTorch, slow: the
            definition of every op).

    Raises:
        ValueError: unknown name.
        RuntimeError: Triton can serve no device here; the message says why. That a backend cannot serve one device is
            reported when a tensor on it meets the backend; :func:`spikeops.backends` tells beforehand. Nothing ever falls back
            to the reference by itself.
    """
    global _choice
    if name not in CHOICES:
        raise ValueError(f"set_backend: expected one of {', '.join(CHOICES)}, got {name!r}.")
    if name == "triton" and (reason := _devices.no_triton()):
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
        return torch.ops.spikeops if _choice != "triton" else _interpreter(op)
    if kind == "cuda":
        if _choice != "triton":
            if not _devices.cuda_reason(device.index):
                return torch.ops.spikeops
        elif not _devices.triton_reason(device.index):
            return torch.ops.spikeops_triton
        return _in_place_of_native(op, device)
    if kind == "meta":
        return torch.ops.spikeops
    raise RuntimeError(
        f"{op}: there are kernels for cpu and cuda tensors, got one on {device}. Move it there, or run the slow reference: "
        "spikeops.set_backend('reference')."
    )


def _interpreter(op: str):
    if _library.triton_interpreted():
        return torch.ops.spikeops_triton
    raise RuntimeError(
        f"{op}: the triton backend serves GPUs, got a tensor on the CPU: move it to a GPU, choose spikeops.set_backend('auto'), or "
        "start Python with TRITON_INTERPRET=1 for Triton's interpreter."
    )


def _in_place_of_native(op: str, device: torch.device):
    """Triton's namespace for a GPU that the chosen kernels cannot serve, under "auto"; else an error that says what to do."""
    native, triton = _devices.cuda_reason(device.index), _devices.triton_reason(device.index)
    if _choice == "auto" and not triton:
        return torch.ops.spikeops_triton
    what, reason = {
        "auto": ("kernels", f"native: {native}; triton: {triton}"),
        "native": ("native kernels", native),
        "triton": ("triton kernels", triton),
    }[_choice]
    others = "the slow reference by spikeops.set_backend('reference')"
    if _choice == "native" and not triton:
        others = f"Triton's kernels by spikeops.set_backend('triton'), or {others}"
    raise RuntimeError(f"{op}: no {what} for CUDA tensors on {device}: {reason}; or run {others}.")
