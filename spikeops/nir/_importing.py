"""Networks from NIR graphs."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import nn

from spikeops.functional import _checks
from spikeops.nir import _files
from spikeops.nir._dialects import LAYERS, NEURONS, Dialect, DialectName, Neuron, broadcasts, dialect_named
from spikeops.nir._exporting import checked_dt
from spikeops.nir._graph import Structure, structure
from spikeops.nir._layers import layers_module
from spikeops.nir._modules import NIRNetwork, Scale
from spikeops.nir._neurons import neuron_problems, neurons_module
from spikeops.nir._packages import package
from spikeops.nn import TimeDistributed
from spikeops.surrogate import ATan, Surrogate

Shape = tuple[int, ...]


def from_nir(
    graph: Any, dt: float = 1e-4, *, dialect: DialectName = "nir", surrogate: Surrogate = ATan(2.0), detach_reset: bool = False,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:  # fmt: skip
    """A network from a NIR graph, exactly: what cannot be expressed is refused by the names of the nodes, before anything is made.

    The modules have the names of the nodes (`_` for what Python's names lack) and hold no hidden state: the network takes all time steps at
    once. Weights are learnable; the numbers of neurons are options, or parameters without a gradient where they differ from neuron
    to neuron.

    Args:
        graph: an `nir.NIRGraph`, or the path of a file that ``nir.write`` has written.
        dt: how long one time step is, in seconds; time constants must be at least as long.
        dialect: by whose reading: "nir" for the equations of NIR as they stand, in forward Euler steps (``decay = 1 - dt / tau``, a
            spike above the threshold, reset to v_reset); "snntorch", "norse", "spikingjelly", "sinabs" for what these libraries make
            of a graph and write into one (docs/nir.md).
        surrogate, detach_reset: of all neurons, as in :func:`spikeops.functional.lif`. NIR has none.
        dtype: of weights and numbers.

    Returns:
        (T, B, ...) -> (T, B, ...): an `nn.Sequential` for a chain, else a :class:`NIRNetwork`.

    Raises:
        ImportError: without the packages nir and nirtorch. OSError: no such file. TypeError, ValueError: a file that is none of NIR's, a
        graph that cannot be expressed.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(40, 10), snn.LIF(0.9, reset="to", strict=True))
        >>> graph = spikeops.nir.to_nir(model, (40,))
        >>> spikeops.nir.from_nir(graph)(torch.rand(20, 8, 40)).shape
        torch.Size([20, 8, 10])
    """
    nir, chosen = package("nir"), dialect_named("from_nir", dialect)
    dt = checked_dt("from_nir", dt, dialect, chosen)
    _checks.flag("from_nir", "detach_reset", detach_reset)
    if not isinstance(surrogate, Surrogate):
        raise TypeError(f"from_nir: expected surrogate to be one of spikeops.surrogate, such as ATan(2.0), got {surrogate!r}.")
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"from_nir: expected dtype to be a floating type of torch, got {dtype!r}.")
    where = "the graph"
    if isinstance(graph, (str, os.PathLike)):
        where = os.fspath(graph)
        graph = _files.read(nir, where)
    if not isinstance(graph, nir.NIRGraph):
        raise TypeError(f"from_nir: expected an nir.NIRGraph or the path of a file, got {type(graph).__name__}.")
    try:
        found = structure(nir, graph)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"from_nir: {where}: {error}.") from error
    except RecursionError:
        raise ValueError(f"from_nir: {where}: its subgraphs are too deep, or within themselves.") from None
    read, layers, problems = _looked_at(found, dt, chosen, dtype)
    if not problems:
        problems = _unfitting_shapes(found, read, layers)
    if problems:
        reading = "" if dialect == "nir" else f" by dialect {dialect!r}"
        raise ValueError(f"from_nir: {where} cannot be expressed{reading}:\n  " + "\n  ".join(problems))

    modules = {}
    for name in found.order:
        weight = layers.get(found.recurrent.get(name, ""))
        modules[name] = layers[name] if name in layers else neurons_module(read[name], chosen, surrogate, detach_reset, dtype, weight)
    return _network(found, modules)


def _looked_at(
    found: Structure, dt: float, chosen: Dialect, dtype: torch.dtype
) -> tuple[dict[str, Neuron], dict[str, nn.Module], list[str]]:
    """The neurons as the dialect reads them, the layers, and what is wrong with any node."""
    read: dict[str, Neuron] = {}
    layers: dict[str, nn.Module] = {}
    problems: list[str] = []
    for name in (*found.order, *found.recurrent.values()):
        node = found.nodes[name]
        kind = type(node).__name__
        label = f"{name} ({kind})"
        if kind not in (*NEURONS, *LAYERS) or type(node).__module__.partition(".")[0] != "nir":
            problems.append(f"{label}: there is no module for this kind of node")
        elif kind not in chosen.nodes:
            problems.append(f"{label}: the library does not read this kind of node, or gets it wrong")
        elif kind in LAYERS:
            try:
                layers[name] = layers_module(node, dtype)
            except (ValueError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
                problems.append(f"{label}: {error}")
        else:
            try:
                given = {field: _numbers(node, field) for field in NEURONS[kind]}
                np.broadcast_shapes(*(value.shape for value in given.values()))
            except (ValueError, TypeError, AttributeError, RuntimeError) as error:
                problems.append(f"{label}: {error}")
                continue
            with np.errstate(all="ignore"):
                read[name] = chosen.read(kind, given, dt)
            wrong = neuron_problems(read[name], chosen, dtype)
            if name in found.recurrent and chosen.subtracts:
                wrong.append("the library has no recurrent neurons")
            problems += [f"{label}: {problem}" for problem in wrong]
    return read, layers, problems


def _numbers(node: Any, field: str) -> np.ndarray:
    value = np.asarray(getattr(node, field))
    if value.dtype.kind not in "fiu" or not value.size:
        raise ValueError(f"{field} must be an array of numbers, and is {value!r}")
    # A single number stands for all neurons.
    return np.array(value, np.float64).reshape(() if value.size == 1 else value.shape)


def _unfitting_shapes(found: Structure, read: dict[str, Neuron], layers: dict[str, nn.Module]) -> list[str]:
    """What nodes say against the shapes that reach them; shapes that the graph leaves open are taken as they come."""
    shapes: dict[str | None, Shape | None] = {}
    label, shape = "its input", None
    try:
        shapes[None] = _declared(getattr(found.source, "input_type", None), "input")
        for name in found.order:
            node = found.nodes[name]
            label, shape = f"{name} ({type(node).__name__})", None
            shape = _agreed({*(shapes[source] for source in found.inputs[name]), _declared_by(node, layers.get(name))})
            shapes[name] = _shape_after(found, name, read, layers, shape)
        label, shape = "its output", None
        _agreed({*(shapes[source] for source in found.output), _declared(getattr(found.target, "output_type", None), "output")})
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        why = str(error).partition("\n")[0]
        return [f"{label}: {why if shape is None else f'gets an input of shape {shape}, {why}'}"]
    return []


def _agreed(shapes: set[Shape | None]) -> Shape | None:
    """The one shape that all have, but for those that are not known."""
    shapes.discard(None)
    if len(shapes) > 1:
        raise ValueError(f"its inputs have different shapes, or another one than it says, {' and '.join(map(str, sorted(shapes)))}")
    return next(iter(shapes), None)


def _declared(types: Any, name: str) -> Shape | None:
    """The shape that a node's types give to its one input or output; None where they leave it open."""
    given = types.get(name) if isinstance(types, dict) else None
    value = np.asarray(() if given is None else given)
    if not value.size:
        return None
    if value.dtype.kind not in "fiu" or not (np.all(value >= 1) and np.all(value == np.floor(value)) and np.all(value < 2**62)):
        raise ValueError(f"its shape must be whole numbers, 1 or more, and is {given!r}")
    return tuple(int(size) for size in value.reshape(-1))


