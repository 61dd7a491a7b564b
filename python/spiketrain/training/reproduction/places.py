"""Where the runs of several seeds lie, ``OUT/<preset>/seed-<n>/``, and how far each is."""

from __future__ import annotations

import contextlib
import csv
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spiketrain.config import Config
from spiketrain.data import tasks
from spiketrain.errors import UserError, shortened, shown
from spiketrain.files import TEMPORARY_PREFIX
from spiketrain.methods import load_config
from spiketrain.training import changes, lock, sessions
from spiketrain.training.run_directory import RunDirectory

_SEED = re.compile(r"seed-([0-9]{1,19})")


@dataclass(frozen=True)
class Found:
    """What the last checkpoint of a run says.

    Attributes:
        config: `Config.to_dict` of the configuration it was trained with
        history: metrics of its complete epochs
        sessions: what it was trained on, see `sessions`
        epochs: those it has to train
    """

    config: dict[str, Any]
    history: list[dict[str, float]]
    sessions: list[dict[str, str]]
    epochs: int

    @property
    def is_complete(self) -> bool:
        return tasks.is_through(self.history, self.epochs)


@dataclass
class Places:
    """The run directories below a folder. What was read is kept until its file changes.

    Args:
        folder: OUT
    """

    folder: Path
    _read: dict[Path, tuple[tuple[int, int], Found]] = field(default_factory=dict)

    def run(self, preset: str, seed: int) -> Path:
        return self.folder / preset / f"seed-{seed}"

    def log(self, preset: str, seed: int) -> Path:
        """What the processes that trained it printed."""
        return self.folder / preset / f"seed-{seed}.log"

    def presets(self) -> list[str]:
        """Those of which there are runs."""
        with contextlib.suppress(OSError):
            return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and self.seeds(path.name))
        return []

    def seeds(self, preset: str) -> list[int]:
        """Those of which there is a run directory with something in it."""
        try:
            names = [path.name for path in (self.folder / preset).iterdir() if path.is_dir()]
        except OSError:
            return []
        seeds = {int(match[1]) for name in names if (match := _SEED.fullmatch(name))}
        return sorted(seed for seed in seeds if f"seed-{seed}" in names and not self._is_free(self.run(preset, seed)))

    def found(self, preset: str, seed: int) -> Found | None:
        """What lies at a run's place; None: nothing yet.

        Raises:
            UserError: something that is no sound run directory.
        """
        path = self.run(preset, seed)
        if self._is_empty(path):
            return None
        run = RunDirectory.open(path)
        with contextlib.suppress(OSError):
            status = os.stat(run.last)
            stamp = (status.st_mtime_ns, status.st_ino)
            if path in self._read and self._read[path][0] == stamp:
                return self._read[path][1]
            self._read[path] = (stamp, _read(run))
            return self._read[path][1]
        return _read(run)  # whose error says what is missing

    def history_so_far(self, preset: str, seed: int) -> list[dict[str, float]]:
        """The epochs in metrics.csv of a run that is under way, for people to look at; [] where it cannot be read."""
        try:
            with open(self.run(preset, seed) / "metrics.csv", encoding="utf-8", newline="") as file:
                return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError, AttributeError, csv.Error):
            return []

    def _is_free(self, path: Path) -> bool:
        with contextlib.suppress(UserError):
            return self._is_empty(path)
        return False

    @staticmethod
    def _is_empty(path: Path) -> bool:
        try:
            return not any(not entry.name.startswith((TEMPORARY_PREFIX, lock.NAME)) for entry in path.iterdir())
        except FileNotFoundError:
            return True
        except OSError as error:
            raise UserError(f"cannot read the run directory {path}: {error}") from None


def _read(run: RunDirectory) -> Found:
    content = run.load_last()
    config = load_config(content["config"])
    return Found(config.to_dict(), content["history"], sessions.read(run.path / sessions.NAME), config.trainer.epochs)


def differences(found: Found, asked: Config) -> str:
    """In what a run that is there is another experiment than the one that is asked for; "" if it is the same."""
    return in_words(changes.other_settings(found.config, asked.to_dict()), "{name} {old} instead of {new}")


def in_words(settings: dict[str, tuple[Any, Any]], pattern: str) -> str:
    """Each field that differs, as the pattern puts its name and its values."""
    parts = [pattern.format(name=name, old=shown(old), new=shown(new)) for name, (old, new) in settings.items()]
    return shortened(", ".join(parts), 200)
