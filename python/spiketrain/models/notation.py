"""The networks' usual notation, for example ``15C5-P2-40C5-P2-300-10``, read into a list of layers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from spiketrain.errors import UserError


@dataclass(frozen=True)
class Conv:
    """`channels` maps of kernel x kernel convolution."""

    channels: int
    kernel: int
    padding: int = 0
    stride: int = 1
    batch_norm: bool = False


@dataclass(frozen=True)
class UpConv:
    """`channels` maps of kernel x kernel transposed convolution with stride 2, which doubles height and width."""

    channels: int
    kernel: int
    padding: int = 0


@dataclass(frozen=True)
class Pool:
    """Pooling over windows of size x size, which do not overlap: that of the method, or the average or the maximum of a window."""

    size: int
    kind: Literal["own", "average", "maximum"] = "own"


@dataclass(frozen=True)
class Linear:
    """A fully connected layer of `units`."""

    units: int
    batch_norm: bool = False


@dataclass(frozen=True)
class Recurrent:
    """A fully connected layer of `units` whose neurons hear each other, or each itself alone, one time step later."""

    units: int
    all_to_all: bool = True
    batch_norm: bool = False


@dataclass(frozen=True)
class Residual:
    """Layers whose result is added to what they got: the spikes of the last one, or its current before its neurons fire."""

    layers: tuple[Conv | Linear, ...]
    adds: Literal["spikes", "currents"]


Layer = Conv | Pool | Linear | Recurrent | Residual
FeedbackLayer = Conv | UpConv | Linear


@dataclass(frozen=True)
class _Part:
    """What a part of the notation may be.

    Attributes:
        pattern: what it looks like
        make: the layer, from the match, the paddings that are left, and what parses the inside of parentheses
        example: what errors say of it
        name: of what only some networks have; "" for what all have
    """

    pattern: str
    make: Callable[[re.Match, list[int], Callable[[str], list[Layer]]], Layer]
    example: str
    name: str = ""


_COUNT = r"([1-9]\d*)"
_POOLS = {"P": "own", "AP": "average", "MP": "maximum"}
_BATCH_NORM, _RECURRENT, _POOLING, _RESIDUAL = "batch norm", "a recurrent layer", "pooling of its own kind", "a residual block"
ALL = frozenset((_BATCH_NORM, _RECURRENT, _POOLING, _RESIDUAL))  # what some networks have beside the rest
_PARTS = (
    _Part(
        rf"{_COUNT}C{_COUNT}(s?)", lambda m, paddings, _: Conv(int(m[1]), int(m[2]), paddings.pop(0), 2 if m[3] else 1),
        "15C5 (convolution; 15C5s: stride 2)",
    ),
    _Part(rf"(P){_COUNT}", lambda m, *_: Pool(int(m[2])), "P2 (pooling)"),
    _Part(_COUNT, lambda m, *_: Linear(int(m[1])), "300 (units)"),
    _Part(
        rf"{_COUNT}R(1?)", lambda m, *_: Recurrent(int(m[1]), all_to_all=not m[2]), "128R (recurrent units; 128R1: each with itself)", _RECURRENT,
    ),
    _Part(rf"([AM]P){_COUNT}", lambda m, *_: Pool(int(m[2]), _POOLS[m[1]]), "AP2, MP2 (average, maximum pooling)", _POOLING),
    _Part(r"\(([^()]*?)(\+\)|\)\+)", lambda m, _, inside: _residual(inside(m[1]), m), "(64C3-BN-64C3-BN)+ (residual block)", _RESIDUAL),
)  # fmt: skip


def parse(
    layers: str, padding: int | list[int] = 0, has_outputs: bool = True, allows: frozenset[str] = frozenset()
) -> list[Layer]:
    """The layers of a network: ``15C5`` is a convolution (``15C5s`` with stride 2), ``P2`` pooling, ``300`` fully connected.

    Networks that `allows` all have: ``128R`` fully connected with weights from each of its neurons to each, ``128R1`` from each to itself;
    ``AP2`` and ``MP2`` average and maximum pooling; ``BN`` after weights, batch norm before their neurons; ``(64C3-64C3)+`` a residual block
    that adds its spikes to what it got, ``(64C3-64C3+)`` one that adds before its last neurons fire.

    `padding` is one number for all convolutions or a list with one for each. A network that `has_outputs` ends with their number;
    one that has not may end with any layer but pooling.

    Raises:
        UserError: a part that is none of these, a padding list of the wrong length, or an order that cannot be.

    >>> parse("4C3-P2-10", padding=1)
    [Conv(channels=4, kernel=3, padding=1, stride=1, batch_norm=False), Pool(size=2, kind='own'), Linear(units=10, batch_norm=False)]
    >>> parse("(8C1-BN)+", has_outputs=False, allows=ALL)
    [Residual(layers=(Conv(channels=8, kernel=1, padding=0, stride=1, batch_norm=True),), adds='spikes')]
    """
    return _parse_layers(layers, _paddings(layers, padding), has_outputs, allows)


def parse_ring(layers: str, feedback: str, padding: int | list[int] = 0) -> tuple[list[Layer], FeedbackLayer | None]:
    """The layers of a network, and the one that leads from its last layer of neurons back to the first.

    `feedback` is a convolution ``64C5``, a transposed one ``64C3u``, a fully connected layer ``400``, or empty for none;
    its padding is the last of a list.

    Raises:
        UserError: as `parse`, and a feedback that cannot be read.

    >>> parse_ring("4C3s-4C3s-10", "4C3u", padding=1)[1]
    UpConv(channels=4, kernel=3, padding=1)
    """
    paddings = _paddings(f"{layers} and {feedback}" if feedback else layers, padding)
    if not feedback:
        return _parse_layers(layers, paddings), None
    if match := re.fullmatch(r"([1-9]\d*)C([1-9]\d*)(u?)", feedback):
        kind = UpConv if match[3] else Conv
        back: FeedbackLayer = kind(int(match[1]), int(match[2]), paddings.pop())
    elif re.fullmatch(r"[1-9]\d*", feedback):
        back = Linear(int(feedback))
    else:
        raise UserError(
            f"network.feedback: cannot read '{feedback}'. Expected 64C5 (convolution), 96C3u (transposed, doubles the sides) or 400 (units)"
        )
    return _parse_layers(layers, paddings), back


def _paddings(layers: str, padding: int | list[int]) -> list[int]:
    """One padding for each convolution in the text."""
    convolutions = len(re.findall(r"\d+C\d+", layers))
    paddings = list(padding) if isinstance(padding, list) else [padding] * convolutions
    if len(paddings) != convolutions:
        raise UserError(
            f"network.padding: expected one number, or {convolutions} numbers for the convolutions of {layers}, got {padding}"
        )
    if any(p < 0 for p in paddings):
        raise UserError(f"network.padding: expected 0 or more, got {padding}")
    return paddings


def _parse_layers(layers: str, paddings: list[int], has_outputs: bool = True, allows: frozenset[str] = frozenset()) -> list[Layer]:
    parsed = _sequence(layers, layers, paddings, allows)
    if has_outputs and not isinstance(parsed[-1], Linear):
        raise UserError(f"network.layers: {layers} must end with the number of outputs")
    if isinstance(parsed[-1], Pool):
        raise UserError(f"network.layers: {layers} must not end with pooling")
    return parsed


def _sequence(text: str, layers: str, paddings: list[int], allows: frozenset[str]) -> list[Layer]:
    """The layers of `text`, all of the notation `layers` or the inside of parentheses in it."""
    parsed: list[Layer] = []
    for part in re.split(r"-(?![^()]*\))", text):
        if part == "BN":
            _check_allowed(part, _BATCH_NORM, layers, allows)
            if not parsed or not isinstance(parsed[-1], (Conv, Linear, Recurrent)) or parsed[-1].batch_norm:
                raise UserError(f"network.layers: 'BN' in {layers} must follow the weights that it normalises, such as 64C3-BN or 300-BN")
            parsed[-1] = dataclasses.replace(parsed[-1], batch_norm=True)
            continue
        layer = _layer(part, layers, paddings, allows)
        if parsed and _is_flat(parsed[-1]) and not _is_flat(layer):
            raise UserError(f"network.layers: '{part}' cannot follow a fully connected layer in {layers}")
        parsed.append(layer)
    return parsed


def _layer(part: str, layers: str, paddings: list[int], allows: frozenset[str]) -> Layer:
    for kind in _PARTS:
        if match := re.fullmatch(kind.pattern, part):
            _check_allowed(part, kind.name, layers, allows)
            return kind.make(match, paddings, lambda inside: _sequence(inside, layers, paddings, allows))
    examples = ", ".join(kind.example for kind in _PARTS if not kind.name or kind.name in allows)
    batch_norm = ", 64C3-BN (batch norm)" if _BATCH_NORM in allows else ""
    raise UserError(f"network.layers: cannot read '{part}' in {layers}. Expected parts such as {examples}{batch_norm}")


def _check_allowed(part: str, name: str, layers: str, allows: frozenset[str]) -> None:
    if name and name not in allows:
        raise UserError(f"network.layers: '{part}' in {layers} is {name}, which only networks of bptt have")


def _residual(layers: list[Layer], match: re.Match) -> Residual:
    if not (all(isinstance(layer, Conv) for layer in layers) or all(isinstance(layer, Linear) for layer in layers)):
        raise UserError(f"network.layers: expected convolutions alone, or units alone, with BN, in the residual block {match[0]}")
    return Residual(tuple(layers), "currents" if match[2] == "+)" else "spikes")


def _is_flat(layer: Layer) -> bool:
    """Whether its units have no places: a fully connected layer, or a block of them."""
    return isinstance(layer.layers[0] if isinstance(layer, Residual) else layer, (Linear, Recurrent))
