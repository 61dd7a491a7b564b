"""Networks as NIR graphs."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from spikeops import nn as snn
from spikeops._numbers import plain_number
from spikeops.nir._dialects import Dialect, DialectName, broadcasts, dialect_named
from spikeops.nir._graph import reached
from spikeops.nir._layers import layers_node
from spikeops.nir._modules import Scale
from spikeops.nir._neurons import neuron_of, nodes_numbers
from spikeops.nir._packages import package

_NEURONS = (snn.LIF, snn.IF, snn.ParametricLIF, snn.CubaLIF, snn.RecurrentLIF, snn.LeakyReadout)
_LAYERS = (nn.Linear, snn.SpikeLinear, nn.Conv1d, nn.Conv2d, snn.SpikeConv2d, nn.AvgPool2d, snn.AvgPool2d, nn.LPPool2d, nn.Flatten, Scale)
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_HINTS = {
    "BatchNormLIF": (
        "NIR has no batch-norm; export the network as it was before spikeops.fuse, with batch norm folded into the layer before it: "
        "torch.nn.utils.fusion.fuse_conv_bn_eval, fuse_linear_bn_eval, and snn.LIF with the same options behind it"
    ),
    "BatchNorm": "NIR has no batch-norm; fold it into the layer before it: torch.nn.utils.fusion.fuse_conv_bn_eval, fuse_linear_bn_eval",
    "Parametrized": "fix the weights first: torch.nn.utils.parametrize.remove_parametrizations",
    "MaxPool": "NIR has no maximum; average and sum pooling are AvgPool2d and AvgPool2d(divisor_override=1)",
}


def to_nir(model: nn.Module, sample: torch.Tensor | Sequence[int], dt: float = 1e-4, *, dialect: DialectName = "nir") -> Any:
    """The NIR graph of a network, exactly: what NIR, or the reader, cannot express is refused by name.

    Neurons become LIF, IF, CubaLIF, LI or I; recurrent ones a graph of their own, with edges to their weights and back. Layers become
    Affine, Linear, Conv1d, Conv2d, AvgPool2d, SumPool2d, Flatten and Scale. Time constants are in seconds: a membrane that keeps the part
    `decay` in one step has ``tau = dt / (1 - decay)``. What a network does in training alone, such as dropout, is left out.

    Args:
        model: takes (T, B, ...); of the modules that docs/nir.md lists, in a chain or with sums of branches.
        sample: an input (T, B, ...), of which only the shape matters; or the shape of one time step of one sample, such as (2, 34, 34).
        dt: how long one time step is, in seconds.
        dialect: who is to read the graph: "nir" for its equations as they stand, in forward Euler steps; "snntorch", "norse",
            "spikingjelly", "sinabs" for these libraries, which read some numbers otherwise (docs/nir.md).

    Returns:
        An `nir.NIRGraph`, float64 for numbers of neurons; ``nir.write(path, graph)`` makes a file of it. Its nodes have the names of the
        modules, with `_` for dots.

    Raises:
        ImportError: without the packages nir and nirtorch. TypeError, ValueError: what cannot be expressed, all of it, by the names of the
        modules.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(40, 10), snn.LIF(0.9, reset="to", strict=True))
        >>> sorted(spikeops.nir.to_nir(model, (40,)).nodes)
        ['0', '1', 'input', 'output']
    """
    nir, chosen = package("nir"), dialect_named("to_nir", dialect)
    package("nirtorch")
    if not isinstance(model, nn.Module):
        raise TypeError(f"to_nir: expected model to be a torch.nn.Module, got {type(model).__name__}.")
    dt = checked_dt("to_nir", dt, dialect, chosen)
    sample = _checked_sample(model, sample)
    training = {module: module.training for module in model.modules()}
    exported = _Export(nir, dialect, chosen, dt)
    try:
        model.eval()
        with torch.no_grad():
            source = exported.name("input")
            exported.nodes[source] = nir.Input(input_type=np.array(sample.shape[2:]))
            sources, out = exported.walk(model, "", [source], sample, 2)
    finally:
        for module, was in training.items():
            module.training = was
    if exported.problems:
        raise exported.error()
    target = exported.name("output")
    exported.nodes[target] = nir.Output(output_type=np.array(out.shape[2:]))
    exported.edges += [(last, target) for last in sources]
    exported.keep_what_reaches(target)
    if source not in exported.nodes:
        raise ValueError("to_nir: the model's output does not depend on its input.")
    return nir.NIRGraph(nodes=exported.nodes, edges=exported.edges)


def checked_dt(op: str, dt: float, name: str, dialect: Dialect) -> float:
    dt = plain_number(dt)
    if isinstance(dt, bool) or not isinstance(dt, (int, float)):
        raise TypeError(f"{op}: expected dt to be a number of seconds, got {type(dt).__name__}.")
    if not (dt > 0 and math.isfinite(dt)):
        raise ValueError(f"{op}: expected dt, in seconds, to be above 0 and finite, got {dt}.")
    if dialect.dt is not None and dt != dialect.dt:
        raise ValueError(f"{op}: dialect {name!r} knows the time step dt={dialect.dt:g} alone, got {dt:g}.")
    return float(dt)


def _checked_sample(model: nn.Module, sample: torch.Tensor | Sequence[int]) -> torch.Tensor:
    if isinstance(sample, torch.Tensor):
        if sample.dim() < 3 or not sample.is_floating_point() or not sample.numel():
            raise ValueError(
                f"to_nir: expected sample to be a floating tensor (T, B, ...), or the shape of one time step of one sample, got {sample.dtype} "
                f"of shape {tuple(sample.shape)}."
            )
        return sample[:1, :1]
    try:
        shape = tuple(operator.index(size) for size in sample)
    except TypeError:
        raise TypeError(f"to_nir: expected sample to be a tensor, or a shape such as (2, 34, 34), got {sample!r}.") from None
    if not shape or min(shape) < 1:
        raise ValueError(f"to_nir: expected the shape of one time step of one sample, such as (2, 34, 34), got {shape}.")
    of = next((value for value in model.parameters() if value.is_floating_point()), torch.empty(0))
    return torch.zeros(1, 1, *shape, dtype=of.dtype, device=of.device)


class _Export:
    """The graph of a model, while the model runs on a sample, from module to module."""

    def __init__(self, nir: Any, reader: str, dialect: Dialect, dt: float):
        self.nir, self.reader, self.dialect, self.dt = nir, reader, dialect, dt
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.problems: list[str] = []

    def name(self, path: str) -> str:
        """A node's name that is not taken yet."""
        wanted = path.replace(".", "_").replace("/", "_") or "model"  # HDF5 has groups in the place of names with /
        names = (wanted if k == 0 else f"{wanted}_{k}" for k in range(len(self.nodes) + 1))
        return next(name for name in names if name not in self.nodes)

    def walk(self, module: nn.Module, path: str, sources: list[str], x: torch.Tensor, leading: int) -> tuple[list[str], torch.Tensor]:
        """(the nodes whose sum is the module's output, that output), for an input x with so many leading axes of time and batch."""
        kind = type(module)
        if module._forward_hooks or module._forward_pre_hooks:
            self.refuse(path, module, "has forward hooks, which may change what it computes")
        if "forward" in vars(module):
            self.refuse(path, module, "has a forward that is not its class's")
        if kind in _NOTHING:
            return sources, x
        if kind is nn.Sequential:
            for name, child in module._modules.items():  # named_children() leaves out a module that comes again
                sources, x = self.walk(child, f"{path}.{name}" if path else name, sources, x, leading)
            return sources, x
        if kind is snn.TimeDistributed:
            if leading != 2:
                self.refuse(path, module, "is within another TimeDistributed, where there is no time")
                raise self.error()
            sources, out = self.walk(module.module, path, sources, x.flatten(0, 1), 1)
            return sources, out.unflatten(0, x.shape[:2])
        if kind in _NEURONS and leading != 2:
            self.refuse(path, module, "is within a TimeDistributed, where there is no time")
            raise self.error()
        if kind in _NEURONS or kind in _LAYERS:
            return self.leaf(module, path, sources, x, leading)
        if isinstance(module, (*_NEURONS, *_LAYERS)) or not self.can_be_traced(module):
            hint = next((f": {hint}" for word, hint in _HINTS.items() if word in kind.__name__), "")
            self.refuse(path, module, f"is not among the modules that can be exported{hint}")
            raise self.error()
        return self.trace(module, path, sources, x, leading)

    def leaf(self, module: nn.Module, path: str, sources: list[str], x: torch.Tensor, leading: int) -> tuple[list[str], torch.Tensor]:
        shape = tuple(x.shape[leading:])
        if type(module) in _NEURONS:
            node, found = self.neurons(module, shape)
        else:
            node, found = layers_node(self.nir, module, shape, leading, self.dialect.affine_only)
        name = self.name(path)
        kind = type(node).__name__
        if node is not None and kind != "NIRGraph" and kind not in self.dialect.nodes:
            found = [*found, f"would be {'an' if kind[0] in 'AI' else 'a'} {kind}, which the reader has not, or gets wrong"]
        if self.reader != "nir" and kind == "SumPool2d" and np.any(node.padding):
            found = [*found, "padding must be 0, which the reader takes it to be"]
        for problem in found:
            self.refuse(path, module, problem)
        out = torch.empty_like(x)  # neurons keep the shape
        if type(module) not in _NEURONS:
            try:
                out = module(x)
            except (RuntimeError, ValueError, TypeError) as error:
                self.refuse(path, module, f"does not take an input of shape {tuple(x.shape)}: {error}")
                raise self.error() from error
        if kind not in ("NoneType", "NIRGraph"):
            node.input_type, node.output_type = {"input": np.array(shape)}, {"output": np.array(out.shape[leading:])}
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return [name], out

    def neurons(self, module: nn.Module, shape: tuple[int, ...]) -> tuple[Any, list[str]]:
        nir = self.nir
        neuron, found = neuron_of(module, self.dialect)
        for name, value in neuron.numbers().items():
            if not broadcasts(value.shape, shape):
                found.append(f"{name} has shape {value.shape}, which does not broadcast to {shape}, that of a time step of the input")
        if neuron.kind in self.dialect.vectors and len(shape) > 1:
            found.append(f"would be a {neuron.kind} of shape {shape}, and the reader takes them for vectors alone")
        recurrent = type(module) is snn.RecurrentLIF
        if recurrent and shape != (module.features,):
            found.append(f"has {module.features} neurons, and an input of shape {shape}")
        if recurrent and module.bias is not None and not self.dialect.recurrent_bias:
            found.append("bias must be False, since the reader leaves it out in the first step")
        if not found:
            given, found = nodes_numbers(neuron, shape, self.dialect, self.dt)
        node = None if found else getattr(nir, neuron.kind)(**given)
        if node is None or not recurrent:
            return node, found
        weight = module.weight.detach() if module.all_to_all else torch.diag(module.weight.detach())
        back = nn.Linear(*reversed(weight.shape), bias=module.bias is not None, device="meta")
        back.weight, back.bias = nn.Parameter(weight), module.bias
        w_rec, _ = layers_node(nir, back, shape, 2, self.dialect.affine_only)
        nodes = {"input": nir.Input(np.array(shape)), "lif": node, "w_rec": w_rec, "output": nir.Output(np.array(shape))}
        return nir.NIRGraph(nodes, [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]), found

    def can_be_traced(self, module: nn.Module) -> bool:
        """Whether it is a module of somebody's own, made of others."""
        return next(module.children(), None) is not None and not type(module).__module__.startswith("torch.nn.")

    def trace(self, module: nn.Module, path: str, sources: list[str], x: torch.Tensor, leading: int) -> tuple[list[str], torch.Tensor]:
        """A module of somebody's own: calls of modules and sums."""
        tracer = package("nirtorch.torch_tracer").NIRTorchTracer((*_NEURONS, *_LAYERS, snn.TimeDistributed))
        try:
            graph = tracer.trace(module)
        except Exception as error:  # whatever a forward of somebody's own may raise on torch.fx's proxies
            self.refuse(path, module, f"cannot be traced by torch.fx: {error}")
            raise self.error() from error
        values: dict[Any, tuple[list[str], torch.Tensor]] = {}
        for step in graph.nodes:
            called = [a for a in (*step.args, *step.kwargs.values()) if isinstance(a, torch.fx.Node)]
            what = step.target if isinstance(step.target, str) else getattr(step.target, "__name__", step.target)
            is_sum = step.op == "call_function" and step.target in (operator.add, operator.iadd, torch.add)
            is_sum = is_sum or (step.op == "call_method" and step.target in ("add", "add_"))
            if step.op == "placeholder" and not values:
                values[step] = (sources, x)
            elif step.op == "placeholder" and step.args:
                continue  # an argument with a default; whoever uses it is refused
            elif step.op == "output" and len(called) == 1 and step.args == (called[0],) and called[0] in values:
                return values[called[0]]
            elif step.op == "call_module" and len(step.args) == 1 and not step.kwargs and called and called[0] in values:
                inner = module.get_submodule(step.target)
                values[step] = self.walk(inner, f"{path}.{what}" if path else what, *values[called[0]], leading)
            elif is_sum and len(step.args) == 2 == len(called) and not step.kwargs and all(a in values for a in called):
                (left, a), (right, b) = (values[c] for c in called)
                if step.target in (operator.iadd, "add_") and self.is_used_elsewhere(step, x, values):
                    self.refuse(path, module, "adds in place to a value that is used elsewhere, too; write y = x + ... for x += ...")
                if set(left) & set(right) or a.shape != b.shape:
                    self.refuse(path, module, "adds a value to itself, or values of different shapes, for which NIR has no edges")
                values[step] = ([*left, *right], a + b)
            else:
                self.refuse(path, module, f"its forward uses {what!r} ({step.op}); only calls of modules with one input, and sums of two, can be")
                raise self.error()
        raise AssertionError("a graph of torch.fx ends in an output")

    @staticmethod
    def is_used_elsewhere(step: Any, x: torch.Tensor, values: dict[Any, tuple[list[str], torch.Tensor]]) -> bool:
        """Whether what a step changes in place is the module's own input, or is taken by a later step as it was before."""
        storage = lambda value: value.untyped_storage()._cdata  # noqa: E731
        changed = storage(values[step.args[0]][1])
        sharing = {node for node, (_, value) in values.items() if storage(value) == changed}
        later = step.next
        while later.op != "root":
            if sharing & set(later.all_input_nodes):
                return True
            later = later.next
        return storage(x) == changed

    def refuse(self, path: str, module: nn.Module, problem: str) -> None:
        self.problems.append(f"{path or 'the model'} ({type(module).__name__}): {problem}")

    def keep_what_reaches(self, target: str) -> None:
        """Drops modules whose output nobody uses."""
        before: dict[str, list[str]] = {name: [] for name in self.nodes}
        for a, b in self.edges:
            before[b].append(a)
        kept = reached(target, before)
        self.nodes = {name: node for name, node in self.nodes.items() if name in kept}
        self.edges = [(a, b) for a, b in self.edges if b in kept]

    def error(self) -> ValueError:
        """All that was refused."""
        reader = "NIR" if self.reader == "nir" else f"dialect {self.reader!r}"
        return ValueError(f"to_nir: {reader} cannot express\n  " + "\n  ".join(self.problems))
