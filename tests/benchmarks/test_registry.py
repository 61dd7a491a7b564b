"""What is measured, and the bytes it is said to move."""

import op_cases
import pooling
import pytest
import spike_conv
import spike_linear
import torch

import spikeops.functional as SF

from ops.providers import PUBLISHED, Bench, saved_bytes
from ops.registry import BACKWARD, FORWARD, FORWARD_GRAD, FULL, OPS, Case, cases, is_variant

T, N = 20, 50
SEQUENCE = 4 * T * N  # bytes of T x N float32 values
STEP = 4 * N


@pytest.mark.parametrize("function", sorted(set(SF.__all__) - {"avg_pool2d", "spike_conv2d", "spike_linear"}))  # which have sizes of their own
def test_every_op_is_measured(function):
    measured = {op.function for op in OPS.values()}
    assert function in measured, f"{function} is not measured: add an Op to MEASURED of its file in tests/helpers/op_cases"


def test_only_ops_are_measured():
    assert {op.function for op in OPS.values()} <= set(SF.__all__)


def test_spike_conv_is_measured():
    cells = spike_conv.row("small", 20, 5, 8, 7, 3, 1, 0.1, rounds=2).strip("| ").split(" | ")
    assert cells[:4] == ["small", "20 x 5 x 8 x 8", "7 x 5 x 3 x 3", "10 %"]
    assert len(cells) == 10 and all(float(cell) >= 0 for cell in cells[4:])


def test_pooling_is_measured():
    cells = pooling.row(3, 5, 12, "channels last", rounds=2)
    assert cells[:2] == ["3 x 5 x 12 x 12", "channels last"]
    assert len(cells) == len(pooling.HEADER) and all(float(cell) > 0 for cell in cells[2:])


def test_spike_linear_is_measured():
    cells = spike_linear.row("small", 20, 30, 7, 0.1, rounds=2).strip("| ").split(" | ")
    assert cells[:4] == ["small", "20 x 30", "7 x 30", "10 %"]
    assert len(cells) == 10 and all(float(cell) >= 0 for cell in cells[4:])


@pytest.mark.parametrize("name", OPS)
def test_minimum_bytes(name):
    """The inputs that are made need what the case file says in numbers."""
    bench = Bench(Case(OPS[name], T, N), "cpu")
    forward, backward = OPS[name].moves(T, N)

    def need(mode):
        return bench.call("spikeops", mode).minimum_bytes

    assert need(FORWARD) == forward
    assert OPS[name].has_gradient == (backward is not None)
    if backward:
        with_gradient = forward + OPS[name].keeps(T, N)
        assert (need(FORWARD_GRAD), need(BACKWARD), need(FULL)) == (with_gradient, backward, with_gradient + backward)


@pytest.mark.parametrize("name, forward, backward", [
    ("lif", 2 * SEQUENCE, 3 * SEQUENCE), ("lif_rate", SEQUENCE + STEP, 2 * SEQUENCE + STEP), ("tssl_bp", 2 * SEQUENCE, 3 * SEQUENCE),
    ("feedback_step_", 2 * SEQUENCE + 4 * STEP, None), ("convex_snn_trial", 4 * (T + 1) * (2 + 1), None),
    ("synaptic_filter", 2 * SEQUENCE, 2 * SEQUENCE), ("unpack_spikes", 2 * 2 * N + SEQUENCE, None),
    ("poisson_encode", STEP + SEQUENCE, None),
])  # fmt: skip
def test_bytes_in_the_case_files(name, forward, backward):
    assert OPS[name].moves(T, N) == (forward, backward)


def test_variants_are_known_by_their_names():
    """Charts have nothing but the names of a table."""
    assert {name for name in OPS if is_variant(name)} == {name for name, op in op_cases.MEASURED.items() if op.is_variant}
    assert not is_variant("training_step tsslbp-mnist-cnn")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_no_case_is_measured_twice(device):
    listed = cases(device)
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("mode", [FORWARD, FORWARD_GRAD, BACKWARD, FULL])
def test_a_copy_moves_the_same_number_of_bytes(mode):
    bench = Bench(Case(OPS["lif"], T, N), "cpu")
    need = bench.call("copy", mode).minimum_bytes
    (source, target) = bench._copies[need // 2]
    assert source.nbytes + target.nbytes == need
    bench.call("copy", mode).run()
    assert torch.equal(source, target)


@pytest.mark.parametrize("provider, tensors", [("spikeops", 1), ("eager", 4), (PUBLISHED, 4)])
def test_saved_bytes_of_tssl_bp(provider, tensors):
    assert saved_bytes(Bench(Case(OPS["tssl_bp"], T, N), "cpu"), provider) == tensors * SEQUENCE
