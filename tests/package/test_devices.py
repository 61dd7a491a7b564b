"""What is promised for each GPU, on GPUs that are made up: no test here needs one."""

import ctypes
import dataclasses

import pytest
import torch

import spikeops
from spikeops import _backend, _devices, _library

NATIVE, TRITON = torch.ops.spikeops, torch.ops.spikeops_triton
PASCAL, TURING, AMPERE, ADA, HOPPER, BLACKWELL = (6, 1), (7, 5), (8, 0), (8, 9), (9, 0), (12, 0)


@dataclasses.dataclass
class Machine:
    """A machine with GPUs of these compute capabilities, and with libspikeops_cuda."""

    gpus: list = dataclasses.field(default_factory=list)
    driver: int = 13000
    runtime: int = 13000
    architectures: str = "75 80 90"
    ptx: str = "90"
    triton_missing: str = ""
    questions: int = 0  # about the driver

    def versions(self):
        self.questions += 1
        return self.driver, self.runtime


@pytest.fixture
def machine(monkeypatch):
    """``machine(GPU, ..., driver=..., ...)`` puts it in the place of this one."""

    def setup(*gpus, **options):
        made = Machine(list(gpus), **options)
        for name, value in {
            "is_available": lambda: len(made.gpus) > 0,
            "device_count": lambda: len(made.gpus),
            "current_device": lambda: 0,
            "get_device_capability": lambda index: made.gpus[index],
            "get_device_name": lambda index: f"GPU-{index}",
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        for name, value in {
            "_cuda_reason": "",
            "_cuda_library": object(),
            "_cuda": {"architectures": made.architectures, "ptx": made.ptx},
            "cuda_versions": made.versions,
            "triton_interpreted": lambda: False,
        }.items():
            monkeypatch.setattr(_library, name, value)
        monkeypatch.setattr(_devices, "_triton_missing", lambda: made.triton_missing)
        monkeypatch.setattr(torch.version, "cuda", "13.0")  # a torch without CUDA would not have loaded the library
        for cache in ("_cuda_reasons", "_triton_reasons"):
            monkeypatch.setattr(_devices, cache, {})
        return made

    with spikeops.backend("auto"):
        yield setup


def serve(index=0, op="lif"):
    return _backend.namespace(op, torch.device("cuda", index))


def refusal(index=0):
    with pytest.raises(RuntimeError) as caught:
        serve(index)
    message = str(caught.value)
    assert message.startswith("lif: ") and message.endswith("spikeops.set_backend('reference').")
    assert message.count(". ") == 0, f"one sentence: {message}"
    return message


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((5, 0), ""), (PASCAL, ""), ((7, 0), ""),
        (TURING, "sm_75"),
        (AMPERE, "sm_80"), ((8, 6), "sm_80"), (ADA, "sm_80"),
        ((8, 7), ""),  # Jetson: runs its own machine code only
        (HOPPER, "sm_90"),
        ((10, 0), "PTX of sm_90"), ((11, 0), "PTX of sm_90"), (BLACKWELL, "PTX of sm_90"), ((12, 1), "PTX of sm_90"),
    ],
)  # fmt: skip
def test_code_for_a_gpu(capability, expected):
    assert _devices.code_for(capability, ["75", "80", "90"], "90") == expected


@pytest.mark.parametrize(
    ("architectures", "ptx", "runs"),
    [
        ("80", "80", {AMPERE: "sm_80", ADA: "sm_80", (8, 7): "PTX of sm_80", HOPPER: "PTX of sm_80", TURING: ""}),
        ("80 86", "86", {AMPERE: "sm_80", (8, 6): "sm_86", ADA: "sm_86", HOPPER: "PTX of sm_86"}),
        ("87", "87", {AMPERE: "", (8, 7): "sm_87", ADA: "PTX of sm_87"}),
        ("90a", "90a", {HOPPER: "sm_90a", BLACKWELL: "", ADA: ""}),
        ("100f", "100f", {(10, 0): "sm_100f", (10, 3): "sm_100f", BLACKWELL: "", HOPPER: ""}),
        ("90 120", "120", {HOPPER: "sm_90", (10, 0): "", BLACKWELL: "sm_120", (12, 1): "sm_120"}),
    ],
)
def test_code_of_other_builds(architectures, ptx, runs):
    assert {gpu: _devices.code_for(gpu, architectures.split(), ptx) for gpu in runs} == runs


