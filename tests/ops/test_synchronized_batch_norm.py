"""Statistics of several processes: two of them with parts of a batch do what one does with the whole batch."""

import pytest
import torch
from op_tests.norm_processes import SPLITS, WAYS, call, name_of, run_two, tensors

import spikeops
import spikeops.functional as SF


@pytest.fixture(scope="module")
def found():
    return run_two()


# Sums in another order; a gradient of float32 is a difference of such sums.
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("backend, dtype", WAYS)
def test_two_processes_are_one(found, backend, dtype, split):
    """With parts of the batch of any size, one of them without samples. Parameters' gradients are those of a process's own samples, as
    DistributedDataParallel takes them."""
    first, second = found[name_of(backend, dtype, split)]
    whole = call(tensors(dtype), slice(None))
    both = {
        "spikes": torch.cat((first["spikes"], second["spikes"]), 1), "v_last": torch.cat((first["v_last"], second["v_last"])),
        "grad_x": torch.cat((first["grad_x"], second["grad_x"]), 1), "grad_weight": first["grad_weight"] + second["grad_weight"],
        "grad_bias": first["grad_bias"] + second["grad_bias"],
    }  # fmt: skip
    assert torch.equal(both["spikes"], whole["spikes"]), "other spikes than of the whole batch"
    for name, actual in both.items():
        torch.testing.assert_close(actual, whole[name], rtol=ROUNDING[dtype], atol=10 * ROUNDING[dtype], msg=lambda text, name=name: f"{name}: {text}")
    for part in (first, second):
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(part[name], whole[name], rtol=ROUNDING[dtype], atol=ROUNDING[dtype])


def test_one_value_in_all_processes_together(found):
    assert found["refused"] == ["batch_norm_lif: expected more than one value per channel when training, got 1 in all processes together."] * 2


def test_processes_that_are_not_synchronized_have_statistics_of_their_own(found):
    for rank, part in enumerate(found["apart"]):
        alone = call(tensors(), slice(2 * rank, 2 * rank + 2))
        for name, value in alone.items():
            assert torch.equal(part[name], value), name


@pytest.mark.parametrize("backend", ["kernels", "reference"])
def test_without_torch_distributed_it_changes_nothing(backend):
    with spikeops.backend("reference" if backend == "reference" else "auto"):
        actual, expected = (call(tensors(), slice(None), synchronized=synchronized) for synchronized in (True, False))
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name
    with pytest.raises(ValueError, match="batch_norm_lif: expected more than one value per channel when training, got 1"):
        SF.batch_norm_lif(torch.ones(1, 1, 2), training=True, synchronized=True)
