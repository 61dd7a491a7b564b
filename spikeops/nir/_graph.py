"""The structure of NIR graphs: one level, one way through it, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

# Of graphs whose subgraphs are put in their place: a subgraph that is there twice within one that is there twice ... has no end.
_MOST = 100_000


@dataclass
class Structure:
    """A graph without subgraphs and cycles.

    Attributes:
        order: the names of its nodes, each after its inputs, without input, output and recurrent weights. inputs: of each, where it takes
            its input, None for the graph's. output: whose outputs are the graph's. recurrent: of neurons, the name of the weights from
            themselves to themselves.
        nodes: by name. source, target: the graph's input and output.
    """

    order: list[str]
    inputs: dict[str, list[str | None]]
    output: list[str | None]
    recurrent: dict[str, str]
    nodes: dict[str, Any]
    source: Any
    target: Any


def structure(nir: Any, graph: Any) -> Structure:
    """Raises ValueError, for what is wrong, by the names of the nodes."""
    nodes, edges = _flat(nir, graph, "")
    ends = {}
    for kind in (nir.Input, nir.Output):
        named = [name for name, node in nodes.items() if isinstance(node, kind)]
        if len(named) != 1:
            raise ValueError(f"expected one {kind.__name__} node, got {len(named)}{': ' if named else ''}{', '.join(named)}")
        ends[kind] = named[0]
    source, target = ends[nir.Input], ends[nir.Output]
    before: dict[str, list[str]] = {name: [] for name in nodes}
    after: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in edges:
        if b in after[a]:
            raise ValueError(f"the edge from {a!r} to {b!r} is there twice")
        before[b].append(a)
        after[a].append(b)
    if before[source] or after[target]:
        raise ValueError(f"an edge leads into the input {source!r}, or out of the output {target!r}")
    loose = sorted(set(nodes) - (reached(source, after) & reached(target, before)))
    if loose:
        raise ValueError(f"not on a way from input to output: {', '.join(map(repr, loose))}")

    recurrent: dict[str, str] = {}
    for name, node in nodes.items():
        if isinstance(node, (nir.Linear, nir.Affine)) and before[name] == after[name] and len(before[name]) == 1:
            (neurons,) = before[name]
            if isinstance(nodes[neurons], (nir.LIF, nir.CubaLIF)):
                if neurons in recurrent:
                    raise ValueError(f"{neurons!r} has two recurrent weights, {recurrent[neurons]!r} and {name!r}; there may be one")
                recurrent[neurons] = name
    for neurons, weights in recurrent.items():
        before[neurons].remove(weights)
        del before[weights]
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError as error:
        way = " -> ".join(map(repr, reversed(error.args[1])))
        raise ValueError(
            f"the cycle {way} cannot be expressed; recurrent connections can be from LIF or CubaLIF neurons through one Linear or Affine node "
            "to the same neurons"
        ) from None
    inputs = {name: [None if a == source else a for a in before[name]] for name in order}
    between = [name for name in order if name not in (source, target)]
    return Structure(between, {n: inputs[n] for n in between}, inputs[target], recurrent, nodes, nodes[source], nodes[target])


def _flat(nir: Any, graph: Any, prefix: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes and edges, with those of subgraphs, named `subgraph.node`, in their place."""
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    ways_in: dict[str, list[str]] = {}
    ways_out: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        full = prefix + str(name)
        if full in ways_in or full in nodes:
            raise ValueError(f"there are two nodes {full!r}")
        if not isinstance(node, nir.NIRGraph):
            nodes[full] = node
            ways_in[full] = ways_out[full] = [full]
            continue
        inner, inner_edges = _flat(nir, node, full + ".")
        starts, stops = (
            [f"{full}.{n}" for n, inside in node.nodes.items() if isinstance(inside, kind)] for kind in (nir.Input, nir.Output)
        )
        if len(starts) != 1 or len(stops) != 1:
            raise ValueError(f"expected the subgraph {full!r} to have one Input and one Output node, got {len(starts)} and {len(stops)}")
        ways_in[full] = [b for a, b in inner_edges if a == starts[0]]
        ways_out[full] = [a for a, b in inner_edges if b == stops[0]]
        if any(b == starts[0] or a == stops[0] for a, b in inner_edges):
            raise ValueError(f"an edge leads into the input {starts[0]!r}, or out of the output {stops[0]!r}")
        if stops[0] in ways_in[full]:
            raise ValueError(f"the subgraph {full!r} hands its input to its output")
        dropped = {starts[0], stops[0]}
        if taken := nodes.keys() & inner.keys():
            raise ValueError(f"there are two nodes {min(taken)!r}")
        nodes |= {n: inside for n, inside in inner.items() if n not in dropped}
        edges += [(a, b) for a, b in inner_edges if not dropped & {a, b}]
        _check_size(len(nodes), "nodes")
    for edge in graph.edges:
        if not isinstance(edge, (tuple, list)) or len(edge) != 2:
            raise ValueError(f"edges must be pairs of names, and one is {edge!r}")
        a, b = edge
        start, stop = prefix + str(a), prefix + str(b)
        for end in (start, stop):
            if end not in ways_in:
                raise ValueError(f"the edge from {start!r} to {stop!r} leads to no node: there is no {end!r}")
        _check_size(len(edges) + len(ways_out[start]) * len(ways_in[stop]), "edges")
        edges += [(u, v) for u in ways_out[start] for v in ways_in[stop]]
    return nodes, edges


def _check_size(count: int, what: str) -> None:
    if count > _MOST:
        raise ValueError(f"it has more than {_MOST} {what} when its subgraphs are put in their place")


def reached(start: str, neighbours: dict[str, list[str]]) -> set[str]:
    """The nodes that there is a way to, the start among them."""
    seen, waiting = {start}, [start]
    while waiting:
        new = set(neighbours[waiting.pop()]) - seen
        seen |= new
        waiting += new
    return seen
