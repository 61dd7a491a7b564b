"""Seeds of random ops that a CPU generator draws for a GPU, on a GPU that is made up; tests/gpu/test_streams.py has a real one."""

import contextlib

import pytest
import torch

from spikeops.functional import _seed

GPU = torch.device("cuda", 0)


class Seed:
    """What was drawn, and how it went to the GPU."""

    def __init__(self, **how):
        self.how = how

    def to(self, device, non_blocking=False):
        self.how |= {"to": device, "non_blocking": non_blocking}
        return self


@pytest.fixture
def gpu(monkeypatch):
    """``gpu.capturing`` says whether a graph is captured."""

    class Gpu:
        capturing = False

    def randint(high, size, **how):
        assert (high, size) == (2**63 - 1, (1,))
        return Seed(**how)

    monkeypatch.setattr(torch, "randint", randint)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: Gpu.capturing)
    return Gpu


def test_from_the_cpu_without_a_wait(gpu):
    """A copy from memory that is not pinned makes the host wait, whatever non_blocking says."""
    how = _seed.draw("op", torch.Generator(), GPU).how
    assert how["device"] == torch.device("cpu") and how["pin_memory"] is True
    assert how["to"] == GPU and how["non_blocking"] is True


def test_on_the_device_itself(gpu):
    gpu.capturing = True
    how = _seed.draw("op", None, GPU).how
    assert how["device"] == GPU and "to" not in how


def test_refused_in_a_capture(gpu):
    gpu.capturing = True
    expected = r"^op: expected a generator on cuda:0 while a CUDA graph is captured, got one on cpu, .* torch.Generator\('cuda:0'\)"
    with pytest.raises(RuntimeError, match=expected):
        _seed.draw("op", torch.Generator(), GPU)


def test_same_numbers_with_and_without_a_device(device):
    """Pinned or not, the generator draws the same."""
    seeds = [_seed.draw("op", torch.Generator().manual_seed(3), torch.device(where)).cpu() for where in ("cpu", device)]
    assert torch.equal(*seeds)
    assert seeds[0].dtype == torch.int64 and seeds[0].shape == (1,)
