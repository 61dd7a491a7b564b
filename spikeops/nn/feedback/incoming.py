"""The drive of a population of neurons by another one's spikes."""

from __future__ import annotations

import torch

from spikeops.functional import _events
from spikeops.functional._event_conv import EventConv2d
from spikeops.nn.feedback.operators import ChannelsLastRows, Convolution, Linear, Memory, Operator, Reshape, TransposedConvolution


class Incoming:
    """An operator on spikes. On the CPU it does as little as the spikes ask for: nothing where none fired, sums of weights where few
    did. On a GPU, where asking would make the host wait, it is always dense.

    Args:
        operator: from the sending population to the receiving one.
        size: magnitude of the spikes that are not 0.
    """

    def __init__(self, operator: Operator, size: float):
        self._operator, self._size = operator, size
        self._on_events = None
        self._silent: dict[int, torch.Tensor | None] = {}
        # Drives are gone when the next ones come: each overwrites the one before.
        self._memory: Memory = {}

    def drive(self, spikes: torch.Tensor, fired: torch.Tensor | None) -> torch.Tensor | None:
        """The drive (N, ...) by spikes (N, ...) of one or several time steps; None where it is 0.

        Args:
            fired: whether any neuron fired, per time step; None on a GPU.
        """
        if fired is None:
            return self._operator.apply_with(self._memory, spikes)
        if not (fired.item() if len(fired) == 1 else fired.any()):
            return self._of_silence(spikes)
        if self._on_events is None:
            self._on_events = OnEvents.of(self._operator, spikes) or False
            self._square = spikes.new_empty(())
        if self._on_events and self._on_events.pays(_density(spikes, self._size, self._square)):
            return self._on_events.apply(spikes)
        return self._operator.apply_with(self._memory, spikes)

    def _of_silence(self, spikes: torch.Tensor) -> torch.Tensor | None:
        samples = len(spikes)
        if samples not in self._silent:
            drive = self._operator.silent(spikes)
            if drive is not None:
                layout = torch.channels_last if drive.dim() == 4 else torch.contiguous_format
                drive = drive.expand(samples, *drive.shape[1:]).contiguous(memory_format=layout)
            self._silent[samples] = drive
        return self._silent[samples]


def _density(spikes: torch.Tensor, size: float, square: torch.Tensor) -> float:
    """The share of neurons that fired: the fastest way to count numbers that are 0 or of one magnitude."""
    flat = spikes.as_strided((spikes.numel(),), (1,))
    return torch.dot(flat, flat, out=square).item() / (size * size * spikes.numel())


class OnEvents:
    """An operator whose first convolution or linear layer adds up the weights of the neurons that fired."""

    def __init__(self, convolution: EventConv2d, rows: bool, rest: Operator):
        self._convolution, self._rows, self._rest = convolution, rows, rest
        self._memory: Memory = {}

    @classmethod
    def of(cls, operator: Operator, spikes: torch.Tensor) -> OnEvents | None:
        """None for operators that do not begin with a convolution or a linear layer, and where there is no such kernel."""
        if not (operator.stages and _events.is_available(spikes)):
            return None
        first, *rest = operator.stages
        rows = isinstance(first, (ChannelsLastRows, Reshape)) or spikes.dim() == 2
        if isinstance(first, (ChannelsLastRows, Reshape)) and not getattr(first, "inverse", False) and rest:
            first, *rest = rest
        if rows and isinstance(first, Linear):
            packed = EventConv2d.pack(first.weight[:, :, None, None], first.bias)
        elif not rows and isinstance(first, Convolution) and first.groups == 1:
            packed = EventConv2d.pack(first.weight, first.bias, first.stride, first.padding, dilation=first.dilation)
        elif not rows and isinstance(first, TransposedConvolution) and first.groups == 1:
            packed = EventConv2d.pack(first.weight, first.bias, first.stride, first.padding, first.output_padding,
                                      first.dilation, transposed=True)  # fmt: skip
        else:
            return None
        return cls(packed, rows, Operator(tuple(rest)))

    def pays(self, density: float) -> bool:
        return self._convolution.pays(density)

    def apply(self, spikes: torch.Tensor) -> torch.Tensor:
        images = spikes
        if self._rows:
            rows = spikes.permute(0, 2, 3, 1) if spikes.dim() == 4 else spikes
            images = rows.flatten(1)[:, :, None, None]
        key = -1, images.shape
        out = self._memory[key] = self._convolution(images, self._memory.get(key))
        return self._rest.apply_with(self._memory, out[:, :, 0, 0] if self._rows else out)
