"""What the ops of a computation must do at least: the bytes that they read and write, and the operations of dense products."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from unittest import mock

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from spikeops.functional import _transforms

PRODUCTS, EVENTS, OPTIMIZER, OURS, OTHERS = "dense products", "products of events", "optimizer", "our other kernels", "other ops"
KINDS = (PRODUCTS, EVENTS, OPTIMIZER, OURS, OTHERS)


@dataclass
class Call:
    """One op.

    Args:
        name: such as "aten::mm"
        kind: one of `KINDS`
        bytes: of its inputs, read once, and of its results, written once
        operations: of products, each a multiplication or an addition; of others, and of convolutions of events, not counted
    """

    name: str
    kind: str
    bytes: int
    operations: int

    def seconds(self, bandwidth: float, peak: float) -> float:
        """The least that it takes on a machine that moves so many bytes and does so many operations in a second."""
        return max(self.bytes / bandwidth, self.operations / peak)


@dataclass
class _Recorder(TorchDispatchMode):
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        results = function(*arguments, **options)
        if not function.is_view and function.namespace in ("aten", "spikeops"):
            self.calls.append(_call(function, arguments, options, results))
        return results


def calls_of(run: Callable[[], object]) -> list[Call]:
    """Each op that `run` dispatches, in the backward pass too, but for views of what is there."""
    recorder = _Recorder()
    # Ops choose paths by what data holds where nobody looks on, which is what is wanted here.
    with recorder, mock.patch.object(_transforms, "_dispatch_modes", lambda: 0):
        run()
    return recorder.calls


def _call(function, arguments, options, results) -> Call:
    name = f"{function.namespace}::{function._schema.name.split('::')[1]}"
    operations = 0
    if counted := flop_registry.get(function._overloadpacket):
        operations = int(counted(*arguments, **options, out_val=results))
    elif "narrow_matmul" in name:
        # Of each of the three matrices two of its sizes are rows, columns and outputs.
        operations = 2 * round(math.prod(matrix.numel() for matrix in (*arguments[:2], results)) ** 0.5)
    if operations:
        kind = PRODUCTS
    elif name == "spikeops::event_matmul_":
        _, count, _, _, matrix, _ = arguments
        kind, operations = EVENTS, 2 * count.sum().item() * matrix.shape[1]
    elif "event" in name:
        kind = EVENTS
    elif "fused_adam" in name or "fused_sgd" in name:
        kind = OPTIMIZER
    else:
        kind = OURS if function.namespace == "spikeops" else OTHERS
    return Call(name, kind, _bytes(function, arguments, options, results), operations)


def _bytes(function, arguments, options, results) -> int:
    """Memory that is read once and written once: an argument that the op changes is both. What is only reserved is neither."""
    schema = function._schema.arguments
    given = {schema[i].name: value for i, value in enumerate(arguments)} | options
    changed = {argument.name for argument in schema if argument.alias_info is not None and argument.alias_info.is_write}
    if given.get("grad_scale") is None:
        changed.discard("grads")  # of fused optimizers, which scale gradients in place if they do
    read, written = {}, {}
    for name, value in given.items():
        for tensor in _tensors(value):
            read[_place(tensor)] = _size(tensor)
            if name in changed:
                written[_place(tensor)] = _size(tensor)
    for tensor in _tensors(results):
        written[_place(tensor)] = _size(tensor)
    if "empty" in function._schema.name:
        return 0
    if function._schema.name in ("aten::zero_", "aten::fill_"):
        read = {}
    return sum(read.values()) + sum(written.values())


def _tensors(value) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _place(tensor: Tensor) -> tuple[int, int]:
    return tensor.untyped_storage()._cdata, tensor.storage_offset()


def _size(tensor: Tensor) -> int:
    """Of its distinct elements: axes of stride 0 repeat them."""
    elements = 1
    for length, stride in zip(tensor.shape, tensor.stride()):
        elements *= length if stride else min(length, 1)
    return elements * tensor.element_size()
