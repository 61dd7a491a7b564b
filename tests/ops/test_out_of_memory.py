"""Memory that runs out: an error that says so, with the op, the shape and the bytes; no end of the process, no path of a build machine.

Each test is a process of its own, whose address space is limited."""

import os
import re
import subprocess
import sys
import types

import pytest
import python_code
import torch

import spikeops
import spikeops.functional as SF
from spikeops.functional import _memory, pack

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space as Linux does")

HEAD = """
import resource
import torch, spikeops, spikeops.functional as SF
def limit(more):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))
"""


def run(code, **environment):
    done = subprocess.run(
        python_code.command(HEAD + code), capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stdout[-500:]} {done.stderr[-1500:]}"
    return done.stdout


# name -> (call, the op as the error names it). Inputs are small, or repeat what is small. (Steps in place allocate nothing.)
CALLS = {
    "lif": ("SF.lif(torch.rand(1000, 1000), time_steps=4000)", "lif_forward"),
    "lif of a sequence": ("SF.lif(torch.rand(1000).expand(2_000_000, 1000))", "lif_forward"),
    "lif_rate": ("SF.lif_rate(torch.rand(1000).expand(2_000_000, 1000))", "lif_rate_forward"),
    "tssl_bp": ("SF.tssl_bp(torch.rand(1000).expand(2_000_000, 1000))", "tssl_bp_forward"),
    "synaptic_filter": ("SF.synaptic_filter(torch.rand(1000).expand(2_000_000, 1000), 3.0)", "synaptic_filter_forward"),
    "spike_count": ("SF.spike_count(torch.rand(1000).expand(2_000_000, 1000))", "spike_count"),
    "pack_spikes": ("SF.pack_spikes(torch.rand(1000).expand(2_000_000, 1000))", "pack_spikes"),
    "unpack_spikes": ("SF.unpack_spikes(torch.zeros(60_000, 1000, dtype=torch.uint16), 960_000, torch.float64)", "unpack_spikes"),
    "poisson_encode": ("SF.poisson_encode(torch.rand(1000, 1000), 4000)", "poisson_encode"),
    "latency_encode": ("SF.latency_encode(torch.rand(1000, 1000), 4000)", "latency_encode"),
    "convex_snn_trial": (
        "SF.convex_snn_trial(torch.rand(1).expand(3_000_000, 1, 1), torch.rand(300, 1), torch.rand(300, 300), torch.rand(300), "
        "dt=0.001, leak=1.0)", "convex_snn_trial",
    ),
    "local_gradient_in_time": (
        "SF.local_gradient_in_time(torch.rand(1000), torch.rand(1000).expand(2_000_000, 1000), 0.5)", "local_gradient_in_time",
    ),
    "backward": (
        "torch.ops.spikeops.synaptic_filter_backward(torch.rand(1000).expand(2_000_000, 1000), 3.0)", "synaptic_filter_backward",
    ),
}  # fmt: skip


def test_every_op_says_which_what_and_how_much():
    code = "limit(3 << 30)\n"
    for name, (call, _) in CALLS.items():
        code += f"try:\n    {call}\nexcept RuntimeError as error:\n    print({name!r}, '|', type(error).__name__, '|', error)\n"
    lines = dict(line.split(" | ", 1) for line in run(code).splitlines() if " | " in line)
    for name, (_, op) in CALLS.items():
        assert name in lines, f"{name}: no error"
        kind, text = lines[name].split(" | ", 1)
        shape_and_bytes = r": can't allocate memory for a tensor of shape \(\d[\d, ]*\), \w+, \d{10,} bytes, on the CPU: "
        assert kind == "RuntimeError" and re.match(op + shape_and_bytes, text), f"{name}: {text}"
        assert "DefaultCPUAllocator: can't allocate memory" in text, f"{name}: {text}"
        assert not re.search(r"\.h\b|/\w+/\w+/|API call failed", text), f"{name}: a path in {text}"


