"""Finds and loads the native libraries, and says what was loaded and why the rest was not."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
from pathlib import Path

import torch

_LIB = Path(__file__).parent / "lib"
_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")


def _path(name: str) -> Path:
    return _LIB / f"lib{name}{_SUFFIX}"


def _load(name: str) -> dict:
    """Loads a library and returns what it says of its own build."""
    path = _path(name)
    torch.ops.load_library(str(path))
    describe = getattr(ctypes.CDLL(str(path)), f"{name}_build_info")
    describe.restype = ctypes.c_char_p
    return json.loads(describe().decode())


def _load_cpu() -> dict:
    try:
        return _load("spikeops_cpu")
    except Exception as error:
        raise ImportError(
            f"spikeops: the native library {_path('spikeops_cpu')} could not be loaded: {error}\n"
            f"Found: torch {torch.__version__}, Python {sys.version.split()[0]}. Likely causes: the package was not built "
            "(run `pip install .` in a checkout; importing from the source folder does not work), torch is older than 2.10, "
            "or the wheel is for another platform."
        ) from error


def _load_cuda() -> tuple[dict | None, str]:
    """(build info or None, reason for None)."""
    if not _path("spikeops_cuda").exists():
        return None, (
            "this spikeops was built without CUDA. Install a wheel with CUDA, or build with a CUDA compiler: "
            "SPIKEOPS_CUDA=on pip install ."
        )
    if torch.version.cuda is None:
        return None, f"torch {torch.__version__} was built without CUDA. Install a CUDA build of torch."
    try:
        return _load("spikeops_cuda"), ""
    except Exception as error:
        return None, f"libspikeops_cuda could not be loaded into torch {torch.__version__}: {error}"


def triton_interpreted() -> bool:
    """True if Triton kernels run in its interpreter, on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def triton_reason() -> str:
    """Why Triton kernels cannot be used; empty where they can."""
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed: pip install triton"
    if triton_interpreted() or torch.cuda.is_available():
        return ""
    return "no GPU was found, and TRITON_INTERPRET=1 is not set"


_cpu = _load_cpu()
_cuda, _cuda_reason = _load_cuda()


def cuda_reason() -> str:
    """Why the native CUDA kernels cannot be used; empty where they can."""
    return _cuda_reason


def backends() -> dict[str, dict]:
    """What can be used here, and why the rest cannot.

    Returns:
        A dictionary with the keys ``cpu``, ``cuda`` and ``triton``. Each value has ``available`` (bool), ``reason`` (why not;
        empty where available) and, where it applies, ``version``, ``compiler``, ``flags``, ``isa`` (the vector instructions in
        use), ``threads``, ``architectures`` and ``devices``.

    >>> spikeops.backends()["cpu"]["available"]
    True
    """
    from spikeops import __version__

    cpu = {"available": True, "reason": "", "version": __version__, **_cpu, "threads": torch.get_num_threads()}

    no_device = "" if torch.cuda.is_available() else "torch finds no CUDA device"
    cuda = {"available": not (_cuda_reason or no_device), "reason": _cuda_reason or no_device, "version": __version__}
    if _cuda is not None:
        cuda |= _cuda
    cuda["devices"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]

    no_triton = triton_reason()
    triton = {"available": not no_triton, "reason": no_triton, "interpreted": triton_interpreted()}
    if importlib.util.find_spec("triton") is not None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            triton["version"] = version("triton")
        except PackageNotFoundError:  # triton under another distribution name
            triton["version"] = "unknown"
    return {"cpu": cpu, "cuda": cuda, "triton": triton}
