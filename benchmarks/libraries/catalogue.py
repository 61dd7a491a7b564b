"""The libraries that spikeops is compared with.

Nothing of a library is imported before it is asked for something.
"""

from __future__ import annotations

from libraries.library import Library
from libraries.norse import Norse
from libraries.sinabs import Sinabs
from libraries.snntorch import SnnTorch
from libraries.spikingjelly import SpikingJelly, SpikingJellyCuPy

# What is compared in turns: libraries whose neurons are the same.
LIBRARIES: dict[str, tuple[type[Library], ...]] = {
    "spikingjelly": (SpikingJelly, SpikingJellyCuPy),
    "snntorch": (SnnTorch,),
    "norse": (Norse,),
    "sinabs": (Sinabs,),
}
