"""Ops that take one time step in place on the state of neurons.

They are called for every layer in every time step, so the native ops check their arguments themselves, in C++, where it costs little;
what is here then says in words what did not fit.
"""

from __future__ import annotations

import torch

from spikeops import _backend, _layout
from spikeops._numbers import plain_number
from spikeops.functional import _checks, _memory, _transforms


def refuse_transforms(op) -> None:
    _transforms.refuse(op, "it works in place on its arguments. A batch may be one more axis of the neurons; call it outside the transform.")


def plain_numbers(numbers: tuple) -> tuple:
    """Numbers as Python's own; what is none, as it is."""
    for number in numbers:
        if type(number) is not float:
            break
    else:
        return numbers
    return tuple(map(plain_number, numbers))


def run(op, arguments, tensors, numbers, written, explain) -> None:
    """Calls an op that returns nothing.

    Args:
        arguments: of the op, in the order of its schema.
        tensors: those among them that are tensors, or None; membrane potentials first.
        numbers: those that must be numbers.
        written: the tensors that the op writes.
        explain: raises an error that names the first argument that does not fit, or returns.
    """
    try:
        ops = _backend.namespace(op, tensors[0].device)
        if ops is not torch.ops.spikeops or (torch.is_grad_enabled() and _need_gradients(tensors)):
            explain()
        for number in numbers:
            if type(number) is not float:  # an op would take a bool, and wait for a tensor on a GPU
                explain()
        if not torch.compiler.is_compiling():  # there autograd learns of it by itself
            torch.autograd.graph.increment_version(written)
        getattr(ops, op)(*arguments)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        try:
            explain()
        except (TypeError, ValueError) as explanation:
            raise explanation from None
        if isinstance(error, RuntimeError):
            raise _memory.as_torch_names_it(error) from None
        raise


def _need_gradients(tensors):
    return any(tensor is not None and tensor.requires_grad for tensor in tensors)


def check_dtype(op, name, value, expected, where):
    """`where` says what the dtype depends on, for example "spikes are float32"."""
    _checks.tensor(op, name, value)
    if value.dtype != expected:
        wanted, got = (str(dtype).removeprefix("torch.") for dtype in (expected, value.dtype))
        raise TypeError(f"{op}: expected {name} to be {wanted} where {where}, got {got}. Call {name}.to(torch.{wanted}) first.")


def check_dense(op, membrane):
    if not (membrane.numel() == 0 or _layout.is_dense(membrane.shape, membrane.stride())):
        raise ValueError(
            f"{op}: expected membrane, which is written in place, to be dense in memory, got strides {membrane.stride()} for "
            f"shape {tuple(membrane.shape)}. Call membrane.contiguous() first."
        )


def check_order(op, name, value, membrane):
    """A tensor that is written must have the memory order of membrane."""
    time_axes = value.dim() - membrane.dim()
    same_order = all(
        s == m for s, m, size in zip(value.stride()[time_axes:], membrane.stride(), membrane.shape) if size != 1
    )  # fmt: skip
    steps_follow = time_axes == 0 or value.shape[0] == 1 or value.stride(0) == membrane.numel()
    if value.numel() and not (same_order and steps_follow):
        raise ValueError(
            f"{op}: expected {name}, which is written in place, in the memory order of membrane (strides {membrane.stride()} for "
            f"shape {tuple(membrane.shape)}), got strides {value.stride()} for shape {tuple(value.shape)}."
        )


def check_contiguous(op, name, value):
    if not value.is_contiguous():
        raise ValueError(f"{op}: expected {name}, which is written in place, to be contiguous, got strides {value.stride()}.")


def check_device_and_gradient(op, name, value, membrane):
    if value.device != membrane.device:
        raise ValueError(
            f"{op}: expected {name} on the device of membrane, {membrane.device}, got {value.device}. "
            f"Call {name}.to(membrane.device) first."
        )
    if value.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{op}: expected tensors that need no gradient, since this op has none, but {name} requires it. Call the op under "
            f"torch.no_grad(), or with {name}.detach()."
        )