def test_a_device_of_each_kind(machine):
    machine(HOPPER, PASCAL, ADA, BLACKWELL)
    cuda, triton = spikeops.backends()["cuda"], spikeops.backends()["triton"]
    assert cuda["available"] is True and cuda["reason"] == ""
    assert cuda["devices"] == ["GPU-0", "GPU-1", "GPU-2", "GPU-3"]
    assert cuda["capabilities"] == ["9.0", "6.1", "8.9", "12.0"]
    assert cuda["code"] == ["sm_90", "", "sm_80", "PTX of sm_90"]
    assert (cuda["driver"], cuda["runtime"]) == ("13.0", "13.0")
    assert [bool(reason) for reason in cuda["reasons"]] == [False, True, False, False]
    for part in ("GPU-1", "compute capability 6.1", "sm_75, sm_80, sm_90", "SPIKEOPS_CUDA_ARCHS=61", "CUDA 12 toolkit"):
        assert part in cuda["reasons"][1]
    assert triton["available"] is True and [bool(reason) for reason in triton["reasons"]] == [False, True, False, False]


def test_no_device_can_be_served(machine):
    machine(PASCAL, PASCAL)
    for part in ("cuda", "triton"):
        entry = spikeops.backends()[part]
        assert entry["available"] is False
        assert all(reason in entry["reason"] for reason in entry["reasons"])


