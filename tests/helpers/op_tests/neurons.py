"""Inputs and parameters of neurons for tests."""

import torch

from op_tests.layouts import lay_out
from spikeops._dtypes import state_dtype

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# Around the borders of packed words, registers and segments, and a long one.
STEPS = (1, 2, 5, 31, 32, 33, 100)
# One neuron without an axis of its own, none, one, an odd number, several tiles of neurons, images.
SHAPES = ((), (0,), (1,), (129,), (2500,), (2, 1300), (2, 3, 5, 7))


def currents(draw, T, shape, dtype, layout="contiguous", device="cpu"):
    """Input that makes neurons of threshold 1 fire every few steps."""
    values = 0.4 + 0.7 * torch.randn(T, *shape, generator=draw, dtype=torch.float64)
    return lay_out(values.to(dtype), layout, device)


def spike_trains(draw, T, shape, dtype, layout="contiguous", device="cpu", rate=0.3):
    return lay_out((torch.rand(T, *shape, generator=draw) < rate).to(dtype), layout, device)


# How a decay or an initial membrane potential may be spread over neurons.
SPREADS = ("number", "one", "per_channel", "per_neuron")


def parameter_shape(spread, shape):
    if spread == "one" or not shape:
        return ()
    if spread == "per_channel":
        return (shape[0], *[1] * (len(shape) - 1)) if len(shape) < 3 else (shape[1], *[1] * (len(shape) - 2))
    return shape


def parameter(draw, spread, shape, dtype, low, high, device="cpu"):
    """A tensor of random numbers between low and high; for "number", one as a float."""
    values = low + (high - low) * torch.rand(parameter_shape(spread, shape), generator=draw, dtype=torch.float64)
    return (low + high) / 2 if spread == "number" else values.to(dtype).to(device)


def split_arguments(**arguments):
    """(tensors, options): what can have a gradient, and what cannot. None is left out."""
    given = {name: value for name, value in arguments.items() if value is not None}
    tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
    return tensors, {name: value for name, value in given.items() if name not in tensors}


__all__ = ["DTYPES", "SHAPES", "SPREADS", "STEPS", "currents", "parameter", "parameter_shape", "spike_trains", "split_arguments",
           "state_dtype"]  # fmt: skip