def test_a_kernel_without_memory_of_its_own_raises_an_error():
    """From threads of torch's, too. Memory is used up but for what the gradient needs, so that the history finds none."""
    out = run(
        """
import ctypes
torch.set_num_threads(2)
x = torch.rand(40_000, 512)
gradient = torch.ones_like(x)
numbers, modes = [0.5, 1.0, 1.0, 1.0, 0.0, 0.0, 3.0, 1.0], [0, 0, 0, 0, 0]
call = lambda: torch.ops.spikeops.lif_backward(gradient, None, x, None, None, numbers, modes, False, False)
call()
limit(200 << 20)
room = torch.empty(40_000 * 512 + (1 << 18))
malloc = ctypes.CDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
for size in (1 << 24, 1 << 20, 1 << 17, 1 << 15):
    while malloc(size):
        pass
del room
try:
    call()
    print("no error")
except RuntimeError as error:
    text = str(error)
    print(text)
""",
        MALLOC_MMAP_THRESHOLD_="131072", MALLOC_ARENA_MAX="1",
    )  # fmt: skip
    assert re.search(r"lif_backward: can't allocate \d+ bytes of working memory on the CPU: DefaultCPUAllocator: can't allocate", out), out


def test_the_way_back_of_a_long_train_takes_little_memory():
    """4 million steps, 16 MB for the input's gradient. The history of the 64 columns that a vector wants would take 1 GB."""
    out = run(
        """
cases = []
for neurons in (1, 3):
    x = torch.rand(4_000_000 // neurons, neurons, requires_grad=True)
    cases.append((x, SF.lif(x)[0], torch.ones_like(x)))
limit(96 << 20)
for x, spikes, upstream in cases:
    torch.autograd.backward([spikes], [upstream])
    print(bool(x.grad[::1000].isfinite().all()))
"""
    )
    assert out.split() == ["True", "True"]


@pytest.mark.parametrize("op", ["lif", "lif, decay tensor", "lif, constant", "lif_rate", "lif_rate, decay", "tssl_bp"])
def test_segments_change_no_bit(op):
    """Of 64 columns a history of 70,000 steps does not fit, of two it does."""
    T, N, generator = 70_000, 64, torch.Generator().manual_seed(0)
    x = torch.rand(T, N, generator=generator)
    decay = torch.rand(N, generator=generator).mul_(0.3).add_(0.6)
    constant = torch.rand(N, generator=generator)
    weight = torch.rand(T, N, generator=generator)

    def gradients(columns):
        current, d, c = (t[..., columns].contiguous().requires_grad_() for t in (x, decay, constant))
        w = weight[:, columns]
        out = {
            "lif": lambda: (SF.lif(current, 0.9)[0] * w).sum(),
            "lif, decay tensor": lambda: (SF.lif(current, d, reset="to", v_init=c)[0] * w).sum(),
            "lif, constant": lambda: (SF.lif(c, d, time_steps=T)[0] * w).sum(),
            "lif_rate": lambda: (SF.lif_rate(current, d) * w[0]).sum(),
            "lif_rate, decay": lambda: (SF.lif_rate(current, d, weighting="decay") * w[0]).sum(),
            "tssl_bp": lambda: (SF.tssl_bp(current) * w).sum(),
        }[op]()
        given = [t for t in (current, d, c) if t.requires_grad]
        return torch.autograd.grad(out, given, allow_unused=True)

    with spikeops.backend("native"):
        whole, few = gradients(slice(0, N)), gradients(slice(5, 7))
    assert any(g is not None and g.any() for g in whole)
    for all_columns, two in zip(whole, few):
        assert (all_columns is None) == (two is None)
        if two is not None:
            assert torch.equal(all_columns[..., 5:7], two)


def test_on_a_device_the_error_is_torchs():
    text = (
        "lif_forward: can't allocate memory for a tensor of shape (4, 3), float32, 48 bytes, on cuda:0: CUDA out of memory. Tried to "
        "allocate 48 bytes."
    )
    error = _memory.as_torch_names_it(RuntimeError(text))
    assert type(error) is torch.OutOfMemoryError and str(error) == text

    def fail(*_):
        raise RuntimeError(text)

    broken = types.SimpleNamespace(pack_spikes=fail, name="spikeops")
    with pytest.raises(torch.OutOfMemoryError, match="pack_spikes|lif_forward"):
        pack._pack(broken, torch.zeros(3))
    for other in (RuntimeError("lif: something else"), ValueError("out of memory: can't allocate memory for a tensor")):
        assert _memory.as_torch_names_it(other) is other


def test_a_size_that_cannot_be_counted_is_said_so():
    shape = r"tensor of shape \(\d+, 1000, 1000\)"
    told, untold = f"can't make a {shape}: Storage size calculation overflowed", f"can't allocate memory for a {shape}, float32, more than"
    with spikeops.backend("native"), pytest.raises(RuntimeError, match=f"lif_forward: ({told}|{untold})"):
        SF.lif(torch.rand(1000, 1000), time_steps=1 << 60)
