"""The networks that are compared whole: what they are, of the building blocks of any library."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Layers, input and classes: of images as large as those of MNIST, and of spike trains as those of the Spiking Heidelberg Digits.
KINDS_OF_NETS = {"conv": ("15C5-P2-40C5-P2-300", "1x28", 10), "recurrent": ("256", "700", 20)}
# Of weights: with inputs that are multiples of 2^-8 their sums are exact in float32, in whatever order they are added up.
GRID = 2.0**-9


@dataclass(frozen=True)
class Wiring:
    """What a layer is made for: how many neurons, and, if they are recurrent, weights (N, N) to each (row) from each (column).

    The weights are small numbers of either sign, on the grid, and none leads from a neuron to itself, which not all libraries allow.
    """

    features: int
    weight: Tensor | None = None

    @classmethod
    def drawn(cls, features: int, device: str) -> Wiring:
        draw = torch.Generator(device).manual_seed(4)
        weight = torch.rand(features, features, generator=draw, device=device).sub_(0.5).mul_(4 / features**0.5)
        return cls(features, on_grid(weight.fill_diagonal_(0.0)))


@dataclass(frozen=True)
class Blocks:
    """Building blocks of a library. neuron: (kind, wiring) -> layer of neurons."""

    neuron: Callable[[str, Wiring], nn.Module]
    conv: Callable[..., nn.Module] = nn.Conv2d
    pool: Callable[[int], nn.Module] = nn.AvgPool2d
    flatten: Callable[[], nn.Module] = nn.Flatten
    linear: Callable[[int, int], nn.Module] = nn.Linear


@dataclass(frozen=True)
class NetSize:
    """A network and what goes through it.

    Attributes:
        kind: "conv" or "recurrent".
        layers: of the first, "15C5": 15 channels, kernel 5 (s2: stride 2, p1: padding 1), "P2": average pooling, "300": units, each but
            pooling with neurons; of the second, "256": recurrent neurons. The readout is a linear layer, and in the second a leaky one.
        input: (channels, side) of images, or (features,).
    """

    T: int = 5
    batch: int = 50
    kind: str = "conv"
    layers: str = "15C5-P2-40C5-P2-300"
    input: tuple[int, ...] = (1, 28)
    classes: int = 10

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.input))}-{self.layers}-{self.classes}"

    @classmethod
    def parse(cls, text: str) -> NetSize:
        """Of "conv:TxBATCH" or "recurrent:TxBATCH", or with layers and input, "conv:5x50:15C5-P2-300:1x28".

        Raises:
            ValueError: it is none.
        """
        kind, _, rest = text.partition(":")
        if kind not in KINDS_OF_NETS or not re.fullmatch(r"\d+x\d+(:[^:]+:\d+(x\d+)?)?", rest):
            raise ValueError(
                f"expected KIND:TxBATCH or KIND:TxBATCH:LAYERS:INPUT with a kind of {', '.join(KINDS_OF_NETS)}, got {text}"
            )
        counts, *given = rest.split(":")
        layers, size = given or KINDS_OF_NETS[kind][:2]
        T, batch = map(int, counts.split("x"))
        return cls(T, batch, kind, layers, tuple(map(int, size.split("x"))), KINDS_OF_NETS[kind][2])

    @property
    def kind_of_neurons(self) -> str:
        """Of its hidden layers."""
        return "lif" if self.kind == "conv" else "recurrent_lif"

    def draw(self, generator: torch.Generator, device: str) -> Tensor:
        """Its input (T, batch, ...): pixels, or spikes, of which one in fifty is there, as in a recording of events."""
        shape = (*self.input, self.input[-1]) if self.kind == "conv" else self.input
        x = torch.rand(self.T, self.batch, *shape, generator=generator, device=device)
        return x.mul(256).floor().div(256) if self.kind == "conv" else (x < 0.02).float()

    def parts(self, blocks: Blocks) -> list[nn.Module]:
        return self._conv_parts(blocks) if self.kind == "conv" else self._recurrent_parts(blocks)

    def _conv_parts(self, blocks):
        channels, side = self.input
        parts, is_flat = [], False
        for layer in self.layers.split("-"):
            if match := re.fullmatch(r"(\d+)C(\d+)(?:s(\d+))?(?:p(\d+))?", layer):
                out, kernel, stride, padding = (int(group or default) for group, default in zip(match.groups(), (0, 0, 1, 0)))
                parts.append(blocks.conv(channels, out, kernel, stride=stride, padding=padding))
                channels, side = out, (side + 2 * padding - kernel) // stride + 1
            elif layer.startswith("P"):
                parts.append(blocks.pool(int(layer[1:])))
                side //= int(layer[1:])
                continue
            else:
                parts += [] if is_flat else [blocks.flatten()]
                parts.append(blocks.linear(channels if is_flat else channels * side**2, int(layer)))
                channels, is_flat = int(layer), True
            parts.append(blocks.neuron("lif", Wiring(channels)))
        parts += [] if is_flat else [blocks.flatten()]
        return [*parts, blocks.linear(channels if is_flat else channels * side**2, self.classes)]

    def _recurrent_parts(self, blocks):
        (features,) = self.input
        parts = []
        for layer in self.layers.split("-"):
            parts += [blocks.linear(features, int(layer)), blocks.neuron("recurrent_lif", Wiring.drawn(int(layer), "cpu"))]
            features = int(layer)
        return [*parts, blocks.linear(features, self.classes), blocks.neuron("leaky_readout", Wiring(self.classes))]


def weights(parts: list[nn.Module], learned: Callable[[nn.Module], list[Tensor]]) -> list[Tensor]:
    """Weights and biases of convolutions and linear layers, and what the layers of neurons say, in order."""
    found: list[Tensor] = []
    for part in parts:
        dense = getattr(part, "module", part)  # of a layer that is distributed over time
        found += [dense.weight, dense.bias] if isinstance(dense, (nn.Conv2d, nn.Linear)) else learned(part)
    return found


def on_grid(values: Tensor) -> Tensor:
    return (values / GRID).round() * GRID
