"""Schemas, fake kernels and autograd formulas of the Triton ops fit what the kernels do."""

import pytest
import torch

from spikeops.triton import IMPLEMENTATIONS

X = torch.randn(5, 2, 4, 3, 3, generator=torch.Generator().manual_seed(0)).permute(0, 1, 4, 2, 3)
DECAY, V_INIT = torch.full((3, 1, 1), 0.5), torch.zeros(2, 3, 4, 3)
NEURON = (X, DECAY, V_INIT, (0.5, 1.0, 1.0, 1.0, 0.0, 0.0, 3.0, 1.0), (0, 0, 0, 0))
BARE_NEURON = (X, None, None, *NEURON[3:])
SEED = torch.tensor([3])
PACKED = torch.ones(1, 4, 2, dtype=torch.int32).to(torch.uint16).permute(0, 2, 1)

SAMPLES = {
    "lif_forward": [NEURON, BARE_NEURON],
    "lif_backward": [(X, V_INIT, *NEURON, True, True), (None, V_INIT, *BARE_NEURON, False, False)],
    "lif_rate_forward": [(*NEURON, 0), (*BARE_NEURON, 1)],
    "lif_rate_backward": [(X[0], *NEURON, 1, True, True), (X[0], *BARE_NEURON, 0, False, False)],
    "tssl_bp_forward": [(X, 5.0, 3.0, 1.0, True), (X, 5.0, 3.0, 1.0, False)],
    "tssl_bp_backward": [(X, X, 5.0, 3.0, 1.0)],
    "synaptic_filter_forward": [(X, 3.0)],
    "synaptic_filter_backward": [(X, 3.0)],
    "spike_count": [(X,), (X > 0,), (PACKED,)],
    "pack_spikes": [(X,)],
    "unpack_spikes": [(PACKED, 5, torch.float32)],
    "poisson_encode": [(X[0], 5, SEED)],
    "latency_encode": [(X[0], 5)],
    "row_sum": [(torch.ones(3, 7),)],
}


def test_every_op_has_an_implementation():
    names = {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith("spikeops::")}
    assert names == set(IMPLEMENTATIONS) == set(SAMPLES)
    for name in names:
        native, triton = (str(getattr(ops, name).default._schema) for ops in (torch.ops.spikeops, torch.ops.spikeops_triton))
        assert triton == native.replace("spikeops::", "spikeops_triton::")


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_opcheck(name):
    op = getattr(torch.ops.spikeops_triton, name).default
    for arguments in SAMPLES[name]:
        torch.library.opcheck(op, arguments, test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))
