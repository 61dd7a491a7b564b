"""Two processes that share batches of 8, 8 and 1 samples, so that one gets nothing of the last, against the same epoch by hand."""

import pytest
import torch
from step_tests import processes
from step_tests.by_hand import CASES, WITH_ONE_GRADIENT, epoch_by_hand

SHARED = [name for name in CASES if not name.startswith("local")]  # local losses compare all samples of a batch


@pytest.fixture(scope="module")
def found():
    return processes.run(SHARED)


@pytest.mark.parametrize("name", SHARED)
def test_all_begin_and_end_with_the_same_weights(found, name):
    first, *others = (of_rank[name] for of_rank in found)
    for other in others:
        for key in first["after"]:
            if key.endswith(("weight", "bias", "original", "running_mean", "running_var")):  # each process's own are estimates of norms
                assert torch.equal(first["before"][key], other["before"][key]) and torch.equal(first["after"][key], other["after"][key]), key
        assert other["metrics"]["train_loss"] == first["metrics"]["train_loss"]
        assert other["metrics"]["test_accuracy"] == first["metrics"]["test_accuracy"]
        assert other["steps"] == first["steps"] == 3


@pytest.mark.parametrize("name", SHARED)
def test_gradients_are_added_up_then_clipped_then_applied(found, name):
    actual = found[0][name]
    # Samples of layers that learn on their own do not see each other: as in one process.
    expected = epoch_by_hand(name, actual["before"], processes.SAMPLES, processes.PROCESSES if name in WITH_ONE_GRADIENT else 1)
    for key, value in (expected.weights | expected.statistics).items():
        largest = (actual["after"][key] - value).abs().max().item()
        assert largest <= 2e-5, f"{key} differs by {largest:.3g}"  # as in test_steps_by_hand.py
    assert actual["metrics"]["train_loss"] == pytest.approx(expected.loss, rel=1e-5)
    assert actual["metrics"]["train_accuracy"] == expected.correct / processes.SAMPLES


def test_sums_and_messages(found):
    for rank, exchanged in enumerate(of_rank["exchanged"] for of_rank in found):
        constant, number, matrix = exchanged["sums"]
        assert torch.equal(constant, torch.full((2, 3), 3.0)) and number.item() == 30
        assert matrix.tolist() == [[0, 2], [1, 3]]  # 0 + 1 times, of another memory order than it was sent in
        assert exchanged["gathered"] == [0, 1]
        assert exchanged["any"] == [True, False, True]
        assert exchanged["shared"] == "from 0"
        assert exchanged["ranks"] == [rank, 2, int(rank == 0)]
