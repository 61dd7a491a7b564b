"""What only Triton's kernels have to show on a device: what they compile, and that they need no native library."""

import pytest
import torch
from gpu_tests.calls import CALLS
from op_tests.compare import assert_close, assert_identical

import spikeops
import spikeops.functional as SF

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# The call of poisson_encode names the native op.
TRITON_CALLS = [call for call in CALLS if call.name != "poisson_encode"]


@pytest.fixture(autouse=True)
def backend():
    """In place of this folder's own: Triton, whether or not the native CUDA library is there."""
    if reason := spikeops.backends()["triton"]["reason"]:
        pytest.skip(f"no Triton: {reason}")
    with spikeops.backend("triton"):
        yield


def compiled_kernels():
    """Number of compiled variants in memory of every kernel, by name."""
    from triton.runtime.jit import JITFunction

    from spikeops.triton import count, encode, lif, pack, reduce, synapse, tssl_bp

    kernels = {
        name: value
        for module in (count, encode, lif, pack, reduce, synapse, tssl_bp)
        for name, value in vars(module).items()
        if isinstance(value, JITFunction) and name.endswith("_kernel")
    }
    device = torch.cuda.current_device()
    return {name: len(kernel.device_caches[device][0]) for name, kernel in kernels.items()}


def run_everything(T, N):
    for call in TRITON_CALLS:
        call.run(*call.on("cuda", T, N))
    SF.poisson_encode(torch.rand(N, device="cuda"), T)


def test_no_kernel_is_compiled_for_another_size():
    """One variant for numbers of neurons divisible by 16 and one for the others; T never enters."""
    run_everything(3, 256)
    run_everything(3, 100)
    before = compiled_kernels()
    assert len(before) == 13 and all(before.values()), before
    for T in range(1, 21):
        run_everything(T, 256)
        run_everything(T, 100)
    for N in (2, 129, 1024, 5000, 100_000):
        run_everything(4, N)
    assert compiled_kernels() == before


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("T", "N"), [(1, 1), (5, 129), (33, 2600), (100, 1300)])
@pytest.mark.parametrize("call", TRITON_CALLS, ids=str)
def test_as_native_on_the_cpu(call, T, N, dtype):
    with spikeops.backend("native"):
        expected = call.run(*call.on("cpu", T, N, dtype))
    actual = call.run(*call.on("cuda", T, N, dtype))
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        # In float64 the surrogate's exp comes from each platform's mathematical library.
        if dtype == torch.float64 and e.is_floating_point():
            assert_close(a, e, f"result {i}")
        else:
            assert_identical(a, e, f"result {i}")


@pytest.mark.parametrize("reset", ["subtract", "to", "none"])
@pytest.mark.parametrize("surrogate", [
    spikeops.surrogate.Sigmoid(4.0), spikeops.surrogate.Exponential(1.0), spikeops.surrogate.FastSigmoid(25.0),
    spikeops.surrogate.Triangle(1.0), spikeops.surrogate.Rectangle(1.0), spikeops.surrogate.Gaussian(0.5),
], ids=lambda s: s.name)  # fmt: skip
def test_modes_as_native_on_the_cpu(surrogate, reset):
    """Every mode is a program of its own. Bit for bit, the gradients too."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(12, 300, generator=draw)
    gradient = torch.randn(12, 300, generator=draw)
    for options in ({}, {"strict": True, "detach_reset": True}):
        results = []
        for device, backend in (("cpu", "native"), ("cuda", "triton")):
            with spikeops.backend(backend):
                leaf = x.to(device).requires_grad_()
                spikes, v_last = SF.lif(leaf, 0.8, reset=reset, v_reset=-0.2, surrogate=surrogate, **options)
                grads = torch.autograd.grad([spikes, v_last], leaf, [gradient.to(device), torch.ones_like(v_last)])
                results.append((spikes, v_last, *grads))
        for i, (expected, actual) in enumerate(zip(*results, strict=True)):
            assert_identical(actual.detach(), expected.detach(), f"result {i}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_poisson_as_native_on_the_cpu(dtype):
    p, seed = torch.linspace(-0.1, 1.1, 1000).to(dtype), torch.tensor([2**62 + 5])
    expected = torch.ops.spikeops.poisson_encode(p, 11, seed)
    assert_identical(torch.ops.spikeops_triton.poisson_encode(p.cuda(), 11, seed.cuda()), expected, "spikes")


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
        assert SF.lif(torch.ones(3, 5, device="cuda"))[0].sum() > 0
