"""Fused kernels for training spiking neural networks, as torch ops.

>>> import spikeops.functional as SF
>>> spikes, v = SF.lif(torch.rand(8, 32, 100), decay=0.5)
"""

from spikeops import surrogate
from spikeops._backend import backend, set_backend
from spikeops._devices import backends
from spikeops._freed_memory import keep_freed_memory
from spikeops._version import __version__

from spikeops import functional, nn  # isort: skip  (need the libraries loaded)
from spikeops.functional._saved_spikes import pack_saved_spikes  # isort: skip
from spikeops.conversion import convert  # isort: skip
from spikeops.nn.fusing import fuse  # isort: skip

__all__ = [
    "__version__", "backend", "backends", "convert", "functional", "fuse", "keep_freed_memory", "nn", "pack_saved_spikes", "set_backend",
    "surrogate",
]  # fmt: skip
