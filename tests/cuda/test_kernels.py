"""The CUDA kernels' source, run on the host, against the CPU kernels: equal byte for byte, in every order of threads.

Both step neurons with the functions of kernels/math, so that any difference is a fault in how one of them walks memory.
Outputs lie in poisoned memory."""

import numpy as np
import pytest
import torch
from host_cuda import ops
from host_cuda.calls import DTYPES, SPIKE_DTYPES, STEPS, Case, assert_same, build, cases, cuda, run, taking_turns
from host_cuda.ops import SURROGATES
from op_tests.neurons import state_dtype
from op_tests.op_calls import CALLS, Inputs

pytestmark = pytest.mark.usefixtures("host_kernels")

FORWARD_OPTIONS = {
    "subtract": ops.LIF,
    "subtract-strict": ops.LIF | {"strict": True},
    "subtract-round": ops.ROUND,
    "to": ops.ROUND | {"reset": 1},
    "none": ops.ROUND | {"reset": 2},
    "constant": ops.ROUND | {"is_constant": True},
}


def same(op, case, *args, **options):
    return assert_same(*op(case, *args, **options), str(case), case.misaligned)


def schemas(namespace):
    """The schemas of a namespace of torch.ops, without its name."""
    qualified = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith(f"{namespace}::")]
    found = [str(getattr(getattr(torch.ops, namespace), name.split("::")[1]).default._schema) for name in qualified]
    return {schema.removeprefix(f"{namespace}::") for schema in found}


def test_every_op_runs_on_the_host():
    """Whatever has a CUDA kernel is tested here; what has none is for the CPU only."""
    assert schemas("spikeops_testing_cpu") == schemas("spikeops")
    missing = schemas("spikeops") - schemas("spikeops_testing_cuda")
    assert {schema.split("(")[0] for schema in missing} == {
        "event_conv_", "event_conv_weight", "event_matmul_", "find_events", "narrow_matmul", "narrow_matmul_weight", "narrow_matmul_input",
        "pool_", "pool_backward_",
    }  # fmt: skip
    assert schemas("spikeops_testing_cuda") < schemas("spikeops")
    called = {build(name, Case(torch.float32, 2, 3))[0] for name in CALLS}
    assert called >= {schema.split("(")[0] for schema in schemas("spikeops_testing_cuda")}, "an op without a call in op_calls.CALLS"


@pytest.mark.parametrize("name", CALLS)
def test_sizes_dtypes_and_alignments(name):
    for case in taking_turns([*CALLS].index(name)):
        assert_same(*build(name, case), str(case), case.misaligned)


@pytest.mark.parametrize("thread_order", ["reverse", "shuffled"], indirect=True)  # "forward": above
@pytest.mark.parametrize("name", CALLS)
def test_orders_of_threads(thread_order, name):
    for case in taking_turns([*CALLS].index(name), steps=(5, 100), neurons=(129, 1288), misaligned=(False,)):
        assert_same(*build(name, case), str(case))


@pytest.mark.parametrize("T", STEPS)
@pytest.mark.parametrize("op", ops.OF_SPIKES, ids=lambda op: op.__name__)
def test_spike_formats(thread_order, op, T):
    for case in cases(SPIKE_DTYPES, (T,)):
        same(op, case)


@pytest.mark.parametrize("inner", [1, 3, 16, 200])
def test_thresholds_of_runs_of_neurons(thread_order, inner):
    """Channels of 1 to 200 neurons each: a thread's neighbours may have the same threshold or not."""
    # 8 samples: of 129 neurons, so that a thread's neighbours are in two of them, where the first channel follows the last.
    for case in cases(DTYPES, (1, 3, 8)):
        same(ops.clamped_forward, case, inner)
    # Rows in one block and a part of another; runs of less and more than a warp. Few, since threads that wait for each other are slow.
    for case in cases(DTYPES, (65,) if inner == 1 else (2,), (1288,)):
        same(ops.clamped_thresholds, case, inner)


