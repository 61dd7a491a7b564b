"""The networks' usual notation, for example ``15C5-P2-40C5-P2-300-10``, read into a list of layers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spiketrain.errors import UserError


@dataclass(frozen=True)
class Conv:
    """`channels` maps of kernel x kernel convolution."""

    channels: int
    kernel: int
    padding: int = 0
    stride: int = 1


@dataclass(frozen=True)
class UpConv:
    """`channels` maps of kernel x kernel transposed convolution with stride 2, which doubles height and width."""

    channels: int
    kernel: int
    padding: int = 0


@dataclass(frozen=True)
class Pool:
    """Pooling over windows of size x size, which do not overlap."""

    size: int


@dataclass(frozen=True)
class Linear:
    """A fully connected layer of `units`."""

    units: int


@dataclass(frozen=True)
class Recurrent:
    """A fully connected layer of `units` whose neurons hear each other, or each itself alone, one time step later."""

    units: int
    all_to_all: bool = True


Layer = Conv | Pool | Linear | Recurrent
FeedbackLayer = Conv | UpConv | Linear


def parse(layers: str, padding: int | list[int] = 0, has_outputs: bool = True, may_recur: bool = False) -> list[Layer]:
    """The layers of a network: ``15C5`` is a convolution (``15C5s`` with stride 2), ``P2`` pooling, ``300`` fully connected; where it
    `may_recur`, ``128R`` fully connected with weights from each of its neurons to each, ``128R1`` from each to itself.

    `padding` is one number for all convolutions or a list with one for each. A network that `has_outputs` ends with their number;
    one that has not may end with any layer but pooling.

    Raises:
        UserError: a part that is none of these, a padding list of the wrong length, or an order that cannot be.

    >>> parse("4C3-P2-10", padding=1)
    [Conv(channels=4, kernel=3, padding=1, stride=1), Pool(size=2), Linear(units=10)]
    >>> parse("128R-20", may_recur=True)
    [Recurrent(units=128, all_to_all=True), Linear(units=20)]
    """
    return _parse_layers(layers, _paddings(layers, padding), has_outputs, may_recur)


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


def _parse_layers(layers: str, paddings: list[int], has_outputs: bool = True, may_recur: bool = False) -> list[Layer]:
    parsed: list[Layer] = []
    for part in layers.split("-"):
        if match := re.fullmatch(r"([1-9]\d*)C([1-9]\d*)(s?)", part):
            parsed.append(Conv(int(match[1]), int(match[2]), paddings.pop(0), stride=2 if match[3] else 1))
        elif match := re.fullmatch(r"P([1-9]\d*)", part):
            parsed.append(Pool(int(match[1])))
        elif match := re.fullmatch(r"[1-9]\d*", part):
            parsed.append(Linear(int(part)))
        elif match := re.fullmatch(r"([1-9]\d*)R(1?)", part):
            if not may_recur:
                raise UserError(f"network.layers: '{part}' in {layers} is a recurrent layer, which only networks of bptt have")
            parsed.append(Recurrent(int(match[1]), all_to_all=not match[2]))
        else:
            recurrent = ", 128R (recurrent units; 128R1: each with itself)" if may_recur else ""
            raise UserError(
                f"network.layers: cannot read '{part}' in {layers}. Expected parts such as 15C5 (convolution; 15C5s: stride 2), P2 (pooling), "
                f"300 (units){recurrent}"
            )
        if len(parsed) > 1 and isinstance(parsed[-2], (Linear, Recurrent)) and not isinstance(parsed[-1], (Linear, Recurrent)):
            raise UserError(f"network.layers: '{part}' cannot follow a fully connected layer in {layers}")
    if has_outputs and not isinstance(parsed[-1], Linear):
        raise UserError(f"network.layers: {layers} must end with the number of outputs")
    if isinstance(parsed[-1], Pool):
        raise UserError(f"network.layers: {layers} must not end with pooling")
    return parsed
