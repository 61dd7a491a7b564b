"""The walk back in time (kernels/cuda/walk_back.hpp) on the host: blocks, segments, few neurons, numbers that are not ordinary.

Every comparison is with the CPU kernels, byte for byte."""

import pytest
import torch
from host_cuda import ops
from host_cuda.calls import DTYPES, Case, assert_same
from host_cuda.ops import SURROGATES
from op_tests.neurons import state_dtype

BLOCK, SEGMENT, SMALL_SEGMENT, THREADS = 16, 128, 48, 64

pytestmark = pytest.mark.usefixtures("host_kernels")


def same(op, case, *args, **options):
    return assert_same(*op(case, *args, **options), str(case))


@pytest.fixture
def device(host_kernels):
    yield host_kernels.set_device
    host_kernels.set_device()


def backward_passes(case):
    for reset in (0, 1, 2):
        for per_neuron in (False, True):
            same(ops.lif_backward, case, ops.ROUND | {"reset": reset}, per_neuron)
    for weighting in (0, 1):
        same(ops.lif_rate_backward, case, ops.ROUND, True, weighting=weighting)
    same(ops.lif_backward, case, ops.ROUND | {"is_constant": True}, True)
    same(ops.tssl_bp_backward, case)


def around(*steps):
    return sorted({t + d for t in steps for d in (-1, 0, 1)})


@pytest.mark.parametrize("T", around(4, 8, BLOCK, 2 * BLOCK, SEGMENT, SEGMENT + BLOCK, 2 * SEGMENT))
def test_borders_of_blocks_and_segments(device, T):
    device(multiprocessors=1)
    for dtype in DTYPES:
        for N in (3, 264) if T > 9 else (3, 264, 1028):
            backward_passes(Case(dtype, T, N))


@pytest.mark.parametrize("T", around(SMALL_SEGMENT, SMALL_SEGMENT + BLOCK, 2 * SMALL_SEGMENT, 3 * SMALL_SEGMENT))
def test_devices_with_little_shared_memory_take_short_segments(host_kernels, device, T):
    device(shared_bytes=64 << 10)
    for dtype in DTYPES:
        backward_passes(Case(dtype, T, 264))
    assert host_kernels.last_launch()["shared_bytes"] <= 64 << 10


def expected_launch(op, dtype, T, N):
    """Blocks and bytes of shared memory of a backward pass of an even number of neurons, enough of them for wide accesses."""
    data, state = dtype.itemsize, state_dtype(dtype).itemsize
    width = 2 if data == 2 and op is ops.lif_backward else 1
    if state == 4 and T <= 8:
        return N // 4 // THREADS, 0
    if (state == 4 and width == 1 and T <= 16) or (state == 4 and 16 < T <= 32):
        return N // width // THREADS, 0
    block = 8 if dtype == torch.float64 else 16
    kept = (min(T, SEGMENT) + block - 1) // block - 1
    states = {ops.lif_backward: 1, ops.tssl_bp_backward: 2}[op]
    return N // width // THREADS, kept * THREADS * width * (block * data + states * state)


@pytest.mark.parametrize("T", [1, 4, 5, 8, 9, 16, 17, 32, 33, 96, 128, 129, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_launches(host_kernels, device, dtype, T):
    """Short sequences are walked through at once, in registers; of long ones all blocks of a segment but the last are kept."""
    device(multiprocessors=1)
    for op in (ops.lif_backward, ops.tssl_bp_backward):
        case = Case(dtype, T, 1024)
        same(op, case)
        launch = host_kernels.last_launch()
        assert (launch["blocks"], launch["shared_bytes"]) == expected_launch(op, dtype, T, case.N), op.__name__


@pytest.mark.parametrize("multiprocessors", [1, 2])
def test_few_neurons_of_few_steps_are_taken_one_a_thread(host_kernels, device, multiprocessors):
    """From four blocks for each multiprocessor on, threads take 16 bytes each."""
    device(multiprocessors=multiprocessors)
    for op in (ops.lif_backward, ops.tssl_bp_backward):
        enough = 4 * multiprocessors * 4 * THREADS
        for N, width in ((enough, 4), (enough - 4 * THREADS, 1), (8, 1)):
            same(op, Case(torch.float32, 7, N))
            assert host_kernels.last_launch()["blocks"] == max(N // (width * THREADS), 1), (op.__name__, N)


@pytest.mark.parametrize("dtype", DTYPES)
def test_few_neurons_step_back_like_many(device, dtype):
    device(multiprocessors=132)
    for T in (1, 8, 9, 100):
        backward_passes(Case(dtype, T, 264))


# Scales that take the denominator of a quotient beyond the range where kernels divide without a branch; peaks that take the
# numerator there, and some gradients beyond all numbers.
@pytest.mark.parametrize("peak", [1.0, 1e-35, 1e-44, 1e35, 0.0])
@pytest.mark.parametrize("scale", [3.0, 1e4, 1e18, 1e38])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_quotients_of_numbers_that_are_not_ordinary(surrogate, scale, peak):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for reset in (0, 1, 2):
            chosen = {"options": ops.ROUND | {"reset": reset}, "surrogate": (SURROGATES[surrogate][0], scale, peak)}
            assert_same(*ops.lif_backward(Case(dtype, 9, 264), **chosen), finite=False)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_inputs_that_are_not_finite(surrogate, value):
    """They reach the same gradients as on the CPU, and no other neuron's."""
    for reset in (0, 1, 2):
        options = ops.ROUND | {"reset": reset}
        op, arguments = ops.lif_backward(Case(torch.float32, 20, 264), options, False, SURROGATES[surrogate], grad_v_last=False)
        arguments[2][5, 7] = value
        grad_x = assert_same(op, arguments, finite=False)["grad_x"]
        assert others(grad_x, 7).isfinite().all()


def others(gradients, *neurons):
    return gradients[:, [n for n in range(gradients.shape[1]) if n not in neurons]]


# 0.3, 0.55: a neuron that fires may count as quiet. The scales make changes of the membrane that are not ordinary numbers.
@pytest.mark.parametrize("tau_s", [0.3, 0.55, 1.0, 3.0])
@pytest.mark.parametrize("x_scale", [1.0, 1e-3, 1e9, 1e30])
def test_slopes_of_tssl_bp(tau_s, x_scale):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for T in (9, 33):
            same(ops.tssl_bp_backward, Case(dtype, T, 264), tau_s=tau_s, x_scale=x_scale)


def test_no_input_that_is_not_finite_reaches_another_neuron_of_tssl_bp():
    op, arguments = ops.tssl_bp_backward(Case(torch.float32, 20, 264))
    arguments[1][5, 7], arguments[1][6, 9] = torch.inf, torch.nan
    (grad_x,) = assert_same(op, arguments, finite=False).values()
    assert others(grad_x, 7, 9).isfinite().all()


def test_repeated_runs_in_any_order_of_threads(thread_order):
    case = Case(torch.float32, 120, 264)
    for op in (ops.lif_backward, ops.tssl_bp_backward):
        same(op, case)
