"""Local losses: cross-entropy and similarity matching of each layer's neurons together (L_ce_corr)."""

from __future__ import annotations

from dataclasses import dataclass

from spiketrain.config.fields import UpToOne
from spiketrain.methods.base import local_loss


@dataclass
class Options(local_loss.Options):
    __doc__ = f"""{local_loss.Options.__doc__.rstrip()}
        beta: share of similarity matching in the loss; the rest is cross-entropy
    """

    name: str = "local_ce_corr"
    beta: UpToOne = 0.99


class LocalCECorr(local_loss.LocalLossMethod):
    Options = Options
    loss = "predsim"


METHOD = LocalCECorr
