"""Whether an export computes what the run does."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from spiketrain.errors import UserError

# Of the largest score: some hundred roundings of float32, in sums of other order.
TOLERANCE = 1e-4
# Rounding can take a membrane over its threshold, or keep it below, and a spike more or less is no small difference.
MOST_FLIPPED = 1 / 32


@dataclass
class Agreement:
    """How scores of an export compare with those of the run.

    Attributes:
        samples: how many were compared
        is_equal: bit for bit
        flipped: samples with a score that is further off than the tolerance
        largest: the largest difference of all others, as a share of the largest score
        same_class: samples with the same prediction
    """

    samples: int
    is_equal: bool
    flipped: int
    largest: float
    same_class: int

    def __str__(self) -> str:
        if self.is_equal:
            return f"scores of {self.samples} samples are equal, bit for bit"
        text = f"scores of {self.samples - self.flipped} of {self.samples} samples are equal within {self.largest:.1e} of the largest"
        if self.flipped:
            text += f"; rounding has changed a spike in {self.flipped}, as it may in one of {round(1 / MOST_FLIPPED)}"
        return f"{text}; {self.same_class} of {self.samples} predictions are the same"


def compare(wanted: Tensor, found: Tensor) -> Agreement:
    """Scores (N, outputs) of the run and of an export.

    Raises:
        UserError: they have another shape, or are not finite.
    """
    if found.shape != wanted.shape:
        raise UserError(f"the export was not written: it computes scores of shape {tuple(found.shape)}, the run {tuple(wanted.shape)}")
    if not found.isfinite().all():
        raise UserError("the export was not written: it computes scores that are not finite")
    wanted, found = wanted.double(), found.double()
    scale = wanted.abs().max().clamp_min(1e-12)
    error = ((wanted - found).abs() / scale).amax(1)
    flipped = error > TOLERANCE
    same = (wanted.argmax(1) == found.argmax(1)).sum().item()
    largest = error[~flipped].max().item() if not flipped.all() else 0.0
    return Agreement(len(wanted), bool((error == 0).all()), int(flipped.sum()), largest, int(same))


def check(agreement: Agreement, is_exact: bool) -> None:
    """Refuse an export that computes something else.

    Raises:
        UserError: it does.
    """
    most = 0 if is_exact else int(agreement.samples * MOST_FLIPPED)
    if agreement.flipped > most or (is_exact and not agreement.is_equal):
        raise UserError(
            f"the export was not written: its scores are not those of the run for {max(1, agreement.flipped)} of {agreement.samples} samples "
            f"({agreement.same_class} predictions are the same), expected {'equal ones' if is_exact else f'{TOLERANCE:.0e} of the largest'}"
        )
