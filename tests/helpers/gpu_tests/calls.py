"""Every call of the case files (op_cases), forward and backward, as a function of its tensors, so that it can run on any device and
stream."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import op_cases
import torch
from op_tests.inputs import Inputs
from op_tests.kinds import Call, Sequence

import spikeops


@dataclasses.dataclass(frozen=True)
class DeviceCall:
    """A call at any size.

    Args:
        name: as in the case file.
        prepare: (T, N, dtype, seed) -> (function of tensors that returns a list of tensors, its tensors on the CPU). The results are
            those of the call, and the gradients of what has one.
        spikes: index of a result that is the same in float64 on all devices, or None.
        summed: indices of tensors whose sum each backend takes in an order of its own.
    """

    name: str
    prepare: Callable
    spikes: int | None = None
    summed: tuple[int, ...] = ()

    def __str__(self):
        return self.name

    def on(self, device, T=33, N=1300, dtype=torch.float32, seed=3):
        """(function of tensors, its tensors on a device)."""
        run, tensors = self.prepare(T, N, dtype, seed)
        return run, [tensor.to(device) for tensor in tensors]


def of_call(call: Call, spread: Mapping | None = None, **options) -> DeviceCall:
    """With a spread of its arguments, and options that take the place of the call's own. Currents are multiples of 1/8: many membrane potentials lie exactly at the
    threshold. The last tensor is the gradient of the first output, if it has one."""

    def prepare(T, N, dtype, seed):
        arguments = call.make(Inputs(T, (N,), dtype, seed=seed, on_grid=True), **spread or {}) | options
        tensors = {name: value for name, value in arguments.items() if isinstance(value, torch.Tensor)}
        numbers = {name: value for name, value in arguments.items() if name not in tensors}
        leaves = [name for name in tensors if name in call.differentiable]
        run = functools.partial(_run, call, [*tensors], leaves, numbers)
        if not leaves:
            return run, [*tensors.values()]
        with spikeops.backend("native"):
            output, *_ = call({name: tensor.to("meta") for name, tensor in tensors.items()} | numbers)
        gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed)).to(output.dtype)
        return run, [*tensors.values(), gradient]

    names = [name for name, value in call.make(Inputs(2, (2,)), **spread or {}).items() if isinstance(value, torch.Tensor)]
    return DeviceCall(str(call), prepare, call.spikes, tuple(i for i, name in enumerate(names) if name == call.summed))


def _run(call, names, leaves, numbers, *values):
    tensors = dict(zip(names, values))
    if not leaves:
        return list(call(tensors | numbers))
    tensors |= {name: tensors[name].detach().requires_grad_() for name in leaves}
    outputs = call(tensors | numbers)
    # An amount that no reset takes has a gradient of zero.
    grads = torch.autograd.grad(outputs[0], [tensors[name] for name in leaves], values[-1], materialize_grads=True)
    return [*(output.detach() for output in outputs), *grads]


def of_sequence(sequence: Sequence) -> DeviceCall:
    def prepare(T, N, dtype, seed):
        return sequence.function, sequence.tensors(torch.Generator().manual_seed(seed), T, N, dtype)

    return DeviceCall(str(sequence), prepare, summed=sequence.summed)


CALLS = (
    *(of_call(call) for call in op_cases.CALLS.values() if call.on_device),
    *(of_sequence(sequence) for sequence in op_cases.ON_DEVICE.values()),
)
