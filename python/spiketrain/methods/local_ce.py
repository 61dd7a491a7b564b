"""Local losses: cross-entropy of a linear classifier of each layer's neurons (L_ce)."""

from __future__ import annotations

from dataclasses import dataclass

from spiketrain.methods.base import local_loss


@dataclass
class Options(local_loss.Options):
    __doc__ = local_loss.Options.__doc__

    name: str = "local_ce"


class LocalCE(local_loss.LocalLossMethod):
    Options = Options
    loss = "pred"


METHOD = LocalCE
