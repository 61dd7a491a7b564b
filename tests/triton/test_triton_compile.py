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

import op_cases
from op_cases.feedback import step as feedback_step
from op_tests.inputs import Inputs
from op_tests.triton_kernels import all_kernels
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from spikeops import _devices
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle
from spikeops.triton import IMPLEMENTATIONS

HOPPER = GPUTarget("cuda", 90, 32)
MI300 = GPUTarget("hip", "gfx942", 64)
SURROGATES = [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(25.0), Triangle(1.0), Rectangle(1.0), Gaussian(0.5)]


class _CompileOnly:
    """What a kernel launch asks of Triton's driver, up to the launch itself."""

    def __init__(self, target, device=None):
        self.target = target
        self.device = device or str(target)  # kernels are cached per device: never mixed with those of a real one

    def get_current_device(self):
        return self.device

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


@pytest.fixture
def counted(monkeypatch):
    """Names of the kernel variants that launches ask for, each once: what would be compiled, if it were not for this."""
    variants, names = set(), []

    def refuse(*, key, fn, **_):
        if (fn.name, key) not in variants:
            variants.add((fn.name, key))
            names.append(fn.name)
        return True  # and nothing is compiled, nor launched

    monkeypatch.setattr(driver, "_active", _CompileOnly(HOPPER, "counted"))
    monkeypatch.setattr(knobs.runtime, "jit_cache_hook", refuse)
    return names


def neuron(x, surrogate=SURROGATES[0], reset=0, decay_shape=None, strict=False, detach_reset=False, is_constant=False):
    """The arguments shared by the LIF schemas, for x (T, ...); with a decay tensor there is an initial state too."""
    parameters = (None, None) if decay_shape is None else (torch.empty(decay_shape), torch.empty(x.shape[1:]))
    kind, scale, peak = surrogate.coefficients
    modes = (reset, int(strict), int(detach_reset), kind, len(x) if is_constant else 0)
    return x[0] if is_constant else x, *parameters, (0.5, 1.0, 1.0, 1.0, 0.0, 0.0, scale, peak), modes


def call_every_op(T, N, dtype=torch.float32, inputs=Inputs, without=()):
    """Makes every call of the case files; what comes back was never computed."""
    for build in op_cases.RAW.values():
        op, arguments = build(inputs(T, (N,), dtype))
        if op not in without:
            IMPLEMENTATIONS[op](*arguments)


def call_every_kernel(T, N, *dtypes):
    """Makes the call of each op that has the most tensors, for each number of axes: there an op may have several kernels. The ops take
    turns at the types, their ways back with them."""
    most = {}
    for build in op_cases.RAW.values():
        op, arguments = build(Inputs(T, (N,)))
        if op in IMPLEMENTATIONS:
            tensors = [argument for argument in arguments if isinstance(argument, torch.Tensor)]
            kind = (op, max(tensor.dim() for tensor in tensors))
            if len(tensors) > most.get(kind, (0,))[0]:
                most[kind] = len(tensors), build
    turns = {}
    for (op, _), (_, build) in most.items():
        turn = turns.setdefault(op.removesuffix("_backward").removesuffix("_forward"), len(turns))
        IMPLEMENTATIONS[op](*build(Inputs(T, (N,), dtypes[turn % len(dtypes)]))[1])


class Shared(Inputs):
    """Gives one number to all neurons where they would have one each, as a single neuron has: variants of their own."""

    def parameter(self, spread, low, high):
        return super().parameter("one", low, high)


def test_names_of_kernels():
    """Their prefix tells them from other people's: compute-sanitizer looks at them alone."""
    assert len(all_kernels()) >= 19 and all(name.startswith("spikeops_") for name in all_kernels())


# They walk back in segments of time.
BACKWARD = {op for op in IMPLEMENTATIONS if op.endswith("_backward")}
# A program of theirs holds a whole layer.
RECURRENT = {op for op in IMPLEMENTATIONS if op.startswith("recurrent_")}


# A variant takes a third of a second to compile: every call is compiled once, for Hopper and in float32 (below), and every kernel for the
# other types, alignments and GPUs, which are the same few lines of all of them.
@pytest.mark.parametrize("dtype, N", [(torch.float16, 129), (torch.float64, 512)], ids=str)
def test_every_kernel_compiles_for_hopper(compiled, dtype, N):
    variants = compiled()
    call_every_kernel(5, N, dtype)
    assert {name for name, _ in variants} == set(all_kernels())
    for name, kernel in variants:
        assert kernel.asm["cubin"].startswith(b"\x7fELF"), name
        assert ".target sm_90" in kernel.asm["ptx"], name


