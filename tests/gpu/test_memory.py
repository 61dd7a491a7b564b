"""Large tensors, and how much memory the backward passes take."""

import fcntl
import tempfile
from pathlib import Path

import pytest
import torch

import spikeops.functional as SF

BEYOND_INT32 = 2**31 + 2**20


def need_memory(gib):
    free, _ = torch.cuda.mem_get_info()
    if free < gib * 2**30:
        pytest.skip(f"needs {gib} GiB of free GPU memory")


@pytest.fixture(autouse=True)
def one_process_at_a_time():
    """Where the suite runs in several, each would find the memory free that another is about to take."""
    with open(Path(tempfile.gettempdir()) / "spikeops-tests-gpu-memory.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        torch.cuda.empty_cache()
        yield
        torch.cuda.empty_cache()


@pytest.mark.parametrize("T", [8, 64])
def test_lif_beyond_2_31_elements(T):
    need_memory(32)
    N = BEYOND_INT32 // T
    x = torch.rand(T, N, device="cuda", dtype=torch.float16).requires_grad_()
    spikes, _ = SF.lif(x)
    (grad,) = torch.autograd.grad(spikes, x, torch.ones_like(spikes))
    for part in (slice(0, 1000), slice(N // 2, N // 2 + 1000), slice(N - 1000, N)):
        few = x.detach()[:, part].contiguous().requires_grad_()
        expected, _ = SF.lif(few)
        assert torch.equal(spikes[:, part], expected)
        assert torch.equal(grad[:, part], torch.autograd.grad(expected, few, torch.ones_like(expected))[0])


def test_pack_beyond_2_31_elements():
    need_memory(8)
    N = BEYOND_INT32 // 16
    spikes = torch.randint(0, 2, (16, N), device="cuda", dtype=torch.uint8)
    packed = SF.pack_spikes(spikes)
    assert torch.equal(SF.unpack_spikes(packed, 16, torch.uint8), spikes)
    assert torch.equal(SF.spike_count(packed), SF.spike_count(spikes))


@pytest.mark.parametrize("op", [lambda x: SF.lif(x)[0], SF.tssl_bp], ids=["lif", "tssl_bp"])
@pytest.mark.parametrize("T", [32, 48, 200])
def test_backward_keeps_only_x(op, T, backend):
    """Beyond its output and gradients, an op allocates at most the state at some time steps of long sequences."""
    N = 1 << 18
    x = torch.rand(T, N, device="cuda").requires_grad_()
    gradient = torch.rand(T, N, device="cuda")
    size = x.numel() * x.element_size()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    y = op(x)
    torch.autograd.grad(y, x, gradient)
    # Two states at most for each segment, of 48 steps or, in Triton, of 16, and the last membrane potential.
    extra = (2 * ((T - 1) // (48 if backend == "native" else 16)) + 1) * N * 4
    assert torch.cuda.max_memory_allocated() - before <= 2 * size + extra + (1 << 21)