# Of runs of neurons and of blocks of rows: parts of a block, of the lanes of a warp, and of the blocks that its lanes add; one step into
# the second and the third segment of a backward pass.
@pytest.mark.parametrize("T, shape", [(2, (70, 3)), (49, (3, 2, 33)), (97, (1, 2, 40)), (5, (20, 2, 3)), (2, (2, 0))], ids=str)
@pytest.mark.parametrize("name", [name for name in CALLS if name.startswith(("channel_statistics", "batch_norm"))])
def test_sums_of_channels(thread_order, name, T, shape):
    for dtype in (torch.float32, torch.float16):  # others in one of the tests above
        for layout in ("contiguous", "channels_last"):
            op, arguments = CALLS[name](Inputs(T, shape, dtype, layout))
            assert_same(op, arguments, f"{dtype} {layout}")


@pytest.mark.parametrize("words", [1, 2, 7, 9])
def test_packed_spike_count(thread_order, words):
    for case in cases((torch.float32,), (16 * words,)):
        assert_same("spike_count", (ops.packed(case),), str(case), case.misaligned)


# 49 and 97: one step into the second and the third segment of a backward pass.
@pytest.mark.parametrize("T", [1, 5, 48, 49, 97])
@pytest.mark.parametrize("name", FORWARD_OPTIONS)
def test_lif_options_and_parameters_per_neuron(T, name):
    options = FORWARD_OPTIONS[name]
    for case in cases(DTYPES, (T,), (129, 1288)):
        for per_neuron in (False, True):
            same(ops.lif_forward, case, options, per_neuron)
            for detach_reset in (False, True):
                same(ops.lif_backward, case, options | {"detach_reset": detach_reset}, per_neuron)
            for weighting in (0, 1):
                same(ops.lif_rate_forward, case, options, per_neuron, weighting)
                same(ops.lif_rate_backward, case, options, per_neuron, weighting=weighting)


@pytest.mark.parametrize("reset", [0, 1, 2])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_every_reset_with_every_surrogate(surrogate, reset):
    for case in cases(DTYPES, (33,), (129, 1288)):
        for options in (ops.LIF, ops.ROUND):
            same(ops.lif_backward, case, options | {"reset": reset}, True, SURROGATES[surrogate])


@pytest.mark.parametrize("absent", ["grad_spikes", "grad_v_last", "both"])
def test_absent_upstream_gradients(absent):
    present = {"grad_spikes": absent == "grad_v_last", "grad_v_last": absent == "grad_spikes"}
    for case in cases(DTYPES, (5, 100), (129, 1288)):
        same(ops.lif_backward, case, ops.ROUND, True, **present)


@pytest.mark.parametrize("op", [ops.feedback_step, ops.ternary_step], ids=lambda op: op.__name__)
@pytest.mark.parametrize("absent", [*ops.STEP_TENSORS, "all", "all_but_a_current_per_step"])
def test_feedback_steps_with_what_is_optional(thread_order, op, absent):
    options = {"given": tuple(name for name in ops.STEP_TENSORS if name != absent)}
    if absent.startswith("all"):
        options = {"given": ("current",), "current_per_step": True} if "but" in absent else {"given": ()}
    # 9: one step beyond those whose loads are issued at once.
    for case in cases(DTYPES, (1, 9), (129, 1288)):
        same(op, case, **options)
        same(op, case, **options, leak=1.0)


def test_flags_of_firing_steps(thread_order):
    """One neuron fires in every third step, wherever it lies; all other steps are silent."""
    for dtype in DTYPES:
        for N, neuron in ((1, 0), (1288, 0), (1288, 700), (1288, 1287), (129, 128)):
            _, (membrane, spikes, rate, drive, *_) = ops.ternary_step(Case(dtype, 100, N))
            drive, fired = torch.zeros_like(drive), torch.full((100,), 7, dtype=torch.int32)
            drive[1::3, neuron] = -1
            tensors = (membrane.zero_(), spikes, rate, drive, None, None, None, fired)
            written = run(cuda(), "ternary_step_", (*tensors, 1.0, 1.0, 1.0, 1.0))
            assert torch.equal(written["fired"], (torch.arange(100) % 3 == 1).int())


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_local_learning_with_every_surrogate(surrogate):
    for case in cases(DTYPES, (10,), (129, 288)):
        for wanted in (True, False):
            options = {"decay": 0.83, "threshold": 0.7, "surrogate": SURROGATES[surrogate]}
            same(ops.local_learning_step, case, **options, optional=wanted)


