"""The walk back in time (kernels/cuda/walk_back.hpp) on the host: blocks, segments, few neurons, numbers that are not ordinary.

Every comparison is with the CPU kernels, byte for byte."""

import numpy as np
import pytest
from host_cuda import ops
from host_cuda.arrays import FLOATING, Case, assert_same_bytes, from_storage
from host_cuda.ops import SURROGATES, assert_same

BLOCK, SEGMENT, SMALL_SEGMENT, THREADS = 16, 128, 48, 64


@pytest.fixture
def device(host_kernels):
    yield host_kernels.set_device
    host_kernels.set_device()


def backward_passes(kernels, case):
    for reset in (0, 1, 2):
        for per_neuron in (False, True):
            assert_same(kernels, ops.lif_backward, case, ops.ROUND | {"reset": reset}, per_neuron)
    for weighting in (0, 1):
        assert_same(kernels, ops.lif_rate_backward, case, ops.ROUND, True, weighting=weighting)
    assert_same(kernels, ops.lif_backward, case, ops.ROUND | {"is_constant": True}, True)
    assert_same(kernels, ops.tssl_bp_backward, case)


def around(*steps):
    return sorted({t + d for t in steps for d in (-1, 0, 1)})


@pytest.mark.parametrize("T", around(4, 8, BLOCK, 2 * BLOCK, SEGMENT, SEGMENT + BLOCK, 2 * SEGMENT))
def test_borders_of_blocks_and_segments(host_kernels, device, T):
    device(multiprocessors=1)
    for dtype in FLOATING:
        for N in (3, 264) if T > 9 else (3, 264, 1028):
            backward_passes(host_kernels, Case(dtype, T, N))


@pytest.mark.parametrize("T", around(SMALL_SEGMENT, SMALL_SEGMENT + BLOCK, 2 * SMALL_SEGMENT, 3 * SMALL_SEGMENT))
def test_devices_with_little_shared_memory_take_short_segments(host_kernels, device, T):
    device(shared_bytes=64 << 10)
    for dtype in FLOATING:
        backward_passes(host_kernels, Case(dtype, T, 264))
    assert host_kernels.last_launch()["shared_bytes"] <= 64 << 10


def expected_launch(op, dtype, T, N):
    """Blocks and bytes of shared memory of a backward pass of an even number of neurons, enough of them for wide accesses."""
    data, state = np.dtype("uint16" if dtype == "bfloat16" else dtype).itemsize, 8 if dtype == "float64" else 4
    width = 2 if data == 2 and op is ops.lif_backward else 1
    if state == 4 and T <= 8:
        return N // 4 // THREADS, 0
    if (state == 4 and width == 1 and T <= 16) or (state == 4 and 16 < T <= 32):
        return N // width // THREADS, 0
    block = 8 if dtype == "float64" else 16
    kept = (min(T, SEGMENT) + block - 1) // block - 1
    states = {ops.lif_backward: 1, ops.tssl_bp_backward: 2}[op]
    return N // width // THREADS, kept * THREADS * width * (block * data + states * state)


@pytest.mark.parametrize("T", [1, 4, 5, 8, 9, 16, 17, 32, 33, 96, 128, 129, 1000])
@pytest.mark.parametrize("dtype", FLOATING)
def test_launches(host_kernels, device, dtype, T):
    """Short sequences are walked through at once, in registers; of long ones all blocks of a segment but the last are kept."""
    device(multiprocessors=1)
    for op in (ops.lif_backward, ops.tssl_bp_backward):
        case = Case(dtype, T, 1024)
        assert_same(host_kernels, op, case)
        launch = host_kernels.last_launch()
        assert (launch["blocks"], launch["shared_bytes"]) == expected_launch(op, dtype, T, case.N), op.__name__