def test_every_kernel_compiles_for_rocm(compiled):
    """Each state; float32's with conversions."""
    variants = compiled(MI300)
    call_every_kernel(5, 512, torch.bfloat16, torch.float64)
    assert {name for name, _ in variants} == set(all_kernels())
    assert all(kernel.asm["hsaco"].startswith(b"\x7fELF") for _, kernel in variants)


def test_every_kernel_compiles_for_the_oldest_gpu_that_it_is_promised_to(compiled):
    """In float32, with bfloat16 to convert, which that GPU has no instructions for."""
    major, minor = _devices._OLDEST_FOR_TRITON
    variants = compiled(GPUTarget("cuda", 10 * major + minor, 32))
    call_every_kernel(5, 512, torch.bfloat16)
    assert {name for name, _ in variants} == set(all_kernels())
    assert all(f".target sm_{major}{minor}" in kernel.asm["ptx"] for _, kernel in variants)


@pytest.mark.long
def test_every_call_and_mode_compiles_without_fused_multiply_add(compiled):
    """Fused operations round once where kernels/math rounds twice. Division is exact, exp is the project's own."""
    variants = compiled()
    call_every_op(5, 512)
    assert {name for name, _ in variants} == set(all_kernels())
    every_call = len(variants)
    call_every_mode(torch.empty(3, 512))
    assert len(variants) > every_call + 20
    for name, kernel in variants:
        assert kernel.asm["cubin"].startswith(b"\x7fELF"), name
        code = kernel.asm["ptx"]
        assert ".target sm_90" in code, name
        for forbidden in (r"\bfma\.", r"\bmad\.\w*\.f", r"\bdiv\.(full|approx)", r"\bex2\b", r"\.ftz"):
            assert not re.search(forbidden, code), f"{name}: {re.search(forbidden, code).group()} in\n{code}"


def call_every_mode(x):
    """Of LIF: surrogates take turns at the resets, and rates at their weightings. Numbers of all pairs are compared in the interpreter."""
    for turn, surrogate in enumerate(SURROGATES):
        IMPLEMENTATIONS["lif_backward"](x, None, *neuron(x, surrogate, turn % 3), False, False)
    for reset in range(3):
        for given, arguments in enumerate((neuron(x, reset=reset), neuron(x, reset=reset, decay_shape=512, strict=True))):
            weighting = (reset + given) % 2
            IMPLEMENTATIONS["lif_forward"](*arguments)
            IMPLEMENTATIONS["lif_rate_forward"](*arguments, weighting)
            IMPLEMENTATIONS["lif_rate_backward"](x[0], *arguments, weighting, True, True)
        IMPLEMENTATIONS["lif_backward"](x, x[0], *neuron(x, reset=reset, detach_reset=True), False, True)
    constant = neuron(x, is_constant=True)
    IMPLEMENTATIONS["lif_forward"](*constant)
    IMPLEMENTATIONS["lif_rate_forward"](*constant, 1)
    IMPLEMENTATIONS["lif_backward"](x, None, *constant, False, False)


def test_float64_parameters_arrive_in_full_precision(compiled):
    variants = compiled()
    x = torch.empty(3, 512, dtype=torch.float64)
    IMPLEMENTATIONS["lif_forward"](*neuron(x))
    ((_, kernel),) = variants
    # Six scalars of the neuron; nothing passes through float32 on its way.
    assert len(re.findall(r"\.param \.f64", kernel.asm["ptx"])) == 6
    assert ".f32" not in kernel.asm["ptx"]


def test_rows_of_aligned_neurons_are_loaded_16_bytes_at_a_time(compiled):
    variants = compiled()
    IMPLEMENTATIONS["lif_forward"](*neuron(torch.empty(3, 512)))
    IMPLEMENTATIONS["lif_forward"](*neuron(torch.empty(3, 513)))
    aligned, other = (kernel.asm["ptx"] for _, kernel in variants)
    assert "ld.global.v4" in aligned and "st.global.v4" in aligned
    assert "global.v" not in other