def test_no_device(machine, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    machine(driver=13020)
    assert "no CUDA device, though there is an NVIDIA driver, for CUDA 13.2" in spikeops.backends()["cuda"]["reason"]
    machine(driver=12040)
    expected = "torch finds no CUDA device: the driver supports CUDA 12.4, torch was built with CUDA 13.0: update the driver"
    assert spikeops.backends()["cuda"]["reason"] == expected
    machine(driver=0)
    assert spikeops.backends()["cuda"]["reason"] == "torch finds no CUDA device: there is no NVIDIA driver"
    assert spikeops.backends()["cuda"]["devices"] == spikeops.backends()["cuda"]["reasons"] == []


@pytest.mark.parametrize(
    ("driver", "runtime", "gpu", "wanted"),
    [
        (13000, 13000, HOPPER, ""), (13020, 13000, HOPPER, ""), (14000, 13000, HOPPER, ""),
        (12080, 13000, HOPPER, "supports CUDA 12.8, but this spikeops was built with CUDA 13.0, which needs driver 580 or newer"),
        (11040, 12060, HOPPER, "which needs driver 525 or newer: update the driver, or build spikeops with a CUDA 11 toolkit"),
        (13000, 14020, HOPPER, "which needs a newer driver"),
        # Minor versions: machine code runs, but PTX is compiled by a driver of its CUDA version or a later one only.
        (12020, 12080, HOPPER, ""), (12080, 12080, BLACKWELL, ""), (12090, 12080, BLACKWELL, ""),
        (12020, 12080, BLACKWELL, "the PTX in this spikeops, of CUDA 12.8, and the NVIDIA driver can do so up to CUDA 12.2: update"),
        (0, 13000, HOPPER, "no NVIDIA driver was found"),
    ],
)  # fmt: skip
def test_driver(machine, driver, runtime, gpu, wanted):
    machine(gpu, driver=driver, runtime=runtime)
    (reason,) = spikeops.backends()["cuda"]["reasons"]
    assert (wanted in reason) if wanted else reason == ""
    spikeops.set_backend("native")
    if wanted:
        assert reason in refusal()
    else:
        assert serve() is NATIVE


def test_auto_takes_triton_where_native_cannot_serve(machine):
    machine(HOPPER, (7, 0))
    assert serve(0) is NATIVE
    assert serve(1) is TRITON
    machine(HOPPER, driver=12080)
    assert serve(0) is TRITON


def test_auto_without_either(machine):
    machine(HOPPER, PASCAL, triton_missing="the package triton is not installed: pip install triton")
    assert serve(0) is NATIVE
    message = refusal(1)
    assert "lif: no kernels for CUDA tensors on cuda:1: native: GPU-1 (compute capability 6.1)" in message
    assert "triton: the package triton is not installed" in message


def test_native_is_never_served_by_another(machine):
    machine(HOPPER, (7, 0), PASCAL)
    spikeops.set_backend("native")
    assert serve(0) is NATIVE
    assert "spikeops.set_backend('triton')" in refusal(1)
    assert "set_backend('triton')" not in refusal(2), "Triton cannot serve it either"


def test_triton_serves_no_gpu_that_is_too_old(machine):
    machine(PASCAL, HOPPER)
    spikeops.set_backend("triton")  # it can serve one of them
    assert serve(1) is TRITON
    message = refusal(0)
    assert "no triton kernels for CUDA tensors on cuda:0: GPU-0 (compute capability 6.1) is too old for Triton, which needs 7.0" in message
    with spikeops.backend("auto"):
        assert serve(1) is NATIVE


def test_set_backend_refuses_triton_where_it_serves_nothing(machine):
    machine(PASCAL)
    with pytest.raises(RuntimeError, match="set_backend: the triton backend cannot be used: GPU-0 .* is too old for Triton"):
        spikeops.set_backend("triton")
    assert _backend.chosen() == "auto"


def test_triton_needs_gpus_or_its_interpreter(machine, monkeypatch):
    machine(HOPPER)
    cpu = torch.device("cpu")
    with spikeops.backend("triton"):
        with pytest.raises(RuntimeError, match=r"^lif: the triton backend serves GPUs, got a tensor on the CPU: .*TRITON_INTERPRET"):
            _backend.namespace("lif", cpu)
        monkeypatch.setattr(_library, "triton_interpreted", lambda: True)
        assert _backend.namespace("lif", cpu) is TRITON
    machine(PASCAL)
    monkeypatch.setattr(_library, "triton_interpreted", lambda: True)
    with spikeops.backend("triton"):
        assert serve(0) is TRITON, "the interpreter asks nothing of a GPU"


def test_rocm_has_no_compute_capabilities(machine, monkeypatch):
    machine((6, 0))
    monkeypatch.setattr(torch.version, "hip", "6.4", raising=False)
    monkeypatch.setattr(_library, "_cuda_reason", "torch was built without CUDA: install a CUDA build of torch")
    assert serve() is TRITON


def test_a_device_is_asked_once(machine):
    made = machine(HOPPER, PASCAL)
    for _ in range(3):
        assert serve(0) is NATIVE
        with spikeops.backend("native"):
            refusal(1)
        with spikeops.backend("triton"):
            assert serve(0) is TRITON
    assert made.questions == 2


def test_a_device_that_cannot_be_reached(machine, monkeypatch):
    """Reported by name, and asked again: it may come back."""
    machine(HOPPER)

    def lost(index):
        raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later.")

    with monkeypatch.context() as patch, spikeops.backend("native"):
        patch.setattr(torch.cuda, "get_device_capability", lost)
        patch.setattr(torch.cuda, "get_device_name", lost)
        assert "torch cannot reach cuda:0: CUDA error: unspecified launch failure;" in refusal()
        cuda = spikeops.backends()["cuda"]
        assert cuda["available"] is False and cuda["reasons"][0] in cuda["reason"]
    assert serve() is NATIVE


def test_fake_cuda_tensors_need_no_gpu(machine):
    """Shapes can be worked out for a GPU on a machine without one."""
    machine()
    assert serve() is NATIVE


def test_devices_that_only_the_driver_counts(machine, monkeypatch):
    """torch.cuda.device_count asks the driver, also where it is too old for torch to use any device."""
    machine(driver=12040)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cuda, triton = (spikeops.backends()[part] for part in ("cuda", "triton"))
    assert cuda["devices"] == cuda["reasons"] == triton["reasons"] == []
    assert "no CUDA device" in cuda["reason"] and "no GPU" in triton["reason"]


def test_current_device(machine):
    machine(PASCAL, HOPPER)
    with spikeops.backend("native"), pytest.raises(RuntimeError, match=r"GPU-0 \(compute capability 6.1\)"):
        _backend.namespace("lif", torch.device("cuda"))


def test_compilers_do_not_look_into_the_reasons(monkeypatch):
    def untraceable(find, known, index):
        return ctypes.string_at(b"reason") and ""

    monkeypatch.setattr(_library, "_cuda_reason", "")
    monkeypatch.setattr(_devices, "_of_device", untraceable)
    monkeypatch.setattr(_devices, "_cuda_reasons", {})

    @torch.compile(fullgraph=True, backend="eager")
    def function(x):
        return x + 1 if _backend.namespace("lif", torch.device("cuda", 0)) is torch.ops.spikeops else x

    with spikeops.backend("native"):
        assert function(torch.zeros(1)).item() == 1
