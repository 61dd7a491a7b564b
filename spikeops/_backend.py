"""Which implementation runs: the native kernels, Triton, or the reference.

There is one choice for the process (:func:`set_backend`), and within ``with backend(...)`` one for what runs there: the thread and,
under asyncio, the task. It is kept in a context variable. Dynamo reads one (with a guard) from torch 2.14 on, and cannot set any, so
that code that is being traced keeps its own blocks in a list, which is empty again wherever the compiled code ends; and for older
versions there is a copy of the context variable in memory of the thread, which they can read (tasks that take turns in a thread share
it: with torch before 2.14, compiled code should not wait inside such a block)."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Literal, get_args

import torch

from spikeops import _devices, _library

Backend = Literal["auto", "native", "triton", "reference"]
CHOICES = get_args(Backend)

_default: Backend = "auto"
# The choices of the blocks that we are in, the innermost last.
_blocks: ContextVar[tuple[Backend, ...]] = ContextVar("spikeops_backend", default=())
_traced: list[Backend] = []
_DYNAMO_READS_CONTEXTS = tuple(int(number) for number in torch.__version__.split(".")[:2]) >= (2, 14)


class _OfThread(threading.local):
    def __init__(self) -> None:  # in each thread; Dynamo would not notice that an instance's attribute hides the class's
        self.blocks: tuple[Backend, ...] = ()


_of_thread = _OfThread()


def set_backend(name: Backend) -> None:
    """Chooses the implementation of all ops, for the whole process; inside ``with spikeops.backend(...)`` for the rest of that block.

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
    global _default
    _check(name)
    if torch.compiler.is_dynamo_compiling() and _traced:
        _traced[-1] = name
    elif blocks := _current_blocks():
        _enter((*blocks[:-1], name))
    else:
        _default = name


class backend:
    """Context manager: ``with spikeops.backend("reference"): ...`` chooses the implementation for what runs in the block.

    Other threads and asyncio tasks keep their own choice, those that are started in the block too where they do not take its
    context along (tasks do, threads do not before Python 3.14). A backward pass runs on the backend of its forward pass, wherever
    and whenever it runs. What :mod:`torch.utils.checkpoint` computes again it computes with the choice at that time.

    Raises:
        As :func:`set_backend`.
    """

    def __init__(self, name: Backend):
        self._name = name

    def __enter__(self) -> None:
        _check(self._name)
        if torch.compiler.is_dynamo_compiling():
            _traced.append(self._name)
        else:
            _enter((*_blocks.get(), self._name))

    def __exit__(self, *_: object) -> None:
        if torch.compiler.is_dynamo_compiling():
            _traced.pop()
        else:
            _enter(_blocks.get()[:-1])


def _check(name: str) -> None:
    if name not in CHOICES:
        raise ValueError(f"set_backend: expected one of {', '.join(CHOICES)}, got {name!r}.")
    if name == "triton" and (reason := _devices.no_triton()):
        raise RuntimeError(f"set_backend: the triton backend cannot be used: {reason}.")


def _enter(blocks: tuple[Backend, ...]) -> None:
    _blocks.set(blocks)
    _of_thread.blocks = blocks


def _current_blocks() -> tuple[Backend, ...]:
    if _DYNAMO_READS_CONTEXTS or not torch.compiler.is_dynamo_compiling():
        return _blocks.get()
    return _of_thread.blocks


def chosen() -> Backend:
    """The name of the implementation that :func:`set_backend` or :class:`backend` chose."""
    if _traced and torch.compiler.is_dynamo_compiling():
        return _traced[-1]
    blocks = _blocks.get() if _DYNAMO_READS_CONTEXTS else _current_blocks()
    return blocks[-1] if blocks else _default


def is_reference() -> bool:
    return chosen() == "reference"


def serving(op: str, x: torch.Tensor):
    """The ``torch.ops`` namespace that serves a tensor, None for the reference, or an error that says how to get one."""
    choice = chosen()
    if choice == "reference":
        return None
    if x.is_cpu and choice != "triton":  # what every small step asks
        return torch.ops.spikeops
    return namespace(op, x.device)


def namespace(op: str, device: torch.device):
    """The ``torch.ops`` namespace that serves this device, or an error that says how to get one."""
    kind, choice = device.type, chosen()
    if kind == "cpu":
        return torch.ops.spikeops if choice != "triton" else _interpreter(op)
    if kind == "cuda":
        if choice != "triton":
            if not _devices.cuda_reason(device.index):
                return torch.ops.spikeops
        elif not _devices.triton_reason(device.index):
            return torch.ops.spikeops_triton
        return _in_place_of_native(op, device, choice)
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


def _in_place_of_native(op: str, device: torch.device, choice: Backend):
    """Triton's namespace for a GPU that the chosen kernels cannot serve, under "auto"; else an error that says what to do."""
    native, triton = _devices.cuda_reason(device.index), _devices.triton_reason(device.index)
    if choice == "auto" and not triton:
        return torch.ops.spikeops_triton
    what, reason = {
        "auto": ("kernels", f"native: {native}; triton: {triton}"),
        "native": ("native kernels", native),
        "triton": ("triton kernels", triton),
    }[choice]
    others = "the slow reference by spikeops.set_backend('reference')"
    if choice == "native" and not triton:
        others = f"Triton's kernels by spikeops.set_backend('triton'), or {others}"
    raise RuntimeError(f"{op}: no {what} for CUDA tensors on {device}: {reason}; or run {others}.")
