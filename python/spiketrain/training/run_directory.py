"""The run directory: config.yaml, metrics.csv, TensorBoard events, last.ckpt, best.ckpt, curve.png, raster.png, rates.png."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from spiketrain.config import Config, read_yaml
from spiketrain.errors import UserError
from spiketrain.files import remove_unfinished, write_atomically
from spiketrain.methods import load_config
from spiketrain.training import checkpoint

# Columns before the first epoch is complete.
METRICS = ["epoch", "train_loss", "train_accuracy", "test_accuracy", "learning_rate", "train_seconds", "test_seconds"]


class RunDirectory:
    """One run's files. Every one of them is replaced atomically, so a killed process leaves the last complete version.

    Attributes:
        path: the directory
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, config: Config) -> RunDirectory:
        """A fresh directory: `trainer.out` if given, else runs/<preset>-<n> with the first n that is free.

        Raises:
            UserError: `trainer.out` holds something already, or the directory cannot be written.
        """
        try:
            if config.trainer.out:
                path = Path(config.trainer.out)
                path.mkdir(parents=True, exist_ok=True)
                if any(path.iterdir()):
                    raise UserError(
                        f"run directory {path} is not empty. Continue it with 'spiketrain resume {path}', or choose another --trainer.out"
                    )
            else:
                path = _claim_free(Path("runs"), config.preset)
            run = cls(path)
            run._write("config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))
        except OSError as error:
            raise UserError(f"cannot write the run directory: {error}") from None
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """The directory of a run that was started before.

        Raises:
            UserError: it is not there, or no run directory.
        """
        run = cls(Path(path))
        if not (run.path / "config.yaml").is_file():
            raise UserError(f"{path} is no run directory: it holds no config.yaml")
        return run

    def config(self, overrides: list[str] = ()) -> Config:
        """The configuration the run was started with, with command line options put over it."""
        return load_config(read_yaml(self.path / "config.yaml"), overrides, prog="spiketrain")

    @property
    def last(self) -> Path:
        """Checkpoint after the last complete epoch."""
        return self.path / "last.ckpt"

    @property
    def best(self) -> Path:
        """Checkpoint of the epoch with the highest test accuracy, the first one if several have it."""
        return self.path / "best.ckpt"

    def clean(self) -> None:
        """Remove half-written files of a process that was killed."""
        remove_unfinished(self.path)

    def save(self, content: dict[str, Any], is_best: bool) -> None:
        """Write the checkpoints, then metrics.csv from the history in them (so that no row is lost or doubled)."""
        with self._writing():
            if is_best:
                checkpoint.save(self.best, content)
            checkpoint.save(self.last, content)
        self.write_metrics(content["history"])

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        """metrics.csv: one row per epoch; what the method measured comes after the columns that all methods have."""
        table = io.StringIO()
        columns = dict.fromkeys(name for row in history for name in row) or METRICS
        writer = csv.DictWriter(table, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        with self._writing():
            self._write("metrics.csv", table.getvalue())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = f"Then go on with: spiketrain resume {self.path}"
            raise UserError(f"cannot write to the run directory {self.path}: {error}. Make room for it. {hint}") from None

    def _write(self, name: str, text: str) -> None:
        write_atomically(self.path / name, lambda file: file.write(text.encode()))


def _claim_free(parent: Path, preset: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    n = 1
    while True:
        path = parent / f"{preset}-{n}"
        try:
            path.mkdir()  # fails if another process was faster, so two runs never share a directory
            return path
        except FileExistsError:
            n += 1
