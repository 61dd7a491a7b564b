"""How active a network is: firing rates, and what they cost next to a network that does not spike.

A *synaptic operation* is what one spike does at one synapse: an addition. Per sample, a layer makes

    SynOps = time steps * neurons * firing rate * mean fan-out,

in the forward pass, with the fan-out counted by `models.synapses` to the next layer, or back to the first one from the last.
In SPIDE's backward pass spikes have a sign and run through the same synapses in the other direction: there the fan-out is
the number of synapses by which a neuron is reached in the forward pass, but for those from the input, which no spike
crosses. Neurons that SPIDE's mask keeps from sending are counted as if they sent. An image drives the first layer with real
numbers, once for all steps, and a classifier that reads firing rates is used once: those are *multiply-accumulates* (MACs).
A *non-spiking network* of the same layers takes one MAC for each synapse, once.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class LayerActivity:
    """A layer of neurons.

    Attributes:
        name: what leads to it
        neurons: how many it has
        forward_rate: spikes per neuron and time step
        backward_rate: the same in the backward pass, where that spikes
        synapses: from this layer to the next (or back to the first), where known; a way through pooling counts as one
        macs: of a network without spikes for what leads to the next layer, which pools first; None: one for each of `synapses`
        backward_synapses: over which its backward spikes run
    """

    name: str
    neurons: int
    forward_rate: float
    backward_rate: float | None = None
    synapses: int | None = None
    backward_synapses: int = 0
    macs: int | None = None

    @property
    def non_spiking(self) -> int:
        """MACs of a network without spikes."""
        return self.synapses if self.macs is None else self.macs


@dataclass
class LayerOperations:
    """What a layer of weights computes for a sample in the forward pass; see `operations`.

    Attributes:
        name: its name in the network
        additions: SynOps: weights added, one for each spike and synapse
        macs: multiply-accumulates, of inputs that are no spikes
        synapses: MACs of the same layer in a network without spikes
    """

    name: str
    additions: float = 0.0
    macs: float = 0.0
    synapses: float = 0.0


@dataclass
class Activity:
    """A network's activity on a batch, or on average over batches.

    Attributes:
        layers: the layers of neurons in the order of the forward pass
        time_steps: of the forward pass
        backward_time_steps: of the backward pass, 0 where that does not spike
        input_synapses: from the input to the first layer, where known
        input_rate: non-zero inputs per pixel and time step for events; None for images
        readout_synapses: of a classifier that reads the rates of the last layer
        operations: of each layer of weights, where they were counted instead of the synapses
        uncounted: why they could not be, "" where nobody has tried
        input_macs: of an image to the first layer, which may be pooled first; None: one for each of `input_synapses`
    """

    layers: list[LayerActivity]
    time_steps: int
    backward_time_steps: int = 0
    input_synapses: int | None = None
    input_rate: float | None = None
    readout_synapses: int = 0
    operations: list[LayerOperations] | None = None
    uncounted: str = ""
    input_macs: int | None = None

    def totals(self) -> LayerOperations | None:
        """All of a sample in the forward pass; None where not all is known."""
        if self.operations is not None:
            parts = self.operations
            sums = ((getattr(part, name) for part in parts) for name in ("additions", "macs", "synapses"))
            return LayerOperations("all", *map(sum, sums))
        if not self.is_counted:
            return None
        additions, macs = sum(map(self.forward_operations, self.layers)), float(self.readout_synapses)
        if self.input_rate is None:
            macs += self.input_operations()
        else:
            additions += self.input_operations()
        synapses = self.input_non_spiking + self.readout_synapses + sum(layer.non_spiking for layer in self.layers)
        return LayerOperations("all", additions, macs, synapses)

    @property
    def is_counted(self) -> bool:
        """Whether all synapses are known."""
        return self.input_synapses is not None and all(layer.synapses is not None for layer in self.layers)

    def input_operations(self) -> float:
        """SynOps per sample from events to the first layer, or MACs from an image."""
        return self.input_non_spiking if self.input_rate is None else self.input_synapses * self.input_rate * self.time_steps

    @property
    def input_non_spiking(self) -> int:
        """MACs from the input to the first layer of a network without spikes."""
        return self.input_synapses if self.input_macs is None else self.input_macs

    def forward_operations(self, layer: LayerActivity) -> float:
        """SynOps per sample in the forward pass."""
        return layer.forward_rate * self.time_steps * layer.synapses

    def backward_operations(self, layer: LayerActivity) -> float:
        """SynOps per sample in the backward pass."""
        return (layer.backward_rate or 0.0) * self.backward_time_steps * layer.backward_synapses


def image_or_event_rate(inputs: Tensor) -> float | None:
    """`Activity.input_rate` of a batch: images (N, C, H, W) or events (T, N, C, H, W)."""
    return inputs.ne(0).double().mean().item() if inputs.dim() == 5 else None
