"""A stretch of memory that holds spikes, or sums of few of them, as one bit for each, or a few."""

from __future__ import annotations

import torch

from spikeops import _backend
from spikeops.functional import _provenance
from spikeops.functional.pack import SPIKES_PER_WORD, pack_words, unpack_words

# Words that are looked at together.
_PIECE = 8192


class Bits:
    """Of a flat tensor of spikes, whichever axes they have: 16 stretches of it lie in a word as 16 time steps would.

    Args:
        flat: (N,), N >= 1, contiguous, of a type that :func:`spikeops.functional.pack_spikes` takes. Other values than 0 count as 1.

    Attributes:
        words: uint16 (1, ceil(N / 16)); they may be exchanged for what holds them.
    """

    __slots__ = ("__weakref__", "_dtype", "_ops", "_rows", "words")

    def __init__(self, flat: torch.Tensor):
        width = -(-flat.numel() // SPIKES_PER_WORD)
        self._rows = -(-flat.numel() // width)
        if missing := self._rows * width - flat.numel():
            flat = torch.cat([flat, flat.new_zeros(missing)])
        self._dtype = flat.dtype
        # The way back runs on the backend of the way there, in whichever thread.
        self._ops = None if _backend.is_reference() else _backend.namespace("pack_spikes", flat.device)
        self.words = pack_words(self._ops, flat.view(self._rows, width))

    def spikes(self, words: torch.Tensor) -> torch.Tensor:
        """The flat tensor again, from its words: (N,), or a little more."""
        return _provenance.mark(self._unpacked(words)).view(-1)

    def are_all_of(self, flat: torch.Tensor, words: torch.Tensor) -> bool:
        """Whether a tensor like the one that they were made of is equal to what they give. It waits for the device."""
        if self._dtype == torch.bool:
            return torch.equal(self._unpacked(words).view(-1)[: len(flat)], flat)
        width = words.shape[1]
        whole = flat.numel() // width
        rows, rest = flat[: whole * width].view(whole, width), flat[whole * width :]
        # Piece by piece, in the cache; `torch.equal` takes three times as long.
        for start in range(0, width, _PIECE):
            difference = self._unpacked(words[:, start : start + _PIECE])
            difference[:whole] -= rows[:, start : start + _PIECE]
            if start < len(rest):
                piece = rest[start : start + _PIECE]
                difference[whole, : len(piece)] -= piece
            least, most = difference.aminmax()
            if not least.item() == most.item() == 0:
                return False
        return True

    def _unpacked(self, words: torch.Tensor) -> torch.Tensor:
        return unpack_words(self._ops, words, self._rows, self._dtype)


class Counts:
    """Of a flat tensor of whole numbers, sums of spikes: as many bits for each as the largest takes. What :class:`Bits` is for spikes.

    Args:
        flat: (N,), N >= 1, contiguous, floating. Of values other than 0, 1, ..., most nothing is promised.
        most: at most 255.

    Attributes:
        words: uint16; they may be exchanged for what holds them.
    """

    __slots__ = ("__weakref__", "_bits", "_dtype", "_length", "_planes")

    def __init__(self, flat: torch.Tensor, most: int):
        whole = flat.to(torch.uint8)
        self._dtype, self._length, self._planes = flat.dtype, len(flat), most.bit_length()
        self._bits = Bits(torch.cat([(whole >> place) & 1 for place in range(self._planes)]))

    @property
    def words(self) -> torch.Tensor:
        return self._bits.words

    @words.setter
    def words(self, words: torch.Tensor) -> None:
        self._bits.words = words

    def spikes(self, words: torch.Tensor) -> torch.Tensor:
        """The flat tensor again, from its words: (N,)."""
        planes = self._bits.spikes(words)[: self._planes * self._length].view(self._planes, self._length)
        counts = planes[-1].clone()
        for plane in reversed(planes[:-1]):
            counts.mul_(2).add_(plane)
        return counts.to(self._dtype)

    def are_all_of(self, flat: torch.Tensor, words: torch.Tensor) -> bool:
        """Whether a tensor like the one that they were made of is equal to what they give. It waits for the device."""
        least, most = self.spikes(words).sub_(flat).aminmax()
        return least.item() == most.item() == 0
