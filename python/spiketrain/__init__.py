"""spiketrain: train spiking networks with published methods on spikeops' fused ops.

Command line: ``spiketrain --help``. The pieces, from the outside in:

- `cli` reads the command line, `config` turns presets, files and options into one typed `Config`;
- `data` loads a data set into memory, `models` builds a network from its notation;
- `methods` holds one training method per file, each a subclass of `method.Method`;
- `trainer` runs the epochs and keeps the run directory (`rundir`, `checkpoint`, `plots`) in order.
"""
