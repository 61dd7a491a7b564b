"""Two processes against one that has the whole batch: synchronized batch norm, sums of gradients, tests of shared-out samples."""

import pytest
import torch
from step_tests import together
from torch import nn

from spiketrain.data.base import Batches, ImageSplit


@pytest.fixture(scope="module")
def found():
    return together.run()


@pytest.mark.parametrize("split", together.SPLITS, ids=str)
@pytest.mark.parametrize("number", range(len(together.SHAPES)))
def test_batch_norm_is_that_of_the_whole_batch(found, number, split):
    whole = together.normed(together.NORMS[number], together.SHAPES[number], slice(None), momentum=0.3)
    first, second = (of_rank[f"norm {number} {split}"] for of_rank in found)
    assert_same(first, second, whole)


def test_cumulative_statistics(found):
    whole = together.normed(nn.BatchNorm2d, (4, 3, 5), slice(None), momentum=None)
    assert_same(found[0]["cumulative"], found[1]["cumulative"], whole)
    assert whole["num_batches_tracked"] == 2


def assert_same(first, second, whole):
    """float64 throughout, sums of at most 60 numbers near 6: another order moves the 15th digit."""
    for name in ("y", "grad_x"):
        torch.testing.assert_close(torch.cat([first[name], second[name]]), whole[name], rtol=1e-12, atol=1e-12)
    for name in ("grad_weight", "grad_bias"):
        torch.testing.assert_close(first[name] + second[name], whole[name], rtol=1e-12, atol=1e-12)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], whole[name], rtol=1e-12, atol=1e-12)


def test_one_number_of_a_channel_has_no_variance(found):
    assert all("more than 1 value per channel" in of_rank["refused"] for of_rank in found)


def test_which_networks_are_synchronized(found):
    # BatchNorm2d, SyncBatchNorm, BatchNormLIF, BatchNormLIF(synchronized=True), GroupNorm; without the option, with it
    assert found[0]["marked"] == found[1]["marked"] == [[False, True], [True, True], [False, True], [True, True], [False, False]]


def test_training_with_synchronized_batch_norm_is_that_of_one_process(found):
    """A process without samples in the last step takes part in its statistics, too."""
    alone, (first, second) = together.epoch(together.NORMED), (of_rank["epoch"] for of_rank in found)
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), f"{name} differs between the processes"
        # Three steps of AdamW from gradients of float32, whose last bits differ.
        torch.testing.assert_close(value, alone["state"][name], rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
    assert first["loss"] == second["loss"] == pytest.approx(alone["loss"], rel=1e-4)


def test_a_process_that_never_has_a_sample_changes_nothing(found):
    """Its running statistics are those that it began with, and no part of the mean."""
    alone = together.epoch(together.IDLE)
    for of_rank in found:
        for name, value in alone["state"].items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(of_rank["idle"]["state"][name], value), name
        assert torch.equal(of_rank["idle"]["confusion"], alone["confusion"])


def test_tests_count_each_sample_once(found):
    alone, (first, second) = together.epoch(together.NORMED), (of_rank["epoch"] for of_rank in found)
    assert first["accuracy"] == second["accuracy"] == alone["accuracy"]
    assert torch.equal(first["confusion"], alone["confusion"]) and torch.equal(second["confusion"], alone["confusion"])
    assert first["confusion"].sum() == together.NORMED["trainer"]["limit_test"]


@pytest.mark.parametrize("samples", [1, 2, 7, 20, 21, 41])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_each_sample_goes_to_one_process(samples, processes):
    images = torch.arange(samples, dtype=torch.uint8).view(-1, 1, 1, 1)
    split = ImageSplit(images, torch.arange(samples), (0.0,), (1.0,))
    shares = [[labels.tolist() for _, labels in Batches(split, 20, None, rank, processes)] for rank in range(processes)]
    assert len({len(batches) for batches in shares}) == 1, "all processes keep step"
    assert sorted(label for batches in shares for batch in batches for label in batch) == list(range(samples))


@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize("network", ["plain", "shared", "skipped", "unused"])
def test_gradients_that_go_out_early_are_the_same_sums(found, network, step):
    for rank, of_rank in enumerate(found):
        early, whole, sent = of_rank["sums"][f"{network} {step}"]
        for number, (one, other) in enumerate(zip(early, whole)):
            # What no process has used has no gradient, as in one process: weight decay would move it.
            assert (other is None) == (network == "unused" and number == 2)
            assert one is None if other is None else torch.equal(one, other), f"layer {number} of process {rank}"
        # Three messages: of layers 4 and 3, of 2 and 1, of 0. In the first step it is found out whether gradients come in parts, as those of a
        # layer do that two checkpoints share; behind a gradient that never comes nothing is sent early.
        assert sent == (0 if step == 0 or network == "shared" else 1 if network == "unused" or (network == "skipped" and rank == 1) else 3)
