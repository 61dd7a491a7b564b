"""The files of several seeds: results.md, results.csv, runs.csv, results.png, and histories to keep with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spiketrain.files import write_atomically
from spiketrain.reports.reproduction import picture, tables
from spiketrain.reports.reproduction.figures import Experiment


def write_tables(experiments: Sequence[Experiment], folder: Path) -> list[Path]:
    """results.csv, runs.csv and results.md, each replaced in one go. Returns their paths.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"results.csv": tables.results_csv, "runs.csv": tables.runs_csv, "results.md": tables.markdown}
    for name, text in texts.items():
        _write(folder / name, text(experiments))
    return [folder / name for name in texts]


def write_picture(experiments: Sequence[Experiment], folder: Path) -> Path:
    """results.png.

    Raises:
        OSError: it cannot be written.
    """
    picture.save_picture(experiments, folder / "results.png")
    return folder / "results.png"


def write_histories(experiments: Sequence[Experiment], folder: Path) -> list[Path]:
    """history/<preset>-seed-<n>.csv of each complete run.

    Raises:
        OSError: they cannot be written.
    """
    written = []
    for experiment in experiments:
        for run in experiment.complete:
            (folder / "history").mkdir(parents=True, exist_ok=True)
            written.append(folder / "history" / f"{experiment.preset}-seed-{run.seed}.csv")
            _write(written[-1], tables.history_csv(run))
    return written


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))
