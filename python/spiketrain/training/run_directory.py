"""The run directory: config.yaml, metrics.csv, sessions.csv, TensorBoard events, last.ckpt, best.ckpt, and pictures (curve.png, raster.png, confusion.png, rates.png)."""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from spiketrain.config import Config, read_yaml
from spiketrain.errors import UserError
from spiketrain.files import TEMPORARY_PREFIX, remove_unfinished, sync_folder, write_atomically
from spiketrain.training import checkpoint, lock, sessions
from spiketrain.training.lock import Lock

# Columns before the first epoch is complete.
METRICS = ["epoch", "train_loss", "train_accuracy", "test_accuracy", "learning_rate", "train_seconds", "test_seconds"]

# What resuming and looking at a run read.
OWN_FILES = ("last.ckpt", "best.ckpt", "config.yaml", "metrics.csv", "sessions.csv")


class RunDirectory:
    """One run's files. Every one of them is replaced atomically, so a killed process leaves the last complete version.

    A new run lies in a hidden folder beside its place until `begin` has written a checkpoint to resume from. One process at a
    time works in a run directory: the one that created it, or called `lock`, until `release`.

    Attributes:
        path: the directory, or where it will be once the run has begun
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = path  # where it lies now
        self._lock: Lock | None = None

    @classmethod
    def create(cls, config: Config) -> RunDirectory:
        """A fresh directory: `trainer.out` if given, else runs/<preset>-<n> with the first n that is free. It is locked.

        Raises:
            UserError: `trainer.out` holds something already or is in use, or the directory cannot be written.
        """
        try:
            return cls._claim(Path(config.trainer.out)) if config.trainer.out else cls._claim_free(Path("runs"), config.preset)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot write the run directory: {error}") from None

    @classmethod
    def _claim(cls, path: Path) -> RunDirectory:
        run = cls(path)
        if path.exists():
            run._refuse_used()
            run.lock()
            run._refuse_used()
            remove_unfinished(path)
            return run
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        run._folder = path.parent / f"{TEMPORARY_PREFIX}{path.name}"
        run._folder.mkdir(exist_ok=True)
        run._lock = Lock(run._folder)
        if path.exists():
            run.release()
            raise UserError(f"run directory {path} is in use: another process has just begun there")
        return run

    @classmethod
    def _claim_free(cls, parent: Path, preset: str) -> RunDirectory:
        n = 1
        while True:
            path = parent / f"{preset}-{n}"
            if not path.exists():
                with contextlib.suppress(UserError):  # another process has just begun there
                    return cls._claim(path)
            n += 1

    def _refuse_used(self) -> None:
        if any(not path.name.startswith((TEMPORARY_PREFIX, lock.NAME)) for path in self.path.iterdir()):
            raise UserError(
                f"run directory {self.path} is not empty. Continue it with 'spiketrain resume {self.path}', or choose another --trainer.out"
            )

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """The directory of a run that was started before.

        Raises:
            UserError: it is not there, or no run directory.
        """
        run = cls(Path(path))
        try:
            if any((run.path / name).is_file() for name in ("last.ckpt", "best.ckpt", "config.yaml")):
                return run
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}") from None
        if run.path.is_file():
            raise UserError(f"{path} is no run directory. One is made of a checkpoint by: spiketrain import {path} --preset PRESET")
        raise UserError(f"{path} is no run directory: it holds no last.ckpt")

    @property
    def last(self) -> Path:
        """Checkpoint to go on from: that of the last complete epoch, or of a place within the one after it."""
        return self._folder / "last.ckpt"

    @property
    def best(self) -> Path:
        """Checkpoint of the best epoch, by the validation samples where the run has such, else by the test samples; the first one of several."""
        return self._folder / "best.ckpt"

    def load_last(self) -> dict[str, Any]:
        """The checkpoint to go on from.

        Raises:
            UserError: as `checkpoint.load`. Where the best checkpoint is sound, the message says how to go on from it.
        """
        try:
            return checkpoint.load(self.last)
        except UserError as error:
            try:
                epoch = checkpoint.load(self.best)["epoch"]
            except UserError:
                raise error from None
            hint = f"To go on from best.ckpt, which is sound (epoch {epoch}): cp '{self.best}' '{self.last}'"
            raise UserError(f"{error}. {hint}") from None

    def load_best(self) -> dict[str, Any]:
        """The checkpoint of the best epoch.

        Raises:
            UserError: as `checkpoint.load`, or no epoch is complete yet.
        """
        if not self.best.exists() and self.last.is_file():
            raise UserError(f"no epoch of {self.path} is complete yet. Go on with: spiketrain resume {self.path}")
        return checkpoint.load(self.best)

    def recorded_config(self) -> dict[str, Any] | None:
        """What config.yaml says, for the record: the configuration that counts is that of the checkpoints. None: nothing legible."""
        path = self.path / "config.yaml"
        try:
            return read_yaml(path) if path.is_file() else None  # a pipe, say, would never end
        except UserError:
            return None

    def lock(self) -> None:
        """Work in the directory, alone.

        Raises:
            UserError: another process does, which the message names, or the directory cannot be written.
        """
        if self._lock is None:
            try:
                self._lock = Lock(self._folder)
            except OSError as error:
                raise UserError(f"cannot write the run directory {self.path}: {error}") from None

    def release(self) -> None:
        """Let other processes work in the directory. One that never began leaves nothing behind."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            if self._folder != self.path:
                shutil.rmtree(self._folder, ignore_errors=True)

    def begin(self, content: dict[str, Any], config: Config, is_best: bool = False) -> None:
        """Write all that a run is resumed from, then show the directory under its name."""
        self.save(content, is_best)  # before config.yaml: the checkpoint is what counts
        self.write_config(config)
        if self._folder == self.path:
            return
        with self._writing():
            try:
                self._folder.rename(self.path)
            except OSError:
                if not self.path.exists():
                    raise
                self._refuse_used()
                raise
            self._folder = self.path
            self._lock.moved(self.path)
            sync_folder(self.path.parent)

    def clean(self) -> None:
        """Remove half-written files of a process that was killed."""
        with self._writing():
            remove_unfinished(self._folder)

    def save(self, content: dict[str, Any], is_best: bool) -> None:
        """Write the checkpoints, then metrics.csv from the history in them (so that no row is lost or doubled)."""
        with self._writing():
            if is_best:
                checkpoint.save(self.best, content)
            checkpoint.save(self.last, content)
        self.write_metrics(content["history"])

    def write_config(self, config: Config) -> None:
        """config.yaml: the configuration as people read it."""
        with self._writing():
            self._write("config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        """metrics.csv: one row per epoch; what the method measured comes after the columns that all methods have."""
        table = io.StringIO()
        columns = dict.fromkeys(name for row in history for name in row) or METRICS
        writer = csv.DictWriter(table, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        with self._writing():
            self._write("metrics.csv", table.getvalue())

    def add_session(self, session: dict[str, object]) -> None:
        """sessions.csv: one row for each process that trained here, with what it ran on. See `sessions`."""
        text = sessions.with_row(self._folder / sessions.NAME, session)
        with self._writing():
            self._write(sessions.NAME, text)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            begun = self._folder == self.path and self.last.exists()
            hint = f"Then go on with: spiketrain resume {self.path}" if begun else "Nothing was trained yet"
            raise UserError(f"cannot write to the run directory {self.path}: {error}. Make room for it. {hint}") from None

    def _write(self, name: str, text: str) -> None:
        write_atomically(self._folder / name, lambda file: file.write(text.encode()))


def _remove_abandoned(parent: Path) -> None:
    """Delete runs that were killed before they began: nobody holds their lock."""
    for folder in parent.glob(f"{TEMPORARY_PREFIX}*/"):
        if (folder / lock.NAME).is_file():
            with contextlib.suppress(UserError, OSError):
                abandoned = Lock(folder)
                shutil.rmtree(folder, ignore_errors=True)
                abandoned.release()