def test_local_learning_leaves_out_what_is_0():
    """0.2 does not fire and the class has no error: infinite weights of the one and feedback of the other do not enter."""
    inf, nan = torch.inf, torch.nan
    for dtype in DTYPES:
        zeros, nonsense = torch.zeros(1, 2, dtype=state_dtype(dtype)), torch.full((1, 2), nan, dtype=dtype)
        values = [[0.2, 1.5]], [[inf, 0.5], [-inf, 1.0]], [[inf, nan], [2, 2]]
        current, weight, feedback = (torch.tensor(numbers, dtype=dtype) for numbers in values)
        of_units, of_classes = (zeros, nonsense, nonsense, None, None), (zeros, zeros, zeros[0, :1], nonsense, None)
        numbers = [0.5, 1.25, 0.0, 1.0, 1.0], 6
        arguments = (*of_units, *of_classes, current, weight, feedback, torch.tensor([1]), *numbers)
        written = run(cuda(), "local_learning_step_", arguments)
        assert written["class_membrane"].tolist() == [[0.5, 1.0]]
        assert written["gradient"].tolist() == [[-2, -2]]


@pytest.mark.parametrize("classes", [1, 2, 31, 32, 33, 100])
def test_local_learning_of_classes_and_units(thread_order, classes):
    for case in cases(DTYPES, (classes,), (1, 129, 1288)):
        same(ops.local_learning_step, case)


@pytest.mark.parametrize("samples", [0, 1, 2, 5])
def test_local_learning_of_samples(thread_order, samples):
    for case in cases(DTYPES, (1, 13), (0, 31, 33, 600)):
        same(ops.local_learning_step, case, samples=samples)


@pytest.mark.parametrize("classes, units", [(1, 3), (1, 4)])
def test_local_learning_of_more_samples_than_rows_of_blocks(classes, units):
    """4096 rows of blocks."""
    same(ops.local_learning_step, Case(torch.float32, classes, units), samples=4099)


def row_sum(rows, columns, dtype=torch.float32, misaligned=False):
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows + columns), dtype=torch.float64).to(dtype)
    (total,) = assert_same("row_sum", (x,), f"{rows} {columns}", misaligned).values()
    return x, total


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [1, 31, 50, 4096, 4097, 9001])
@pytest.mark.parametrize("rows", [1, 3, 70])
def test_row_sum(thread_order, rows, columns, dtype):
    for misaligned in (False, True):
        x, total = row_sum(rows, columns, dtype, misaligned)
        # Summed in float64 either way; float32 results are rounded once.
        rtol = 1e-6 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(total.double(), x.double().sum(1), rtol=rtol, atol=rtol * columns)


def test_row_sum_of_more_partial_sums_than_one_chunk(thread_order):
    row_sum(1, 4096 * (1024 + 100) + 5)


def test_row_sum_of_nothing():
    assert row_sum(0, 5)[1].shape == (0,)
    assert row_sum(3, 0)[1].tolist() == [0, 0, 0]


def test_more_neurons_than_threads_in_the_largest_grid():
    """65535 blocks of 64 threads; one neuron a thread, since their number is odd."""
    x = ops.currents(Case(torch.float16, 1, 65535 * 64 + 129))
    assert_same("synaptic_filter_forward", (x, ops.TAU_S))


def test_more_than_2_31_elements():
    """Zeros that no one wrote take no memory, so only the packed words do (0.4 GB)."""
    T, N = 33, 2**26 + 16
    spikes = torch.from_numpy(np.zeros((T, N), np.uint8))  # torch.zeros would write them
    places = [(0, 0), (0, N - 1), (31, N - 1), (32, 0), (32, N - 1)]
    for t, i in places:
        spikes[t, i] = 1
    packed = cuda().pack_spikes(spikes).view(torch.int16)
    assert [packed[t // 16, i] >> t % 16 & 1 for t, i in places] == [1] * 5
    assert packed.count_nonzero() == 5


def test_repeated_runs_agree(host_kernels):
    case = Case(torch.float32, 33, 1288)
    for op in (ops.lif_backward, ops.tssl_bp_backward):
        host_kernels.set_thread_order("forward")
        first = run(cuda(), *op(case))
        for seed in range(3):
            host_kernels.set_thread_order("shuffled", seed)
            again = run(cuda(), *op(case))
            assert all(torch.equal(again[name], e) for name, e in first.items())
    host_kernels.set_thread_order("forward")
