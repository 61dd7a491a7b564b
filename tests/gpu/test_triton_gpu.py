"""What Triton's kernels alone have to show on a device."""

import pytest
import torch
from gpu_tests.calls import CALLS
from op_tests.compare import assert_identical
from op_tests.triton_kernels import all_kernels

import spikeops
import spikeops.functional as SF
from spikeops.surrogate import Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle


@pytest.fixture(autouse=True)
def backend():
    """In place of this folder's own: Triton only, whether or not the native CUDA library is there."""
    if reason := spikeops.backends()["triton"]["reason"]:
        pytest.skip(f"no triton kernels for GPUs: {reason}")
    with spikeops.backend("triton"):
        yield


def compiled_kernels():
    """Number of compiled variants of every kernel in memory, by name, but for the one that holds all neurons of a trial: it is
    compiled for each power of two of them."""
    kernels = {name: kernel for name, kernel in all_kernels().items() if not name.startswith("spikeops_convex")}
    device = torch.cuda.current_device()
    return {name: len(kernel.device_caches[device][0]) for name, kernel in kernels.items()}


def run_everything(T, N):
    for call in CALLS:
        run, tensors = call.on("cuda", T, N)
        run(*tensors)


def test_no_kernel_is_compiled_for_another_size():
    """One variant for numbers of neurons divisible by 16 and one for the others; T never enters."""
    run_everything(3, 256)
    run_everything(3, 100)
    before = compiled_kernels()
    assert before and all(before.values()), "a kernel that no call runs"
    for T in range(1, 21):
        run_everything(T, 256)
        run_everything(T, 100)
    for N in (2, 129, 1024, 5000, 100_000):
        run_everything(4, N)
    assert compiled_kernels() == before


# ATan is in every other test.
@pytest.mark.parametrize(
    "surrogate",
    [Sigmoid(4.0), Exponential(1.0), FastSigmoid(25.0), Triangle(1.0), Rectangle(1.0), Gaussian(0.5)],
    ids=lambda s: s.name,
)
@pytest.mark.parametrize("reset", ["subtract", "to", "none"])
def test_every_mode_as_on_the_cpu(surrogate, reset):
    """Every mode is a program of its own. Bit for bit, the gradients too."""
    draw = torch.Generator().manual_seed(1)
    x, gradient = torch.randn(12, 300, generator=draw), torch.randn(12, 300, generator=draw)
    for options in ({}, {"strict": True, "detach_reset": True}):
        results = []
        for device, name in (("cpu", "native"), ("cuda", "triton")):
            with spikeops.backend(name):
                leaf = x.to(device).requires_grad_()
                spikes, v_last = SF.lif(leaf, 0.8, reset=reset, v_reset=-0.2, surrogate=surrogate, **options)
                grads = torch.autograd.grad([spikes, v_last], leaf, [gradient.to(device), torch.ones_like(v_last)])
            results.append((spikes.detach(), v_last.detach(), *grads))
        for i, (expected, actual) in enumerate(zip(*results, strict=True)):
            assert_identical(actual, expected, f"result {i}")


def test_channels_last_is_walked_in_place():
    x = torch.randn(6, 4, 8, 5, 3, device="cuda").permute(0, 1, 4, 2, 3)
    spikes, v_last = SF.lif(x)
    assert spikes.stride() == x.stride() and v_last.stride() == x.stride()[1:]
    with spikeops.backend("native"):
        assert_identical(spikes, SF.lif(x.cpu())[0].contiguous(), "spikes")


def test_auto_takes_triton_where_there_is_no_native_library(monkeypatch):
    monkeypatch.setattr(spikeops._library, "_cuda_reason", "not built")
    with spikeops.backend("auto"):
        assert spikeops._backend.namespace("lif", torch.device("cuda")) is torch.ops.spikeops_triton
        assert SF.lif(torch.full((3, 5), 2.0, device="cuda"))[0].sum() > 0
