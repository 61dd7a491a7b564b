"""Local losses: similarity matching of each layer's neurons (L_corr)."""

from __future__ import annotations

from dataclasses import dataclass

from spiketrain.methods.base import local_loss


@dataclass
class Options(local_loss.Options):
    __doc__ = local_loss.Options.__doc__

    name: str = "local_corr"


class LocalCorr(local_loss.LocalLossMethod):
    Options = Options
    loss = "sim"


METHOD = LocalCorr
