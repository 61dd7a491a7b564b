"""spiketrain: train spiking networks with published methods on spikeops' fused ops.

Command line: ``spiketrain --help``. The rooms, from the top down; each knows only rooms below it:

- `cli` reads the command line and runs the commands;
- `training` runs the epochs, keeps the run directory and its checkpoints, shares layers out to processes;
- `reports` prints tables and progress, draws the pictures;
- `methods` holds one training method per file, made of what lies in `methods.base`;
- `models` builds a network from its notation; `data` loads a data set into memory;
- `config` turns presets, files and options into one typed `Config`; `presets` holds the experiments.

What lies beside the rooms is small and knows none of them: `errors`, `plugins` (code from outside), `files`, `memory`, `distributed`. `demo`
uses them all.
"""


from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from spiketrain.deployment.model import Model


def load(run: str | Path, *, device: str | None = None, options: Iterable[str] = ()) -> Model:
    """The network of a run, as `spiketrain.deployment.model.load` says."""
    from spiketrain.deployment import model  # PyTorch comes with it

    return model.load(run, device=device, options=options)
