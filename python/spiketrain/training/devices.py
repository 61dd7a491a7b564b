"""Where a run computes: what the field `trainer.device` names, and how the header of a run calls it."""

from __future__ import annotations

import torch

import spikeops
from spiketrain import launcher
from spiketrain.errors import UserError

AUTO = "auto"


def pick(name: str) -> torch.device:
    """The device that `trainer.device` names, which becomes the current one if it is a GPU; with several processes, auto and cuda mean
    one GPU each.

    Raises:
        UserError: no such device.
    """
    device = named(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def named(name: str) -> torch.device:
    """The same, and the current device stays what it is."""
    if name == AUTO:
        name = usual()
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"trainer.device: expected auto, cpu, cuda or cuda:N, got {name}")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError("trainer.device: this PyTorch sees no CUDA device; use --trainer.device cpu")
        device = torch.device("cuda", launcher.local_rank() if device.index is None else device.index)
        if device.index >= torch.cuda.device_count():
            raise UserError(f"trainer.device: there are {torch.cuda.device_count()} CUDA devices, got {device}")
    return device


def usual() -> str:
    """What auto means in this process: cuda where PyTorch sees a GPU that our kernels serve, native ones or Triton's, else cpu."""
    return "cuda" if torch.cuda.is_available() and _kernels(launcher.local_rank()) else "cpu"


def described(device: torch.device) -> str:
    """What computes, for people: ``cpu, 2 threads`` or ``cuda:0, NVIDIA H100 80GB HBM3, native kernels``."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}, {_kernels(device.index) or 'no'} kernels"
    threads = torch.get_num_threads()
    text = f"{device}, {threads} thread{'s' * (threads > 1)}"
    index = launcher.local_rank()
    if torch.cuda.is_available() and index < torch.cuda.device_count() and not _kernels(index):
        text += f"; no kernels for {torch.cuda.get_device_name(index)}: 'python -m spikeops' says why"
    return text


def _kernels(index: int) -> str:
    """Which kernels serve a GPU: native or Triton, "" for none, or where there is no such GPU."""
    found = spikeops.backends()
    for name, kernels in (("cuda", "native"), ("triton", "Triton")):
        if found[name]["reasons"][index : index + 1] == [""]:
            return kernels
    return ""
