"""Complete runs out of folders that `reproduce --copy-to` wrote, of which no run directory need be left."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from spiketrain.data import tasks
from spiketrain.errors import UserError, shortened
from spiketrain.reports.reproduction.figures import COMPLETE, SeedRun
from spiketrain.reports.reproduction.tables import ORIGIN, SPEED

KeptRuns = dict[str, dict[int, SeedRun]]  # by preset and seed


def read_kept(folders: Sequence[str]) -> KeptRuns:
    """The complete runs of the folders' presets; the first folder that has a seed counts.

    Raises:
        UserError: a folder that cannot be read, or is none that was written so; runs that are not those of the preset itself.
    """
    kept: KeptRuns = {}
    for folder in map(Path, folders):
        changed = {row["preset"]: row["settings"] for row in _table(folder / "results.csv", "preset", "settings") if row["settings"]}
        for row in _table(folder / "runs.csv", "preset", "seed", "state", "epochs", "epochs_asked"):
            if row["state"] != COMPLETE:
                continue
            preset = row["preset"]
            if preset in changed:
                raise UserError(f"--with {folder}: its runs of {preset} are another experiment: {shortened(changed[preset], 120)}")
            run = _run(folder, preset, row)
            kept.setdefault(preset, {}).setdefault(run.seed, run)
    return kept


def _run(folder: Path, preset: str, row: dict[str, str]) -> SeedRun:
    path = folder / "history" / f"{preset}-seed-{row['seed']}.csv"
    # What histories leave out is told for the whole run.
    speed = _numbers(folder / "runs.csv", {name: row.get(name, "") for name in SPEED})
    history = [{**speed, **_numbers(path, epoch)} for epoch in _table(path, "epoch", "train_seconds")]
    try:
        seed, epochs = int(row["seed"]), int(row["epochs_asked"])
        if seed < 0 or len(history) != int(row["epochs"]) or not tasks.is_through(history, epochs):
            raise ValueError
        run = SeedRun(seed, epochs, history, COMPLETE, {name: row.get(name, "") for name in ORIGIN})
        run.best_epoch, run.last  # noqa: B018 (a history without them is none)
    except (ValueError, KeyError, IndexError):
        raise UserError(f"--with {folder}: {path.name} is not the history of the complete run of {preset} that runs.csv tells of") from None
    return run


def _table(path: Path, *columns: str) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or ()
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"--with: cannot read {path}, which reproduce --copy-to writes: {error}") from None
    if missing := [name for name in columns if name not in names]:
        raise UserError(f"--with: {path} has no column {missing[0]}: it was not written by reproduce --copy-to")
    return rows


def _numbers(path: Path, row: dict[str, str]) -> dict[str, float]:
    try:
        numbers = {name: int(text) if text.isdigit() else float(text) for name, text in row.items() if text}
        if not all(map(math.isfinite, numbers.values())):
            raise ValueError
    except (ValueError, TypeError):
        raise UserError(f"--with: {path} holds what is no number") from None
    return numbers
