"""What is measured, and the bytes it is said to move."""

import pytest
import spike_conv
import torch

import spikeops.functional as SF

from ops.providers import PUBLISHED, Bench, saved_bytes
from ops.registry import BACKWARD, FORWARD, FORWARD_GRAD, FULL, OPS, Case, cases

T, N = 20, 50
SEQUENCE = 4 * T * N  # bytes of T x N float32 values
STEP = 4 * N
WORDS = 2 * 2 * N  # two words of 16 spikes for each neuron


def test_every_op_is_measured():
    # Convolutions have sizes of their own: spike_conv.py.
    assert {op.function for op in OPS.values()} | {"spike_conv2d"} == set(SF.__all__)


def test_spike_conv_is_measured():
    cells = spike_conv.row("small", 20, 5, 8, 7, 3, 1, 0.1, rounds=2).strip("| ").split(" | ")
    assert cells[:4] == ["small", "20 x 5 x 8 x 8", "7 x 5 x 3 x 3", "10 %"]
    assert len(cells) == 10 and all(float(cell) >= 0 for cell in cells[4:])


@pytest.mark.parametrize(
    "name, forward, backward",
    [
        ("lif", 2 * SEQUENCE, 3 * SEQUENCE),
        ("lif_rate", SEQUENCE + STEP, 2 * SEQUENCE + STEP),
        ("tssl_bp", 2 * SEQUENCE, 3 * SEQUENCE),
        ("feedback_step_", 2 * SEQUENCE + 4 * STEP, None),  # membrane potentials and rates are read and written
        ("ternary_step_", 2 * SEQUENCE + 4 * STEP, None),
        ("clamped_lif", 2 * STEP, 2 * STEP),
        ("convex_snn_trial", 4 * (T + 1) * (2 + 1), None),  # one trial: two inputs, one readout
        ("synaptic_filter", 2 * SEQUENCE, 2 * SEQUENCE),
        ("spike_count", SEQUENCE + STEP, None),
        ("spike_count_packed", WORDS + STEP, None),
        ("pack_spikes", SEQUENCE + WORDS, None),
        ("unpack_spikes", WORDS + SEQUENCE, None),
        ("poisson_encode", STEP + SEQUENCE, None),
        ("latency_encode", STEP + SEQUENCE, None),
    ],
)
def test_minimum_bytes(name, forward, backward):
    bench = Bench(Case(OPS[name], T, N), "cpu")

    def need(mode):
        return bench.call("spikeops", mode).minimum_bytes

    assert need(FORWARD) == forward
    assert OPS[name].has_gradient == (backward is not None)
    if backward:
        assert (need(FORWARD_GRAD), need(BACKWARD), need(FULL)) == (forward, backward, forward + backward)


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
