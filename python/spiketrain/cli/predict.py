"""The command that says what a run's network makes of files."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from spiketrain.errors import UserError, printable
from spiketrain.reports.tables import aligned

if TYPE_CHECKING:
    from spiketrain.deployment.model import Model
    from spiketrain.deployment.predictions import Predictions

OPTIONS = ("--top", "--json", "--csv", "--resize")


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add it by the function that adds a command to the parser."""
    added = command("predict", predict, "Say what the network of a run makes of pictures or recordings; its data set is not needed.")
    added.add_argument("run_dir", metavar="RUN_DIR", help="run directory, or one of its checkpoints")
    added.add_argument("files", metavar="FILE", nargs="+", help="a picture or recording, or a folder of them")
    added.add_argument("--top", metavar="K", default="3", help="show the K likeliest classes; default 3")
    shapes = added.add_mutually_exclusive_group()
    shapes.add_argument("--json", action="store_true", help="print JSON in the place of a table")
    shapes.add_argument("--csv", action="store_true", help="print CSV: a row for each file and class")
    added.add_argument("--resize", action="store_true", help="bring pictures of another size to that of the data set's (bilinear)")
    added.add_argument("-h", "--help", action="help", help="show this help")


def predict(arguments: argparse.Namespace, fields: list[str]) -> int:
    top = _count(arguments.top)
    from spiketrain.deployment.model import load_in_own_process

    model = load_in_own_process(arguments.run_dir, fields)
    if not model.is_classifier:
        raise UserError("the network's outputs are real numbers, no classes: give tensors to spiketrain.load(RUN) in Python")
    predictions = model.predict(arguments.files, resize=arguments.resize)
    for note in (*model.notes, *predictions.notes):
        print(f"spiketrain: note: {printable(note)}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(_as_json(model, predictions, top), indent=2))
    elif arguments.csv:
        print(_as_csv(predictions, top), end="")
    else:
        print(*_as_table(predictions, top), sep="\n")
    return 0


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:10]) <= 10**6):
        raise UserError(f"option --top: expected a number of classes, 1 or more, got '{text[:60]}'")
    return int(text)


def _as_table(predictions: Predictions, top: int) -> list[str]:
    """A line for each sample: the likeliest class with its probability, then the next ones."""
    best = predictions.top(top)
    header = ["file", *(word for i in range(len(best[0])) for word in ("class" if i == 0 else "or", "probability" if i == 0 else ""))]
    rows = [
        [printable(name), *(cell for one in row for cell in (printable(one.name), f"{one.probability:.4f}"))]
        for name, row in zip(predictions.names, best)
    ]
    return aligned([header, *rows])


def _as_csv(predictions: Predictions, top: int) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "rank", "label", "class", "probability", "score"])
    for name, row in zip(predictions.names, predictions.top(top)):
        for rank, one in enumerate(row, 1):
            writer.writerow([name, rank, one.index, one.name, repr(one.probability), repr(one.score)])
    return table.getvalue()


def _as_json(model: Model, predictions: Predictions, top: int) -> dict[str, object]:
    assert all(math.isfinite(one.score) for row in predictions.top(1) for one in row)
    return {
        "preset": model.preset,
        "epoch": model.epoch,
        "method": model.config.method.name,
        "versions": model.versions,
        "probability": "softmax of the scores",
        "notes": [*model.notes, *predictions.notes],
        "files": [
            {
                "file": name,
                "classes": [
                    {"label": one.index, "class": one.name, "probability": one.probability, "score": one.score} for one in row
                ],
            }
            for name, row in zip(predictions.names, predictions.top(top))
        ],
    }
