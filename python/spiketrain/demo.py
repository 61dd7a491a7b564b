"""``python -m spiketrain.demo``: trains small networks with several methods on the embedded digits and shows what came out."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import spikeops
from spiketrain import presets
from spiketrain.methods import load_config
from spiketrain.reports.tables import aligned
from spiketrain.training.bench import step_times
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

PRESETS = (
    "tsslbp-digits",
    "bptt-digits",
    "ide-digits",
    "spide-digits",
    "ell-digits",
    "fell-digits",
    "bell-digits",
    "localce-lif-digits",
    "localcorr-lif-digits",
    "localcecorr-lif-digits",
    "convex-digits",
)


def main() -> int:
    """Train each preset into a fresh runs/demo/<preset>-<n>, then print a table of the results."""
    spikeops.keep_freed_memory()
    rows, pictures = [], []
    for preset in PRESETS:
        config = load_config(presets.load(preset), ["--trainer.out", str(_fresh(Path("runs/demo"), preset))])
        started = time.perf_counter()
        run = RunDirectory.create(config)
        best = Trainer(config).fit(run)
        seconds = time.perf_counter() - started
        speedup = step_times(config, seconds=4).speedup
        rows.append((preset, f"{100 * best['test_accuracy']:.2f} %", f"{seconds:.1f}", f"{speedup:.1f} x"))
        pictures += [run.path / "curve.png", run.path / "raster.png"]
        print()
    header = ("method", "test accuracy", "seconds", "training step, fused against reference")
    print(*aligned([header, *rows], rule=True), sep="\n")
    print("\nPictures:")
    for path in pictures:
        print(f"  {path}")
    return 0


def _fresh(parent: Path, preset: str) -> Path:
    n = 1
    while (parent / f"{preset}-{n}").exists():
        n += 1
    return parent / f"{preset}-{n}"


if __name__ == "__main__":
    sys.exit(main())
