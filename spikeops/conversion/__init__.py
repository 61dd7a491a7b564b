"""Models of SpikingJelly, snnTorch, Norse and sinabs on the kernels of spikeops.

:func:`convert` finds the neurons of these libraries in a model and puts exact counterparts in their places. A library is imported
only if the model holds modules of it.
"""

from spikeops.conversion._convert import Finding, convert, inspect
from spikeops.conversion._exact import NotExact

__all__ = ["Finding", "NotExact", "convert", "inspect"]
