"""What autograd keeps for the backward pass."""

import torch


def saved_tensors(function, *arguments):
    """(what the function returns, the distinct storages that it keeps for its backward pass, but empty ones: a tensor in each)."""
    storages = {}

    def note(tensor):
        if not tensor.numel():  # torch.utils.checkpoint keeps an empty one, before torch 2.11
            return tensor
        storages[tensor.untyped_storage().data_ptr()] = tensor.detach()
        return storages[tensor.untyped_storage().data_ptr()]

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = function(*arguments)
    return outputs, list(storages.values())


def saved_bytes(function, *arguments):
    outputs, tensors = saved_tensors(function, *arguments)
    assert tensors or outputs is not None
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)
