"""Compiles the Triton kernels to machine code without a GPU, and counts how many are compiled.

Triton's driver is replaced by one that names a target and launches nothing. The ops are then called with CPU tensors, so that
what is compiled is what a launch on a device would compile: same signature, same specialisation, same options."""

import os
import re

import pytest
import torch

pytest.importorskip("triton", reason="the package triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1: nothing is compiled", allow_module_level=True)

from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from spikeops import _devices
from spikeops._dtypes import state_dtype
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle
from spikeops.triton import IMPLEMENTATIONS

HOPPER = GPUTarget("cuda", 90, 32)
MI300 = GPUTarget("hip", "gfx942", 64)
SURROGATES = [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(25.0), Triangle(1.0), Rectangle(1.0), Gaussian(0.5)]


class _CompileOnly:
    """What a kernel launch asks of Triton's driver, up to the launch itself."""

    def __init__(self, target):
        self.target = target

    def get_current_device(self):
        return str(self.target)  # kernels are cached per device: never mixed with those of a real one

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        return self.target


@pytest.fixture
def compiled(monkeypatch):
    """``compiled(target)`` -> list to which every kernel variant is added when it is compiled: (name, code by kind)."""
    run = JITFunction.run
    variants = []

    def record(self, *args, grid, warmup, **kwargs):
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        if not any(kernel is known for _, known in variants):
            variants.append((self.__name__, kernel))

    def start(target=HOPPER):
        monkeypatch.setattr(driver, "_active", _CompileOnly(target))
        monkeypatch.setattr(JITFunction, "run", record)
        return variants

    return start


def neuron(x, surrogate=SURROGATES[0], reset=0, decay_shape=None, strict=False, detach_reset=False, is_constant=False):
    """The arguments shared by the LIF schemas, for x (T, ...); with a decay tensor there is an initial state too."""
    parameters = (None, None) if decay_shape is None else (torch.empty(decay_shape), torch.empty(x.shape[1:]))
    kind, scale, peak = surrogate.coefficients
    modes = (reset, int(strict), int(detach_reset), kind, len(x) if is_constant else 0)
    return x[0] if is_constant else x, *parameters, (0.5, 1.0, 1.0, 1.0, 0.0, 0.0, scale, peak), modes


def steps(x, with_options):
    """The arguments shared by the schemas of feedback steps: all that are optional, or only a drive."""
    state = torch.empty(x.shape[1:], dtype=state_dtype(x.dtype))
    options = (x, x[0], state, torch.empty(len(x), dtype=torch.int32)) if with_options else (None,) * 4
    return state, torch.empty_like(x), state, x, *options


def learning_layer(x, with_options):
    """The arguments of a local learning step: one sample per row of x, seven classes."""
    state, classes = state_dtype(x.dtype), (len(x), 7)
    membrane, class_membrane = torch.empty_like(x, dtype=state), torch.empty(classes, dtype=state)
    weight, error = torch.empty(7, x.shape[1], dtype=x.dtype), torch.empty(classes, dtype=x.dtype)
    options = (x, membrane, error, weight) if with_options else (None,) * 4
    derivative, trace, class_derivative, feedback = options
    return (
        membrane, x, x, derivative, trace, class_membrane, class_membrane, class_membrane[:, 0].contiguous(), error, class_derivative,
        x, weight, feedback, torch.zeros(len(x), dtype=torch.int64), (0.5, 1.0, 1.0, 1.0, 0.1), 2,
    )  # fmt: skip


