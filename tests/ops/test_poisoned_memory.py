"""Every op writes every element of its outputs: they are allocated over NaN."""

import pytest
import torch
from op_tests.neurons import DTYPES
from op_tests.op_calls import CALLS, Inputs, prepare
from op_tests.poison import run_over_nan

pytestmark = pytest.mark.usefixtures("native")


def test_poison_reaches_unwritten_memory(device):
    """Were an output not written, this is what it would hold. The allocator keeps its own notes in the first bytes of a block."""
    unwritten, part = run_over_nan(lambda: (torch.empty(40_000, device=device), torch.empty(5000, device=device)))
    assert unwritten[8:].isnan().all() and part[8:].isnan().all()


# All but the sums of a few long rows or channels and the learned weights of a few neurons: the allocator treats so few numbers in
# another way.
@pytest.mark.parametrize("name", sorted(set(CALLS) - {"row_sum/long_rows", "clamped_lif_backward", "convex_snn_trial/learning"}))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "size", [dict(T=3, shape=(10, 521)), dict(T=17, shape=(2, 3, 31, 33), layout="channels_last")], ids=["T3", "T17"]
)
def test_outputs_are_written_everywhere(device, name, dtype, size):
    run = prepare(name, Inputs(dtype=dtype, device=device, **size))
    expected = run()
    for a, e in zip(run_over_nan(run), expected, strict=True):
        assert a.dtype == torch.uint16 or a.isfinite().all()
        assert torch.equal(a, e)
