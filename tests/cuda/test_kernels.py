"""The CUDA kernels' source, run on the host, against the CPU kernels: equal byte for byte, in every order of threads.

Both step neurons with the functions of kernels/math, so that any difference is a fault in how one of them walks memory.
Outputs lie in poisoned memory."""

import numpy as np
import pytest
from host_cuda import ops
from host_cuda.arrays import FLOATING, INTEGER, NEURONS, STEPS, Case, assert_same_bytes, from_storage
from host_cuda.ops import SURROGATES, assert_same

FORWARD_OPTIONS = {
    "subtract": ops.LIF,
    "subtract-strict": ops.LIF | {"strict": True},
    "subtract-round": ops.ROUND,
    "to": ops.ROUND | {"reset": 1},
    "none": ops.ROUND | {"reset": 2},
    "constant": ops.ROUND | {"is_constant": True},
}


def cases(dtypes, steps=STEPS, neurons=NEURONS):
    return [Case(dtype, T, N, misaligned) for dtype in dtypes for T in steps for N in neurons for misaligned in (False, True)]


@pytest.mark.parametrize("T", STEPS)
@pytest.mark.parametrize("op", ops.OF_FLOATS, ids=lambda op: op.__name__)
def test_sizes_dtypes_and_alignments(host_kernels, thread_order, op, T):
    for case in cases(FLOATING, (T,)):
        assert_same(host_kernels, op, case)


@pytest.mark.parametrize("T", STEPS)
@pytest.mark.parametrize("op", ops.OF_SPIKES, ids=lambda op: op.__name__)
def test_spike_formats(host_kernels, thread_order, op, T):
    for case in cases(FLOATING + INTEGER, (T,)):
        assert_same(host_kernels, op, case)


@pytest.mark.parametrize("inner", [1, 3, 16, 200])
def test_thresholds_of_runs_of_neurons(host_kernels, thread_order, inner):
    """Channels of 1 to 200 neurons each: a thread's neighbours may have the same threshold or not."""
    for case in cases(FLOATING, (1, 3)):
        assert_same(host_kernels, ops.clamped_forward, case, inner)
    # Rows in one block and a part of another; runs of less and more than a warp. Few, since threads that wait for each other are slow.
    for case in cases(FLOATING, (65,) if inner == 1 else (2,), (1288,)):
        assert_same(host_kernels, ops.clamped_thresholds, case, inner)


@pytest.mark.parametrize("words", [1, 2, 7, 9])
def test_packed_spike_count(host_kernels, thread_order, words):
    for case in cases(("uint16",), (words,)):
        assert_same(host_kernels, ops.packed_spike_count, case)


# 49 and 97: one step into the second and the third segment of a backward pass.
@pytest.mark.parametrize("T", [1, 5, 48, 49, 97])
@pytest.mark.parametrize("name", FORWARD_OPTIONS)
def test_lif_options_and_parameters_per_neuron(host_kernels, T, name):
    options = FORWARD_OPTIONS[name]
    for case in cases(FLOATING, (T,), (129, 1288)):
        for per_neuron in (False, True):
            assert_same(host_kernels, ops.lif_forward, case, options, per_neuron)
            for detach_reset in (False, True):
                assert_same(host_kernels, ops.lif_backward, case, options | {"detach_reset": detach_reset}, per_neuron)
            for weighting in (0, 1):
                assert_same(host_kernels, ops.lif_rate_forward, case, options, per_neuron, weighting)
                assert_same(host_kernels, ops.lif_rate_backward, case, options, per_neuron, weighting=weighting)


@pytest.mark.parametrize("reset", [0, 1, 2])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_every_reset_with_every_surrogate(host_kernels, surrogate, reset):
    for case in cases(FLOATING, (33,), (129, 1288)):
        for options in (ops.LIF, ops.ROUND):
            assert_same(host_kernels, ops.lif_backward, case, options | {"reset": reset}, True, SURROGATES[surrogate])


@pytest.mark.parametrize("absent", ["grad_spikes", "grad_v_last", "both"])
def test_absent_upstream_gradients(host_kernels, absent):
    present = {"grad_spikes": absent == "grad_v_last", "grad_v_last": absent == "grad_spikes"}
    for case in cases(FLOATING, (5, 100), (129, 1288)):
        assert_same(host_kernels, ops.lif_backward, case, ops.ROUND, True, **present)


def test_tssl_bp_without_spikes(host_kernels):
    for case in cases(FLOATING, (5,), (129, 1288)):
        assert_same(host_kernels, ops.tssl_bp_forward, case, spikes=False)


@pytest.mark.parametrize("op", [ops.feedback_step, ops.ternary_step], ids=lambda op: op.__name__)
@pytest.mark.parametrize("absent", [*ops.STEP_ARRAYS, "all", "all_but_a_current_per_step"])
def test_feedback_steps_with_what_is_optional(host_kernels, thread_order, op, absent):
    options = {"given": tuple(name for name in ops.STEP_ARRAYS if name != absent)}
    if absent.startswith("all"):
        options = {"given": ("current",), "current_per_step": True} if "but" in absent else {"given": ()}
    # 9: one step beyond those whose loads are issued at once.
    for case in cases(FLOATING, (1, 9), (129, 1288)):
        assert_same(host_kernels, op, case, **options)
        assert_same(host_kernels, op, case, **options, leak=1.0)