@pytest.mark.parametrize("multiprocessors", [1, 2])
def test_few_neurons_of_few_steps_are_taken_one_a_thread(host_kernels, device, multiprocessors):
    """From four blocks for each multiprocessor on, threads take 16 bytes each."""
    device(multiprocessors=multiprocessors)
    for op in (ops.lif_backward, ops.tssl_bp_backward):
        enough = 4 * multiprocessors * 4 * THREADS
        for N, width in ((enough, 4), (enough - 4 * THREADS, 1), (8, 1)):
            assert_same(host_kernels, op, Case("float32", 7, N))
            assert host_kernels.last_launch()["blocks"] == max(N // (width * THREADS), 1), (op.__name__, N)


@pytest.mark.parametrize("dtype", FLOATING)
def test_few_neurons_step_back_like_many(host_kernels, device, dtype):
    device(multiprocessors=132)
    for T in (1, 8, 9, 100):
        backward_passes(host_kernels, Case(dtype, T, 264))


def assert_same_numbers(kernels, op, case, **options):
    """As assert_same, but any NaN is the same as any other."""
    _, actual = op(kernels.cuda, case, **options)
    _, expected = op(kernels.cpu, case, **options)
    for name, array in expected.items():
        kind = "float32" if array.dtype == np.uint16 else array.dtype  # bfloat16
        a, b = (from_storage(x, case.dtype).astype(kind, copy=False) for x in (actual[name], array))
        np.testing.assert_array_equal(a, b, err_msg=f"{op.__name__} {case} {name}")


# Scales that take the denominator of a quotient beyond the range where kernels divide without a branch; peaks that take the
# numerator there, and some gradients beyond all numbers.
@pytest.mark.parametrize("peak", [1.0, 1e-35, 1e-44, 1e35, 0.0])
@pytest.mark.parametrize("scale", [3.0, 1e4, 1e18, 1e38])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_quotients_of_numbers_that_are_not_ordinary(host_kernels, surrogate, scale, peak):
    for dtype in ("float32", "float64", "bfloat16"):
        for reset in (0, 1, 2):
            options = {"options": ops.ROUND | {"reset": reset}, "surrogate": (SURROGATES[surrogate][0], scale, peak)}
            assert_same_numbers(host_kernels, ops.lif_backward, Case(dtype, 9, 264), **options)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_inputs_that_are_not_finite(host_kernels, surrogate, value):
    """They reach the same gradients as on the CPU, and no other neuron's."""
    case = Case("float32", 20, 264)
    x, grad_spikes = ops.currents(case), case.data(ops.gradient(case, case.T, case.N))
    x[5, 7] = value
    for reset in (0, 1, 2):
        results = []
        for backend in (host_kernels.cuda, host_kernels.cpu):
            grad_x = case.data_out(case.T, case.N)
            options = ops.ROUND | {"reset": reset}
            backend.lif_backward("float32", x, None, None, options, SURROGATES[surrogate], grad_x=grad_x, grad_spikes=grad_spikes)
            results.append(grad_x)
        np.testing.assert_array_equal(*results)
        assert np.isfinite(np.delete(results[0], 7, axis=1)).all()


# 0.3: a neuron that fires may count as quiet. The scales make changes of the membrane that are not ordinary numbers.
@pytest.mark.parametrize("tau_s", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("x_scale", [1.0, 1e-3, 1e9, 1e30])
def test_slopes_of_tssl_bp(host_kernels, tau_s, x_scale):
    for dtype in ("float32", "float64", "bfloat16"):
        for T in (9, 33):
            assert_same(host_kernels, ops.tssl_bp_backward, Case(dtype, T, 264), tau_s=tau_s, x_scale=x_scale)


def test_no_input_that_is_not_finite_reaches_another_neuron_of_tssl_bp(host_kernels):
    case = Case("float32", 20, 264)
    x, grad_psc = ops.currents(case), case.data(ops.gradient(case, case.T, case.N))
    x[5, 7], x[6, 9] = np.inf, np.nan
    results = []
    for backend in (host_kernels.cuda, host_kernels.cpu):
        grad_x = case.data_out(case.T, case.N)
        backend.tssl_bp_backward("float32", grad_psc, x, ops.TAU_M, ops.TAU_S, ops.THRESHOLD, grad_x)
        results.append(grad_x)
    np.testing.assert_array_equal(*results)
    assert np.isfinite(np.delete(results[0], [7, 9], axis=1)).all()


def test_repeated_runs_in_any_order_of_threads(host_kernels, thread_order):
    case = Case("float32", 120, 264)
    for op in (ops.lif_backward, ops.tssl_bp_backward):
        assert_same_bytes(op(host_kernels.cuda, case)[1], op(host_kernels.cpu, case)[1])
