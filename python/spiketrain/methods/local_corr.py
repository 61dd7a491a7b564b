"""Local losses: similarity matching of each layer's firing rate (our variant of L_corr)."""

from __future__ import annotations

from dataclasses import dataclass

from spiketrain.methods import _local_loss


@dataclass
class Options(_local_loss.Options):
    __doc__ = _local_loss.Options.__doc__

    name: str = "local_corr"


class LocalCorr(_local_loss.LocalLossMethod):
    Options = Options
    loss = "sim"


METHOD = LocalCorr
