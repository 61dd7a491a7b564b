"""An estimate of what a forward pass costs in energy: its operations times published figures for each.

Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, gives for 45 nm at 0.9 V: 0.9 pJ for an addition of
32-bit floats, 3.7 pJ for a multiplication, so 4.6 pJ for a multiply-accumulate. They are what most papers on spiking networks take. Not counted
is all else: neurons, moving weights and spikes, memory, which in hardware mostly cost more than the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

from spiketrain.methods.base.activity import LayerOperations

ADDITION_PJ = 0.9
MAC_PJ = 4.6
SOURCE = f"{ADDITION_PJ} pJ per 32-bit addition, {MAC_PJ} pJ per multiply-accumulate, 45 nm: Horowitz, ISSCC 2014"


@dataclass(frozen=True)
class Energy:
    """Of one sample, in joules.

    Attributes:
        spiking: of the network as it is: additions for spikes, multiply-accumulates for what is none
        non_spiking: of a network of the same layers without spikes: multiply-accumulates alone, once
    """

    spiking: float
    non_spiking: float

    @classmethod
    def of(cls, totals: LayerOperations) -> Energy:
        """Of all operations of a sample."""
        return cls(1e-12 * (ADDITION_PJ * totals.additions + MAC_PJ * totals.macs), 1e-12 * MAC_PJ * totals.synapses)

    def sentence(self) -> str:
        """Both, and their ratio."""
        ratio = f", {self.non_spiking / self.spiking:.2g} times as much" if self.spiking > 0 else ""
        return f"{joules(self.spiking)} per sample; the same layers without spikes {joules(self.non_spiking)}{ratio}"


def joules(energy: float) -> str:
    """``3.2 µJ``."""
    for factor, unit in ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ")):
        if energy >= factor:
            return f"{energy / factor:.3g} {unit}"
    return f"{energy / 1e-12:.3g} pJ"