def trials(x, with_options):
    """Of 20 neurons, whatever x holds: kernels are compiled for each power of two of neurons and of readouts."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    sizes = (3, 2, 4), (20, 4), (20, 20), (20,), (7, 20)
    *weights, decoder = (torch.empty(size, dtype=dtype) for size in sizes)
    options = (decoder, None, torch.tensor([1])) if with_options else (None, torch.empty(2, 2, 20, dtype=dtype), None)
    learning = (torch.empty(2, 3, dtype=dtype), torch.empty(20, 3, dtype=dtype)) if with_options else (None, None)
    return *weights, *options, *learning, (0.1, 1.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0), 0


def call_every_op(x, decay_shape=()):
    """Calls every op once, at least; what comes back was never computed."""
    ops = IMPLEMENTATIONS
    lif = neuron(x, decay_shape=decay_shape)
    need = decay_shape is not None
    packed = ops["pack_spikes"](x)
    calls = {
        "lif_forward": lif,
        "lif_backward": (x, x[0], *lif, need, need),
        "lif_rate_forward": (*lif, 1),
        "lif_rate_backward": (x[0], *lif, 1, need, need),
        "tssl_bp_forward": (x, 5.0, 3.0, 1.0, True),
        "tssl_bp_backward": (x, x, 5.0, 3.0, 1.0),
        "synaptic_filter_forward": (x, 3.0),
        "synaptic_filter_backward": (x, 3.0),
        "spike_count": (packed,),
        "unpack_spikes": (packed, len(x), x.dtype),
        "feedback_step_": (*steps(x, need), 0.9, 1.0, 1.0),
        "ternary_step_": (*steps(x, need), 0.5, 0.9, 0.5, 1.0),
        "local_learning_step_": learning_layer(x, need),
        "local_gradient_in_time": (x[0], x, 0.5, 1.0),
        "poisson_encode": (x[0], len(x), torch.tensor([1])),
        "latency_encode": (x[0], len(x)),
        "clamped_lif_forward": (x, torch.empty(x.shape[1]), (0.1, 2.0, 1.0, 0.0), 3),
        "clamped_lif_backward": (x[:, :, None].expand(-1, -1, 2).contiguous().to(torch.promote_types(x.dtype, torch.float32)),
                                 x[:, :, None].expand(-1, -1, 2).contiguous(), (0.1, 2.0, 1.0, 0.0)),
        "convex_snn_trial": trials(x, need),
        "row_sum": (x.to(torch.promote_types(x.dtype, torch.float32)),),
    }
    for name, arguments in calls.items():
        ops[name](*arguments)
    ops["spike_count"](x)
    ops["clamped_lif_backward"](x.to(torch.promote_types(x.dtype, torch.float32)), x, (0.1, 2.0, 1.0, 0.0))
    assert {*calls, "pack_spikes"} == set(ops)


# Their prefix tells them from other people's: compute-sanitizer looks at them alone.
KERNELS = {f"spikeops_{name}_kernel" for name in (
    "lif_forward", "lif_rate_forward", "lif_backward", "tssl_bp_forward", "tssl_bp_backward", "synaptic_filter", "spike_count",
    "pack_spikes", "unpack_spikes", "poisson_encode", "feedback_step", "local_units", "local_classes", "local_feedback",
    "local_gradient_in_time", "latency_encode", "clamped_forward", "clamped_rows", "clamped_runs", "clamped_thresholds",
    "convex_trials", "row_sum_blocks", "row_sum_rows",
)}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_every_kernel_compiles_for_hopper(compiled, dtype):
    variants = compiled()
    call_every_op(torch.empty(5, 512, dtype=dtype))
    call_every_op(torch.empty(5, 129, dtype=dtype), decay_shape=None)
    call_every_op(torch.empty(5, 512, dtype=dtype), decay_shape=512)
    assert {name for name, _ in variants} == KERNELS
    for name, kernel in variants:
        assert kernel.asm["cubin"].startswith(b"\x7fELF"), name
        assert ".target sm_90" in kernel.asm["ptx"], name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_every_kernel_compiles_for_rocm(compiled, dtype):
    variants = compiled(MI300)
    call_every_op(torch.empty(5, 512, dtype=dtype))
    assert {name for name, _ in variants} == KERNELS
    assert all(kernel.asm["hsaco"].startswith(b"\x7fELF") for _, kernel in variants)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_kernel_compiles_for_the_oldest_gpu_that_it_is_promised_to(compiled, dtype):
    major, minor = _devices._OLDEST_FOR_TRITON
    variants = compiled(GPUTarget("cuda", 10 * major + minor, 32))
    call_every_op(torch.empty(5, 512, dtype=dtype))
    assert {name for name, _ in variants} == KERNELS
    assert all(f".target sm_{major}{minor}" in kernel.asm["ptx"] for _, kernel in variants)


def test_every_mode_compiles_without_fused_multiply_add(compiled):
    """Fused operations round once where kernels/math rounds twice. Division is exact, exp is the project's own."""
    variants = compiled()
    x = torch.empty(5, 512)
    for surrogate in SURROGATES:
        for reset in range(3):
            IMPLEMENTATIONS["lif_backward"](x, None, *neuron(x, surrogate, reset), False, False)
    for reset in range(3):
        for arguments in (neuron(x, reset=reset), neuron(x, reset=reset, decay_shape=512, strict=True)):
            IMPLEMENTATIONS["lif_forward"](*arguments)
            for weighting in range(2):
                IMPLEMENTATIONS["lif_rate_forward"](*arguments, weighting)
                IMPLEMENTATIONS["lif_rate_backward"](x[0], *arguments, weighting, True, True)
        IMPLEMENTATIONS["lif_backward"](x, x[0], *neuron(x, reset=reset, detach_reset=True), False, True)
    constant = neuron(x, is_constant=True)
    IMPLEMENTATIONS["lif_forward"](*constant)
    IMPLEMENTATIONS["lif_rate_forward"](*constant, 1)
    IMPLEMENTATIONS["lif_backward"](x, None, *constant, False, False)
    call_every_op(x)
    assert len(variants) > 40
    for name, kernel in variants:
        code = kernel.asm["ptx"]
        assert re.search(r"\.target sm_90", code)
        for forbidden in (r"\bfma\.", r"\bmad\.\w*\.f", r"\bdiv\.(full|approx)", r"\bex2\b", r"\.ftz"):
            assert not re.search(forbidden, code), f"{name}: {re.search(forbidden, code).group()} in\n{code}"