def test_flags_of_firing_steps(host_kernels, thread_order):
    """One neuron fires in every third step, wherever it lies; all other steps are silent."""
    for dtype in FLOATING:
        for N, neuron in ((1, 0), (1288, 0), (1288, 700), (1288, 1287), (129, 128)):
            case = Case(dtype, 100, N)
            drive = np.zeros((case.T, N))
            drive[1::3, neuron] = -1
            arrays = {"drive": case.data(drive), "membrane": case.state(np.zeros(N)), "rate": case.state(np.zeros(N)),
                      "spikes": case.data_out(case.T, N), "fired": np.full(case.T, 7, np.int32)}  # fmt: skip
            host_kernels.cuda.ternary_step(dtype, arrays, 1.0, 1.0, 1.0, 1.0)
            np.testing.assert_array_equal(arrays["fired"], np.arange(100) % 3 == 1)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_local_learning_with_every_surrogate(host_kernels, surrogate):
    for case in cases(FLOATING, (10,), (129, 288)):
        for wanted in (True, False):
            options = {"decay": 0.83, "threshold": 0.7, "surrogate": SURROGATES[surrogate]}
            assert_same(host_kernels, ops.local_learning_step, case, **options, optional=wanted)


def test_local_learning_leaves_out_what_is_0(host_kernels):
    """0.2 does not fire and the class has no error: infinite weights of the one and feedback of the other do not enter."""
    inf = np.inf
    state = {"membrane": [[0, 0]], "class_membrane": [[0, 0]], "count": [[0, 0]], "squared_error": [0]}
    data = {"current": [[0.2, 1.5]], "spikes": [[7, 7]], "gradient": [[7, 7]], "error": [[7, 7]]}
    matrices = {"weight": [[inf, 0.5], [-inf, 1.0]], "feedback": [[inf, np.nan], [2, 2]]}
    for dtype in FLOATING:
        case = Case(dtype, 2, 2)
        arrays = {name: case.state(values) for name, values in state.items()}
        arrays |= {name: case.data(values) for name, values in (data | matrices).items()}
        arrays["labels"] = np.array([1])
        host_kernels.cuda.local_learning_step(dtype, arrays, (0.5, 1.25, (6, 0.0, 1.0)), 1.0)
        np.testing.assert_array_equal(arrays["class_membrane"], [[0.5, 1.0]])
        np.testing.assert_array_equal(from_storage(arrays["gradient"], dtype), [[-2, -2]])


@pytest.mark.parametrize("samples", [0, 1, 2, 5])
def test_local_learning_of_samples(host_kernels, thread_order, samples):
    for case in cases(FLOATING, (1, 13), (0, 31, 33, 600)):
        assert_same(host_kernels, ops.local_learning_step, case, samples=samples)


@pytest.mark.parametrize("classes, units", [(1, 3), (1, 4)])
def test_local_learning_of_more_samples_than_rows_of_blocks(host_kernels, classes, units):
    """4096 rows of blocks."""
    assert_same(host_kernels, ops.local_learning_step, Case("float32", classes, units), samples=4099)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [1, 31, 50, 4096, 4097, 9001])
@pytest.mark.parametrize("rows", [1, 3, 70])
def test_row_sum(host_kernels, thread_order, rows, columns, dtype):
    for misaligned in (False, True):
        (inputs, actual), (_, expected) = (
            ops.row_sum(backend, rows, columns, dtype, misaligned) for backend in (host_kernels.cuda, host_kernels.cpu)
        )
        assert_same_bytes(actual, expected)
        # Summed in float64 either way; float32 results are rounded once.
        rtol = 1e-6 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(actual["sum"], inputs["x"].astype(np.float64).sum(1), rtol=rtol, atol=rtol * columns)


def test_row_sum_of_more_partial_sums_than_one_chunk(host_kernels, thread_order):
    columns = 4096 * (1024 + 100) + 5
    outputs = [ops.row_sum(backend, 1, columns)[1] for backend in (host_kernels.cuda, host_kernels.cpu)]
    assert_same_bytes(*outputs)


def test_row_sum_of_nothing(host_kernels):
    for rows, columns in ((0, 5), (3, 0)):
        _, actual = ops.row_sum(host_kernels.cuda, rows, columns)
        np.testing.assert_array_equal(actual["sum"], np.zeros(rows, np.float32))


def test_more_neurons_than_threads_in_the_largest_grid(host_kernels):
    """65535 blocks of 64 threads; one neuron a thread, since their number is odd."""
    case = Case("float16", 1, 65535 * 64 + 129)
    assert_same(host_kernels, ops.synaptic_filter_forward, case)


def test_more_than_2_31_elements(host_kernels):
    """Zeros that no one wrote take no memory, so only the packed words do (0.4 GB)."""
    T, N = 33, 2**26 + 16
    spikes, packed = np.zeros((T, N), np.uint8), np.zeros((3, N), np.uint16)
    places = [(0, 0), (0, N - 1), (31, N - 1), (32, 0), (32, N - 1)]
    for t, i in places:
        spikes[t, i] = 1
    host_kernels.cuda.pack_spikes("uint8", spikes, packed)
    assert [packed[t // 16, i] >> t % 16 & 1 for t, i in places] == [1] * 5
    assert np.count_nonzero(packed) == 5


def test_repeated_runs_agree(host_kernels):
    case = Case("float32", 33, 1288)
    for op in (ops.lif_backward, ops.tssl_bp_backward):
        host_kernels.set_thread_order("forward")
        _, first = op(host_kernels.cuda, case)
        for seed in range(3):
            host_kernels.set_thread_order("shuffled", seed)
            assert_same_bytes(op(host_kernels.cuda, case)[1], first)
    host_kernels.set_thread_order("forward")
