"""Files as the published scripts write them, and the methods whose networks take them."""

import collections

import torch

from spiketrain import methods
from spiketrain.config import merge
from spiketrain.methods import load_config


def save(path, state, *wrappers, **beside):
    """What the published scripts write: a state_dict of DataParallel in a dictionary, for example."""
    content = collections.OrderedDict(state)
    for wrapper in wrappers:
        content = {"epoch": 7, wrapper: content, **beside}
    torch.save(content, path)
    return path


def method_with(name, input_shape, classes, **changes):
    config = load_config(merge({"method": {"name": name}}, changes))
    return methods.get(name)(config, input_shape, classes, torch.device("cpu"))
