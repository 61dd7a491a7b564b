"""What vmap makes of ops: a batch becomes one more axis of neurons, or the op is called once for each of its items.

The rules here are of the form that ``_register.op`` takes: ``rule(call, ops)`` -> a rule of ``torch.library.register_vmap``.
"""

from __future__ import annotations

import torch

# How a tensor is laid out, and so where the batch goes.
SEQUENCE = "sequence"  # (T, ...): behind the time axis
STEP = "step"  # (...), one number or spike per neuron: in front
PARAMETER = "parameter"  # broadcast to (...): in front of as many axes as (...) has


def as_neurons(layouts):
    """Neurons do not see each other, so that the batch may be one more axis of them.

    Args:
        layouts: ``layouts(*args)`` -> (layout of each argument, None for what is no tensor; layout of each output, None for one that is
            absent).
    """

    def make(call, ops):
        def rule(info, in_dims, *args):
            inputs, outputs = layouts(*args)
            size, neuron_axes = info.batch_size, _neuron_axes(args, in_dims, inputs)
            result = call(ops, *(_fold(*each, size, neuron_axes) for each in zip(args, in_dims, inputs)))
            dims = tuple(None if layout is None else int(layout == SEQUENCE) for layout in outputs)
            return result, dims if isinstance(result, tuple) else dims[0]

        return rule

    return make


def one_by_one(call, ops):
    """For ops whose neurons see each other, or whose random numbers belong to places in memory: each item by itself."""

    def rule(info, in_dims, *args):
        results = [
            call(ops, *(arg.select(dim, item) if isinstance(dim, int) else arg for arg, dim in zip(args, in_dims)))
            for item in range(info.batch_size)
        ]
        if not isinstance(results[0], tuple):
            return torch.stack(results), 0
        stacked = tuple(None if of_each[0] is None else torch.stack(of_each) for of_each in zip(*results))
        return stacked, tuple(None if output is None else 0 for output in stacked)

    return rule


def as_channels(axes):
    """For ops with numbers that the neurons of a channel share: the batch becomes more channels, so that each item has its own.

    Args:
        axes: ``axes(*args)`` -> (the axis of the channels in each argument, None for what has none; that in each output, None for one that
            is absent).
    """

    def make(call, ops):
        def rule(info, in_dims, *args):
            inputs, outputs = axes(*args)
            size = info.batch_size
            result = call(ops, *(_as_channels(*each, size) for each in zip(args, in_dims, inputs)))
            if not isinstance(result, tuple):
                return result.unflatten(outputs[0], (size, -1)), outputs[0]
            return tuple(
                output if axis is None else output.unflatten(axis, (size, -1)) for output, axis in zip(result, outputs)
            ), outputs

        return rule

    return make


def _as_channels(tensor, dim, axis, size):
    """The batch in front of the axis of the channels, as one axis with it."""
    if axis is None or tensor is None:
        return tensor
    if dim is None:
        tensor = tensor.unsqueeze(axis).expand(*tensor.shape[:axis], size, *tensor.shape[axis:])
    else:
        tensor = tensor.movedim(dim, axis)
    return tensor.flatten(axis, axis + 1)


def rows(call, ops):
    """For an op on a matrix whose rows do not see each other."""

    def rule(info, in_dims, x):
        (dim,) = in_dims
        return call(ops, x.movedim(dim, 0).flatten(0, 1)).unflatten(0, (info.batch_size, -1)), 0

    return rule


def _neuron_axes(args, in_dims, layouts) -> int:
    """How many axes (...) has, without the batch."""
    for arg, dim, layout in zip(args, in_dims, layouts):
        if arg is not None and layout in (SEQUENCE, STEP):
            return arg.dim() - (dim is not None) - (layout == SEQUENCE)
    raise AssertionError("an op without a sequence or a step")


def _fold(arg, dim, layout, size, neuron_axes):
    if layout is None or arg is None:
        return arg
    if layout == PARAMETER:
        if dim is None:
            return arg
        arg = arg.movedim(dim, 0)
        missing = neuron_axes - (arg.dim() - 1)
        return arg.reshape(size, *[1] * missing, *arg.shape[1:])
    place = int(layout == SEQUENCE)
    if dim is None:
        return arg.unsqueeze(place).expand(*arg.shape[:place], size, *arg.shape[place:])
    return arg.movedim(dim, place)
