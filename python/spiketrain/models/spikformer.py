"""Spikformer: a transformer of spikes (Zhou et al., "Spikformer: when spiking neural network meets transformer", ICLR 2023,
arXiv:2209.15425), as its authors have it for CIFAR.

Spiking patch splitting: four convolutions with batch norm and neurons, the last two with max-pooling, which leave a patch of 4 x 4 pixels to
each place, and a convolution whose spikes tell the places from each other. Then encoder blocks of spiking self attention and two
fully connected layers for each place, all with batch norm and neurons, whose spikes are added to their input. Places stay maps
(C, H, W) throughout, so that a fully connected layer for each place is a 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from spiketrain.errors import UserError
from spiketrain.models.residual import Block, MakeNeurons, ResidualNetwork, Shape, Unit, conv, total

ATTENTION_SCALE, ATTENTION_THRESHOLD, MLP_RATIO = 0.125, 0.5, 4


class SpikeProducts(nn.Module):
    """(key value^T) query for spikes (T, N, heads, channels of a head, places) each, to numbers of that shape."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return (key @ value.transpose(-1, -2)).transpose(-1, -2) @ query


class SelfAttention(nn.Module):
    """Spiking self attention: query, key and value are spikes, and their products, scaled, the current of neurons; there is no softmax.

    The sum of spike trains (T, N, C, H, W) to spikes (T, N, C, H, W). Products of spikes are whole numbers, so their order
    does not matter; query (key value) takes time and memory in proportion to the number of places.
    """

    def __init__(self, channels: int, heads: int, neurons: MakeNeurons) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (_for_each_place(channels, channels, neurons) for _ in range(3))
        self.products = SpikeProducts()
        self.attention = neurons((channels, 1, 1), ATTENTION_THRESHOLD)

    def forward(self, *spikes: Tensor) -> Tensor:
        # A node of its own: the three gradients are added up here, before that of a shortcut, in whichever order blocks are computed.
        x = total(spikes).view_as(spikes[0])
        query, key, value = (
            unit(x).flatten(3).unflatten(2, (self.heads, -1)) for unit in (self.query, self.key, self.value)
        )  # (T, N, heads, channels of a head, places)
        seen = self.products(query, key, value)
        return self.attention(ATTENTION_SCALE * seen.flatten(2, 3).unflatten(3, x.shape[3:]))


def _for_each_place(inputs: int, channels: int, neurons: MakeNeurons) -> Unit:
    layer = conv(inputs, channels, 1, bias=True)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return Unit(layer, neurons((channels, 1, 1), 1.0))


def spikformer(
    time_steps: int, input_shape: Shape, outputs: int, neurons: MakeNeurons, readout: Callable[[int], nn.Module] | None = None, *,
    width: int = 384, depth: int = 4, heads: int = 12,
) -> ResidualNetwork:  # fmt: skip
    """Spikformer-4-384, or, with another depth or width, its like.

    Args:
        time_steps: for images
        input_shape: (C, H, W)
        outputs: number of classes
        neurons: makes the neurons
        readout: makes what follows the outputs, see `ResidualNetwork`
        width: channels of each place, a multiple of 8 and of heads
        depth: encoder blocks
        heads: of the self attention

    Raises:
        UserError: a width that cannot be divided.
    """
    for divisor, what in ((8, "8, for the channels of the first layers"), (heads, f"network.heads, {heads}")):
        if width % divisor:
            raise UserError(f"field network.width: expected a multiple of {what}, got {width}")

    def unit(inputs: int, channels: int, pool: nn.Module | None = None) -> Unit:
        return Unit(conv(inputs, channels, 3), neurons((channels, 1, 1), 1.0), pool)

    stem = unit(input_shape[0], width // 8)
    blocks = {
        "patch_2": Block({"conv": unit(width // 8, width // 4)}, None),
        "patch_3": Block({"conv": unit(width // 4, width // 2, nn.MaxPool2d(3, 2, 1))}, None),
        "patch_4": Block({"conv": unit(width // 2, width, nn.MaxPool2d(3, 2, 1))}, None),
        "places": Block({"conv": unit(width, width)}),
    }
    for number in range(1, depth + 1):
        attention = {"heads": SelfAttention(width, heads, neurons), "project": _for_each_place(width, width, neurons)}
        hidden = MLP_RATIO * width
        mlp = {"hidden": _for_each_place(width, hidden, neurons), "output": _for_each_place(hidden, width, neurons)}
        blocks |= {f"attention_{number}": Block(attention), f"mlp_{number}": Block(mlp)}
    return ResidualNetwork(time_steps, stem, blocks, width, outputs, readout)
