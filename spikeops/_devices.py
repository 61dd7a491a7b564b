"""Which kernels can serve which device, and why the others cannot. A reason is a clause that also says what to do."""

from __future__ import annotations

import importlib.util
import re

import torch

from spikeops import _library

# The first driver of each CUDA major version; by CUDA's minor-version compatibility it runs programs of the whole major version.
_FIRST_DRIVER = {11: 450, 12: 525, 13: 580}
# Chips of the Jetson family share no machine code with others of their major version.
_JETSON = {(5, 3), (6, 2), (7, 2), (8, 7), (10, 1), (11, 0)}
_OLDEST_FOR_TRITON = (7, 0)
# What torch raises of a device that is lost, or in a process that was forked from one that used it.
_UNREACHABLE = (RuntimeError, AssertionError)

# The reasons that were found, by device.
_cuda_reasons: dict[int, str] = {}
_triton_reasons: dict[int, str] = {}


def _architecture(name: str) -> tuple[tuple[int, int], str]:
    """The compute capability and the suffix of, for example, 90a."""
    digits, suffix = re.fullmatch(r"(\d+)([af]?)", name).groups()
    return (int(digits[:-1]), int(digits[-1])), suffix


def code_for(capability: tuple[int, int], architectures: list[str], ptx: str) -> str:
    """What a GPU runs of a library that was built for some architectures.

    Args:
        capability: the GPU's compute capability.
        architectures: of the machine code, for example ["75", "80", "90"].
        ptx: architecture of the PTX.

    Returns:
        "sm_80": machine code, of the same major version and no newer than the GPU. "PTX of sm_90": none, but PTX that is no newer
        than the GPU, which the driver compiles at first use. Empty: neither.
    """

    def runs(arch: str) -> bool:
        built, suffix = _architecture(arch)
        exactly = suffix == "a" or built in _JETSON or capability in _JETSON
        return built == capability or (not exactly and built[0] == capability[0] and built[1] <= capability[1])

    machine = [arch for arch in architectures if runs(arch)]
    if machine:
        return f"sm_{max(machine, key=_architecture)}"
    built, suffix = _architecture(ptx)
    return f"PTX of sm_{ptx}" if built <= capability and (not suffix or runs(ptx)) else ""


def _version(number: int) -> str:
    """13.0, of 13000."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver_reason(driver: int, runtime: int) -> str:
    if driver == 0:
        return "no NVIDIA driver was found: install one"
    if driver // 1000 >= runtime // 1000:
        return ""
    first = _FIRST_DRIVER.get(runtime // 1000)
    return (
        f"the NVIDIA driver supports CUDA {_version(driver)}, but this spikeops was built with CUDA {_version(runtime)}, which needs "
        f"{f'driver {first} or newer' if first else 'a newer driver'}: update the driver, or build spikeops with a CUDA "
        f"{driver // 1000} toolkit"
    )


def _name(index: int) -> str:
    major, minor = torch.cuda.get_device_capability(index)
    return f"{torch.cuda.get_device_name(index)} (compute capability {major}.{minor})"


def _code(index: int) -> str:
    return code_for(torch.cuda.get_device_capability(index), _library._cuda["architectures"].split(), _library._cuda["ptx"])


def _find_cuda_reason(index: int) -> str:
    driver, runtime = _library.cuda_versions()
    if reason := _driver_reason(driver, runtime):
        return reason
    code, (major, minor) = _code(index), torch.cuda.get_device_capability(index)
    rebuild = f"build spikeops for it (SPIKEOPS_CUDA=on SPIKEOPS_CUDA_ARCHS={major}{minor} pip install .)"
    if not code:
        built = ", ".join(f"sm_{arch}" for arch in _library._cuda["architectures"].split())
        toolkit = ", with a CUDA 12 toolkit" if (major, minor) < (7, 5) else ""
        return f"{_name(index)} can run none of the code in this spikeops, which is for {built} and what is compatible: {rebuild}{toolkit}"
    # A driver runs machine code of a later minor version, but does not compile its PTX.
    if code.startswith("PTX") and driver < runtime:
        return (
            f"{_name(index)} would have to compile the PTX in this spikeops, of CUDA {_version(runtime)}, and the NVIDIA driver can "
            f"do so up to CUDA {_version(driver)}: update the driver, or {rebuild}"
        )
    return ""


def _find_triton_reason(index: int) -> str:
    if _library.triton_interpreted():
        return ""
    # ROCm's devices are called cuda too, and their numbers mean something else.
    if torch.version.hip is None and torch.cuda.get_device_capability(index) < _OLDEST_FOR_TRITON:
        oldest = ".".join(map(str, _OLDEST_FOR_TRITON))
        return f"{_name(index)} is too old for Triton, which needs {oldest}: use a newer GPU, or the CPU"
    return ""


def _count() -> int:
    """Number of devices. ``device_count`` alone also counts those whose driver is too old for torch."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _of_device(find, known: dict[int, str], index: int | None) -> str:
    # Without devices there are no CUDA tensors but fake ones, which hold shapes only.
    if _count() == 0:
        return ""
    if index is None:
        index = torch.cuda.current_device()
    if index not in known:
        try:
            known[index] = find(index)
        except _UNREACHABLE as error:  # not kept: it may pass
            return f"torch cannot reach cuda:{index}: {str(error).strip().splitlines()[0].rstrip('.')}"
    return known[index]


