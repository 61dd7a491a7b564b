"""Networks to and from NIR, the Neuromorphic Intermediate Representation (https://neuroir.org), which simulators and chips exchange::

    graph = spikeops.nir.to_nir(model, (2, 34, 34), dt=1e-4)
    nir.write("model.nir", graph)
    model = spikeops.nir.from_nir("model.nir", dt=1e-4)

Needs the packages nir and nirtorch: ``pip install "spikeops[nir]"``. docs/nir.md says which modules and nodes there are, and how other
libraries read them."""

from spikeops.nir._exporting import to_nir
from spikeops.nir._importing import from_nir
from spikeops.nir._modules import NIRNetwork, Scale

__all__ = ["NIRNetwork", "Scale", "from_nir", "to_nir"]
