"""What autograd keeps between forward and backward: x alone, whatever T."""

import pytest
import torch
from op_tests.neurons import currents

import spikeops.functional as SF
from spikeops import reference

OPS = {
    "lif": (lambda x: SF.lif(x, 0.9), 1),
    "lif_rate": (lambda x: SF.lif_rate(x, 0.9, weighting="decay"), 1),
    "tssl_bp": (lambda x: SF.tssl_bp(x), 1),
    "tssl_bp_spikes": (lambda x: SF.tssl_bp(x, return_spikes=True), 1),
    "synaptic_filter": (lambda x: SF.synaptic_filter(x, 3.0), 0),
    "spike_count": (SF.spike_count, 0),
}


def saved_bytes(function, *arguments):
    """Bytes of the distinct storages that are saved for the backward pass."""
    storages = {}

    def note(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = function(*arguments)
    assert storages or outputs is not None
    return sum(storages.values())


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_at_most_one_tensor_of_the_size_of_x(device, draw, name, layout):
    function, tensors = OPS[name]
    x = currents(draw, 30, (2, 3, 8, 9), torch.float32, layout, device).requires_grad_()
    assert saved_bytes(function, x) == tensors * x.untyped_storage().nbytes()


def test_parameters_are_all_that_is_saved_besides(device, draw):
    x = currents(draw, 30, (100,), torch.float32, device=device).requires_grad_()
    decay, v_init = torch.tensor(0.9, device=device, requires_grad=True), torch.zeros(100, device=device, requires_grad=True)
    saved = saved_bytes(lambda x: SF.lif(x, decay, v_init=v_init), x)
    assert saved == x.nbytes + decay.nbytes + v_init.nbytes


def test_the_hooks_see_what_is_saved(draw):
    """Otherwise the tests above would pass on nothing: the reference keeps several tensors of x's size."""
    x = currents(draw, 30, (100,), torch.float32).requires_grad_()
    assert saved_bytes(lambda x: reference.lif(x, reset="to"), x) >= 2 * x.nbytes
