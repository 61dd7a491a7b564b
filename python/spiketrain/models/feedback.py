"""The networks of IDE and SPIDE: a ring of spiking layers and a linear classifier on the firing rate of the last one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from torch import Tensor, nn

from spikeops import nn as snn
from spiketrain.config import NetworkConfig
from spiketrain.errors import UserError
from spiketrain.models.layers import batch_norm_of
from spiketrain.models.network import Shape, output_shape
from spiketrain.models.notation import Conv, FeedbackLayer, Layer, Linear, Pool, UpConv, parse_ring
from spiketrain.models.synapses import count_synapses


class FeedbackNetwork(nn.Module):
    """A `spikeops.nn.FeedbackRing` and a classifier. Input: images (N, C, H, W), or events (T, N, C, H, W). Output: (N, classes).

    Each part of ``config.layers`` but the last, pooling too, leads to a layer of neurons of its own, as in the published
    networks; ``config.feedback`` leads back to the first. All have a bias but the feedback.

    Args:
        config: layers, feedback, padding, dropout and the number of time steps
        input_shape: (C, H, W) of a sample
        batch_norm: whether batch-norm follows each convolution and linear layer but the feedback
        initialise: sets the weights of a part, given before any restriction
        restrict: restricts the norm of the feedback weight
        conv: class of the convolutions, nn.Conv2d or snn.WSConv2d
        ring_options: further arguments of the ring

    Attributes:
        names: the layers of neurons by what leads to them: conv_1, pool_1, linear_1, ...
        shapes: (C, H, W) or (units,) of each of them
        outputs: how many there are
    """

    def __init__(
        self,
        config: NetworkConfig,
        input_shape: Shape,
        *,
        batch_norm: bool,
        initialise: Callable[[nn.Module], object],
        restrict: Callable[[nn.Module], nn.Module],
        conv: type[nn.Conv2d] = nn.Conv2d,
        **ring_options,
    ) -> None:
        super().__init__()
        if config.dropout_kind != "units":
            raise UserError(f"network.dropout_kind: the networks of ide and spide drop units, got {config.dropout_kind}")
        self.input_shape = tuple(input_shape)
        layers, feedback = parse_ring(config.layers, config.feedback, config.padding)
        self.names: list[str] = []
        self.shapes: list[Shape] = []
        parts, counter, shape = [], Counter(), self.input_shape
        for layer in layers[:-1]:
            part = _part(layer, shape, conv, bias=True)
            initialise(part)
            shape = output_shape(layer, shape, config.layers)
            parts.append(nn.Sequential(part, batch_norm_of(shape)) if batch_norm and not isinstance(layer, Pool) else part)
            kind = type(layer).__name__.lower()
            counter[kind] += 1
            self.names.append(f"{kind}_{counter[kind]}")
            self.shapes.append(shape)
        if not parts:
            raise ValueError(
                f"network.layers: expected a layer of neurons before the outputs, such as 400-10, got {config.layers}: a lone number, "
                "quoted or not, is that of the outputs"
            )
        back = None
        if feedback is not None:
            back = _part(feedback, shape, conv, bias=False)
            initialise(back)
            restrict(_weighted(back))
        self.ring = snn.FeedbackRing(
            parts[1:], back, parts[0], time_steps=config.time_steps, dropout=config.dropout, **ring_options
        )
        self.outputs = layers[-1].units
        self.classifier = nn.Linear(math.prod(shape), self.outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.ring(x).flatten(1))

    def synapses(self) -> tuple[int, list[int], int]:
        """How many lead from the input to the first layer, from each layer to the next (or back), to the classifier."""
        ring = self.ring
        outgoing = [count_synapses([layer], shape) for layer, shape in zip(ring.layers, self.shapes)]
        outgoing.append(0 if ring.feedback is None else count_synapses([ring.feedback], self.shapes[-1]))
        return count_synapses([ring.input_layer], self.input_shape), outgoing, self.classifier.weight.numel()


def _part(layer: Layer | FeedbackLayer, input_shape: Shape, conv: type[nn.Conv2d], bias: bool) -> nn.Module:
    if isinstance(layer, Pool):
        return snn.AvgPool2d(layer.size)
    if isinstance(layer, Linear):
        linear = nn.Linear(math.prod(input_shape), layer.units, bias)
        return nn.Sequential(nn.Flatten(), linear) if len(input_shape) > 1 else linear
    if isinstance(layer, UpConv):
        return nn.ConvTranspose2d(input_shape[0], layer.channels, layer.kernel, 2, layer.padding, output_padding=1, bias=bias)
    assert isinstance(layer, Conv)
    return conv(input_shape[0], layer.channels, layer.kernel, layer.stride, layer.padding, bias=bias)


def _weighted(part: nn.Module) -> nn.Module:
    """The module in it that has the weight."""
    return part[-1] if isinstance(part, nn.Sequential) else part
