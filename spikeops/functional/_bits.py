"""A stretch of memory that holds spikes, as one bit for each."""

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