def cuda_reason(index: int | None) -> str:
    """Why the native kernels cannot serve a CUDA device (None: the current one); empty where they can."""
    try:  # first what costs least, since every call of an op comes here
        return _library._cuda_reason or _cuda_reasons[index]
    except KeyError:
        return _of_device(_find_cuda_reason, _cuda_reasons, index)


def triton_reason(index: int | None) -> str:
    """Why Triton's kernels cannot serve a CUDA device (None: the current one); empty where they can."""
    try:
        return _triton_reasons[index]
    except KeyError:
        return _triton_missing() or _of_device(_find_triton_reason, _triton_reasons, index)


# As torch.compiler.assume_constant_result does, which would import the whole compiler: what is asked here is no part of a graph.
cuda_reason._dynamo_marked_constant = True
triton_reason._dynamo_marked_constant = True


def _triton_missing() -> str:
    return "" if importlib.util.find_spec("triton") else "the package triton is not installed: pip install triton"


def _everywhere(reasons: list[str]) -> str:
    """Why no device can be served; empty if one can."""
    return "" if "" in reasons else "; ".join(dict.fromkeys(reasons))


def no_triton() -> str:
    """Why Triton's kernels can be used nowhere; empty where they can serve one device at least."""
    if (reason := _triton_missing()) or _library.triton_interpreted():
        return reason
    if _count() == 0:
        return "no GPU was found, and TRITON_INTERPRET=1 is not set"
    return _everywhere([triton_reason(index) for index in range(_count())])


def _no_device() -> str:
    """Why torch finds no CUDA device, where the reason is known; empty if it finds one."""
    if _count():
        return ""
    reason = "torch finds no CUDA device"
    if _library._cuda_library is None:
        return reason
    driver, _ = _library.cuda_versions()
    if driver == 0:
        return f"{reason}: there is no NVIDIA driver"
    if driver // 1000 < int(torch.version.cuda.split(".")[0]):
        return f"{reason}: the driver supports CUDA {_version(driver)}, torch was built with CUDA {torch.version.cuda}: update the driver"
    return f"{reason}, though there is an NVIDIA driver, for CUDA {_version(driver)}: look at nvidia-smi and CUDA_VISIBLE_DEVICES"


def _ask(question, index: int):
    """What is known of a device; empty where torch cannot reach it, of which the device's reasons speak."""
    try:
        return question(index)
    except _UNREACHABLE:
        return ""


def backends() -> dict[str, dict]:
    """What can be used here, and why the rest cannot.

    Returns:
        A dictionary with the keys ``cpu``, ``cuda`` (the native kernels on GPUs) and ``triton``. Each value has ``available``
        (bool), ``reason`` (why not; empty where available) and, where it applies, ``version``, ``compiler``, ``flags``, ``isa``
        (the vector instructions in use) and ``threads``.

        ``cuda`` and ``triton`` are available if they can serve at least one device. Their lists ``devices`` (names) and
        ``reasons`` (why the backend cannot serve that device; empty where it can) have one entry for each device, in torch's
        order. A tensor on a device with a reason is refused with it, or, under the backend "auto", goes to Triton's kernels if
        they can serve it.

        ``cuda`` also says what the reasons follow from. ``architectures`` and ``ptx``: what the library holds machine code and PTX
        for. ``capabilities`` of the devices. ``code``: what each device runs of the library, "sm_80" (also a GPU of 8.6 or 8.9),
        "PTX of sm_90" (a GPU that is newer than all machine code; the driver compiles each kernel at its first use, for some
        seconds, and keeps it on disk), or "". ``runtime`` and ``driver``: CUDA versions of the runtime in the library and of the
        NVIDIA driver, whose major version may not be older.

    >>> spikeops.backends()["cpu"]["available"]
    True
    """
    from spikeops import __version__

    cpu = {"available": True, "reason": "", "version": __version__, **_library._cpu, "threads": torch.get_num_threads()}
    devices = range(_count())
    names = [_ask(torch.cuda.get_device_name, index) for index in devices]

    reasons = [cuda_reason(index) for index in devices]
    reason = _library._cuda_reason or _no_device() or _everywhere(reasons)
    cuda = {"available": not reason, "reason": reason, "version": __version__, **_library._cuda, "devices": names, "reasons": reasons}
    if _library._cuda_library is not None:
        driver, runtime = _library.cuda_versions()
        cuda["runtime"], cuda["driver"] = _version(runtime), _version(driver) if driver else ""
        cuda["capabilities"] = [".".join(map(str, _ask(torch.cuda.get_device_capability, index))) for index in devices]
        cuda["code"] = [_ask(_code, index) for index in devices]

    reason = no_triton()
    triton = {"available": not reason, "reason": reason, "interpreted": _library.triton_interpreted(), "devices": names,
              "reasons": [triton_reason(index) for index in devices]}  # fmt: skip
    if not _triton_missing():
        from importlib.metadata import PackageNotFoundError, version

        try:
            triton["version"] = version("triton")
        except PackageNotFoundError:  # triton under another distribution name
            triton["version"] = "unknown"
    return {"cpu": cpu, "cuda": cuda, "triton": triton}