def _declared_by(node: Any, layer: nn.Module | None) -> Shape | None:
    """The shape of its input by a node that cannot tell it from its weights."""
    inner = layer.module if isinstance(layer, TimeDistributed) else None
    if isinstance(inner, nn.Flatten):
        return _declared(getattr(node, "input_type", None), "input")
    if isinstance(inner, (nn.Conv1d, nn.Conv2d)):
        space = _declared({"input": getattr(node, "input_shape", None)}, "input")
        return None if space is None else (inner.in_channels, *space)
    return None


def _shape_after(
    found: Structure, name: str, read: dict[str, Neuron], layers: dict[str, nn.Module], shape: Shape | None
) -> Shape | None:
    if name in read:
        own = np.broadcast_shapes(*(value.shape for value in read[name].numbers().values()))
        if name in found.recurrent:
            weight = np.shape(found.nodes[found.recurrent[name]].weight)
            if weight[0] != weight[1]:
                raise ValueError(f"but its recurrent weights {found.recurrent[name]!r} have shape {weight}")
            if shape not in (None, weight[:1]) or own not in ((), weight[:1]):
                raise ValueError(f"its numbers have shape {own}, but its recurrent weights {found.recurrent[name]!r} shape {weight}")
            return weight[:1]
        return _same(own, shape)
    module = layers[name]
    if isinstance(module, Scale):
        return _same(tuple(module.scale.shape) if module.scale.numel() > 1 else (), shape)
    inner = module.module if isinstance(module, TimeDistributed) else module
    if isinstance(inner, nn.Flatten):
        _check_axes(inner, shape)
    if shape is None:
        return (module.out_features,) if isinstance(module, nn.Linear) else None
    if isinstance(module, nn.Linear) and shape != (module.in_features,):
        raise ValueError(f"but its weights have shape {tuple(module.weight.shape)}")
    if not isinstance(inner, (nn.Linear, nn.Flatten)) and len(shape) != (2 if isinstance(inner, nn.Conv1d) else 3):
        raise ValueError("which has another number of axes than channels and space")
    if isinstance(inner, (nn.Conv1d, nn.Conv2d)) and shape[0] != inner.in_channels:
        raise ValueError(f"but its weights are for {inner.in_channels} channels")
    weights = {key: value.to("meta") for key, value in module.state_dict().items()}
    x = torch.empty(1, 1, *shape, device="meta", dtype=next(iter(weights.values()), torch.empty(0)).dtype)
    return tuple(torch.func.functional_call(module, weights, (x,)).shape[2:])


