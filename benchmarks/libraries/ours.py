"""spikeops in the place of a library: the same neurons on our kernels, and its own model converted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import spikeops
import spikeops.nn as snn

from libraries.library import Layer, Library, Net, Neuron
from libraries.networks import Blocks, weights

OURS = ("spikeops", "spikeops_triton")
CONVERTED = "spikeops.convert"


class Computed(nn.Module):
    """A function of x, parameters, and a constant if there is one, as a module."""

    def __init__(self, function: Callable[..., Tensor], *parameters: Tensor, constant: Tensor | None = None):
        super().__init__()
        self._function = function
        self.numbers = nn.ParameterList(parameters)
        self.register_buffer("constant", constant)

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x, *self.numbers, *([] if self.constant is None else [self.constant]))


def parameter(value: float | Tensor) -> nn.Parameter:
    return nn.Parameter(torch.as_tensor(value).clone())


def recurrent(wiring, *arguments, bias: bool = False, **options) -> snn.RecurrentLIF:
    """RecurrentLIF with these weights."""
    layer = snn.RecurrentLIF(wiring.features, *arguments, bias=bias, **options)
    with torch.no_grad():
        layer.weight.copy_(wiring.weight)
        if bias:
            layer.bias.zero_()
    return layer


class Spikeops(Library):
    """Our own kernels, with the neurons of another library."""

    name = "spikeops"

    def __init__(self, neurons: dict[str, Neuron]):
        self._neurons = neurons

    def neurons(self):
        return self._neurons

    def variants(self, device, kind):
        return list(OURS if device == "cuda" else OURS[:1])

    def select(self, variant):
        spikeops.set_backend("native" if variant == OURS[0] else "triton")

    def layer(self, kind, variant, wiring, device, dtype, compile):
        module = self._neurons[kind].ours(wiring).to(device)
        return Layer(module, list(module.parameters()))

    def net(self, variant, size, compile):
        """As our documentation advises: layers that, on the CPU, skip what is 0, and fast pooling."""
        parts = size.parts(Blocks(
            lambda kind, wiring: self._neurons[kind].ours(wiring), _over_time(snn.SpikeConv2d), _over_time(snn.AvgPool2d),
            _over_time(nn.Flatten), snn.SpikeLinear,
        ))  # fmt: skip
        return Net(nn.Sequential(*parts), weights(parts, lambda part: list(part.parameters())))


def _over_time(make):
    return lambda *args, **options: snn.TimeDistributed(make(*args, **options))


class Converted(Library):
    """A network of a library after ``spikeops.convert``: what a user gets who changes one line."""

    name = CONVERTED

    def __init__(self, library: Library):
        self._library = library

    def neurons(self):
        return self._library.neurons()

    def variants(self, device, kind):
        return [CONVERTED]

    def select(self, variant):
        spikeops.set_backend("auto")

    def net(self, variant, size, compile):
        net = self._library.net(self._library.name, size, False)
        spikeops.convert(net, inplace=True)
        return net