def test_float64_parameters_arrive_in_full_precision(compiled):
    variants = compiled()
    x = torch.empty(5, 512, dtype=torch.float64)
    IMPLEMENTATIONS["lif_forward"](*neuron(x))
    ((_, kernel),) = variants
    # Six scalars of the neuron; nothing passes through float32 on its way.
    assert len(re.findall(r"\.param \.f64", kernel.asm["ptx"])) == 6
    assert ".f32" not in kernel.asm["ptx"]


def test_rows_of_aligned_neurons_are_loaded_16_bytes_at_a_time(compiled):
    variants = compiled()
    IMPLEMENTATIONS["lif_forward"](*neuron(torch.empty(5, 512)))
    IMPLEMENTATIONS["lif_forward"](*neuron(torch.empty(5, 513)))
    aligned, other = (kernel.asm["ptx"] for _, kernel in variants)
    assert "ld.global.v4" in aligned and "st.global.v4" in aligned
    assert "global.v" not in other


def test_nothing_is_compiled_for_another_size(compiled):
    """One variant for numbers of neurons divisible by 16, one for the others; T never enters, nor does T = 1 or N = 1."""
    variants = compiled()
    call_every_op(torch.empty(3, 256))
    call_every_op(torch.empty(3, 100))
    before = len(variants)
    for T in range(1, 21):
        call_every_op(torch.empty(T, 256))
        call_every_op(torch.empty(T, 100))
    for N in (1, 2, 16, 17, 129, 1000, 4096, 5000):
        call_every_op(torch.empty(4, N))
    grown = [name for name, _ in variants[before:]]
    assert not grown


def test_trials_are_compiled_once_for_each_power_of_two_of_neurons(compiled):
    variants = compiled()
    op, numbers = IMPLEMENTATIONS["convex_snn_trial"], (0.1, 1.0, 0.0, 0.5, 0.0, 0.0, 0.0)
    for bins, trials, inputs, neurons in ((2, 1, 1, 17), (3, 1, 1, 32), (50, 16, 16, 20), (17, 5, 784, 31)):
        x, feedforward, thresholds = torch.empty(bins, trials, inputs), torch.empty(neurons, inputs), torch.empty(neurons)
        op(x, feedforward, torch.empty(neurons, neurons), thresholds, None, None, None, None, None, numbers, 0)
    assert [name for name, _ in variants] == ["spikeops_convex_trials_kernel"]
    op(x, torch.empty(33, inputs), torch.empty(33, 33), torch.empty(33), None, None, None, None, None, numbers, 0)
    assert len(variants) == 2


def test_neither_is_anything_for_other_parameters(compiled):
    variants = compiled()
    x = torch.empty(3, 256)
    for value in (0.0, 1.0, 16.0, 0.3):
        IMPLEMENTATIONS["lif_forward"](x, None, None, (value,) * 8, (0, 0, 0, 0, 0))
        IMPLEMENTATIONS["tssl_bp_forward"](x, 1.0 + value, 1.0 + value, value, False)
        IMPLEMENTATIONS["feedback_step_"](*steps(x, True), 1.0, value, value)
    names = ["spikeops_feedback_step_kernel", "spikeops_lif_forward_kernel", "spikeops_tssl_bp_forward_kernel"]
    assert sorted(name for name, _ in variants) == names