def _check_axes(flatten: nn.Flatten, shape: Shape | None) -> None:
    """Its axes must lie within a time step of a sample: the axis before is that of all time steps and samples."""
    if shape is None and flatten.start_dim > 0:
        return
    axes = len(shape or ())
    first, last = (axis if axis >= 0 else axis + axes + 1 for axis in (flatten.start_dim, flatten.end_dim))
    if not 1 <= first <= last <= axes:
        raise ValueError("of which start_dim and end_dim are no axes" if shape else "start_dim must be 0 or more where no shape is given")


def _same(own: Shape, shape: Shape | None) -> Shape | None:
    """The shape of neurons whose numbers have this one, where their input has the other: an axis of 1 stands for all, none is left out,
    since (C,) could be channels or the last axis of maps."""
    if shape is None:
        return None if 1 in own else own or None
    if own != () and (len(own) != len(shape) or not broadcasts(own, shape)):
        raise ValueError(f"but its numbers have shape {own}")
    return shape


def _network(found: Structure, modules: dict[str, nn.Module]) -> nn.Module:
    names: dict[str | None, str | None] = {None: None}
    empty, taken = NIRNetwork({}, {}, ()), set()
    for name in modules:
        plain = "".join(c if c.isalnum() or c == "_" else "_" for c in name) or "_"
        while hasattr(empty, plain) or plain in taken:
            plain += "_"
        taken.add(plain)
        names[name] = plain
    last: str | None = None
    for name in found.order:
        if found.inputs[name] != [last]:
            break
        last = name
    else:
        if found.output == [last] and modules:
            return nn.Sequential(OrderedDict((names[name], module) for name, module in modules.items()))
    inputs = {names[name]: [names[source] for source in found.inputs[name]] for name in found.order}
    return NIRNetwork({names[name]: module for name, module in modules.items()}, inputs, [names[source] for source in found.output])
