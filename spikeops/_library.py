"""Finds and loads the native libraries, and says why one was not loaded."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

import torch

_LIB = Path(__file__).parent / "lib"
_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")


def _path(name: str) -> Path:
    return _LIB / f"lib{name}{_SUFFIX}"


def _load(name: str) -> tuple[ctypes.CDLL, dict]:
    """Loads a library; returns it, and what it says of its own build."""
    path = _path(name)
    torch.ops.load_library(str(path))
    library = ctypes.CDLL(str(path))
    describe = getattr(library, f"{name}_build_info")
    describe.restype = ctypes.c_char_p
    return library, json.loads(describe().decode())


def _load_cpu() -> dict:
    try:
        return _load("spikeops_cpu")[1]
    except Exception as error:
        raise ImportError(
            f"spikeops: the native library {_path('spikeops_cpu')} could not be loaded: {error}\n"
            f"Found: torch {torch.__version__}, Python {sys.version.split()[0]}. Likely causes: the package was not built "
            "(run `pip install .` in a checkout; importing from the source folder does not work), torch is older than 2.10, "
            "or the wheel is for another platform."
        ) from error


def _load_cuda() -> tuple[ctypes.CDLL | None, dict, str]:
    """(library, build info, reason why there is none)."""
    if not _path("spikeops_cuda").exists():
        return None, {}, (
            "this spikeops was built without CUDA: install a wheel with CUDA, or build one where there is a CUDA compiler "
            "(SPIKEOPS_CUDA=on pip install .)"
        )
    if torch.version.cuda is None:
        return None, {}, f"torch {torch.__version__} was built without CUDA: install a CUDA build of torch"
    try:
        return *_load("spikeops_cuda"), ""
    except Exception as error:
        return None, {}, f"libspikeops_cuda could not be loaded into torch {torch.__version__}: {error}"


# Kernels are registered and Triton's own are made accordingly, once: a later change of the variable has no effect.
_triton_interpreted = os.environ.get("TRITON_INTERPRET", "0") == "1"


def triton_interpreted() -> bool:
    """True if Triton kernels run in its interpreter, on CPU tensors."""
    return _triton_interpreted


_cpu = _load_cpu()
_cuda_library, _cuda, _cuda_reason = _load_cuda()


def cuda_versions() -> tuple[int, int]:
    """(CUDA version of the driver, 0 without one; of the runtime in libspikeops_cuda), as 1000 * major + 10 * minor."""
    driver, runtime = ctypes.c_int(), ctypes.c_int()
    _cuda_library.spikeops_cuda_versions(ctypes.byref(driver), ctypes.byref(runtime))
    return driver.value, runtime.value