def test_nothing_is_compiled_for_another_size(counted):
    """One variant for numbers of neurons divisible by 16, one for the others; T never enters, nor does T = 1 or N = 1, but for the
    segments of walking back, of which there are a few."""
    for inputs in (Inputs, Shared):
        call_every_op(3, 256, inputs=inputs)
        call_every_op(3, 100, inputs=inputs)
    before = len(counted)
    for T in range(1, 21):
        without = BACKWARD if T > 4 else ()
        call_every_op(T, 256, without=without)
        call_every_op(T, 100, without=without)
    for N in (1, 2, 16, 17, 129, 1000, 4096, 5000):
        call_every_op(4, N, without=RECURRENT)
    assert before > 100 and counted[before:] == []


def test_sequences_of_similar_length_are_walked_back_by_the_same_kernel(counted):
    for T in (5, 8, 6, 17, 100, 9, 16, 33):
        x = torch.empty(T, 256)
        IMPLEMENTATIONS["lif_backward"](x, None, *neuron(x), False, False)
    assert len(counted) == 3  # of 8 steps at once, of 16, and of any number


def _local_accesses(kernel):
    return len(re.findall(r"\b(?:LDL|STL)\b", kernel.asm["sass"]))


@pytest.mark.parametrize("T, dtype", [(4, torch.bfloat16), (8, torch.float32), (16, torch.bfloat16), (40, torch.float32)], ids=str)
def test_walking_back_keeps_its_history_in_registers(compiled, T, dtype):
    """Nothing of a step goes through local or shared memory, and a thread accesses its part of a row at once: a load for each step
    of x and of the gradient, and a store. Where there are several segments, three pieces of code read x and two each gradient."""
    variants = compiled()
    x = torch.empty(T, 512, dtype=dtype)
    IMPLEMENTATIONS["lif_backward"](x, None, *neuron(x), False, False)
    IMPLEMENTATIONS["tssl_bp_backward"](x, x, 5.0, 3.0, 1.0)
    segment, several = min(T, 16), T > 16
    for (name, kernel), states in zip(variants, (1, 2), strict=True):
        assert kernel.metadata.shared == 0, name
        assert _local_accesses(kernel) == 0, name
        loads, stores = (len(re.findall(rf"\b{access}\.global", kernel.asm["ptx"])) for access in ("ld", "st"))
        assert loads == (segment * 5 + states if several else segment * 2), name
        assert stores == (segment * 2 + states if several else segment), name


def test_trials_are_compiled_once_for_each_power_of_two_of_neurons(counted):
    op, numbers = IMPLEMENTATIONS["convex_snn_trial"], (0.1, 1.0, 0.0, 0.5, *[0.0] * 4, 1.0, 1.0)
    for bins, trials, inputs, neurons in ((2, 1, 1, 17), (3, 1, 1, 32), (50, 16, 16, 20), (17, 5, 784, 31)):
        x, feedforward, thresholds = torch.empty(bins, trials, inputs), torch.empty(neurons, inputs), torch.empty(neurons)
        op(x, feedforward, torch.empty(neurons, neurons), thresholds, None, None, None, None, None, numbers, 0)
    assert counted == ["spikeops_convex_trials_kernel"]
    op(x, torch.empty(33, inputs), torch.empty(33, 33), torch.empty(33), None, None, None, None, None, numbers, 0)
    assert len(counted) == 2


def test_layers_are_compiled_once_for_each_power_of_two_of_neurons(counted):
    make = op_cases.RAW["recurrent_lif"]
    for T, layers, N in ((2, 1, 129), (3, 1, 256), (50, 16, 200), (1, 5, 240)):
        op, arguments = make(Inputs(T, (layers, N)))
        IMPLEMENTATIONS[op](*arguments)
    assert counted == ["spikeops_recurrent_lif_forward_kernel"]
    op, arguments = make(Inputs(2, (1, 257)))
    IMPLEMENTATIONS[op](*arguments)
    assert len(counted) == 2


def test_neither_is_anything_for_other_parameters(counted):
    x = torch.empty(3, 256)
    for value in (0.0, 1.0, 16.0, 0.3):
        IMPLEMENTATIONS["lif_forward"](x, None, None, (value,) * 8, (0, 0, 0, 0, 0))
        IMPLEMENTATIONS["tssl_bp_forward"](x, 1.0 + value, 1.0 + value, value, False)
        IMPLEMENTATIONS["feedback_step_"](*feedback_step(Inputs(3, (256,))), 1.0, value, value)
    names = ["spikeops_feedback_step_kernel", "spikeops_lif_forward_kernel", "spikeops_tssl_bp_forward_kernel"]
    assert sorted(counted) == names
