"""The picture at the top of README, from two tables of one machine: ``python benchmarks/headline.py RESULTS.csv PEERS.csv``.

The same neurons and the same network in other libraries (`peers.py`), and training steps against the published formulation.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from measuring.results import Row, load
from ops.providers import FUSED, PUBLISHED, TRITON
from ops.registry import FULL
from steps.training_step import PREFIX

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "speed.png"
OURS, THEIRS = "#1f5f8b", "#c9ced6"
STEPS = ("tsslbp-mnist-cnn", "ide-mnist-lif", "spide-mnist-lenet", "ell-mnist-dnn", "fell-mnist-dnn", "bell-mnist-dnn")
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.bottom": False, "axes.titlesize": 10}


def times(rows: list[Row], kind: str) -> dict[str, float]:
    """{provider: milliseconds of both passes} of every comparison of a kind; of ours, which is in each of them, the slowest."""
    found: dict[str, float] = {}
    for row in rows:
        name = row.op.split(":")
        if name[0] == kind and len(name) == 2 and row.mode == FULL and row.metric == "time" and row.provider != TRITON:
            # Ours is measured beside each of them, with its surrogate.
            found[row.provider] = max(row.value, found.get(row.provider, 0)) if row.provider == FUSED else row.value
    return dict(sorted(found.items(), key=lambda item: item[1]))


def ratios(rows: list[Row]) -> dict[str, float]:
    """{preset: time of the published formulation over ours} of a training step."""
    steps = {(row.op, row.provider): row.value for row in rows if row.op.startswith(PREFIX) and row.mode == FULL and row.metric == "time"}
    return {
        step: steps[f"{PREFIX}{step}", PUBLISHED] / steps[f"{PREFIX}{step}", FUSED]
        for step in STEPS if (f"{PREFIX}{step}", PUBLISHED) in steps
    }  # fmt: skip


def bars(axis, title: str, values: dict[str, float], label: str) -> None:
    names = list(values)[::-1]
    colours = [OURS if label.endswith("x") or name == FUSED else THEIRS for name in names]
    drawn = axis.barh(names, [values[name] for name in names], color=colours, height=0.72)
    axis.bar_label(drawn, [label.format(values[name]) for name in names], padding=3, fontsize=8.5)
    axis.set_title(title, loc="left")
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.margins(x=0.16)


def draw(results: list[Row], peers: list[Row], picture: Path) -> None:
    """Write the picture.

    Raises:
        ValueError: a table has none of what the picture shows.
    """
    neurons, network, steps = times(peers, "lif"), times(peers, "net") or times(peers, "conv-net"), ratios(results)
    for values, what in ((neurons, "neurons"), (network, "networks"), (steps, "training steps beside the published formulation")):
        if not values:
            raise ValueError(f"There are no {what} in these tables: expected a table of the benchmarks, and one of peers.py, of one machine.")
    size = next(row for row in peers if row.op.startswith("lif:"))
    first = results[0]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
        bars(axes[0], f"LIF, {size.T} steps of {size.N:,}: both passes, ms", neurons, "{:.2g}")
        bars(axes[1], "Convolutional network: a training step, ms", network, "{:.3g}")
        bars(axes[2], "A step: times the published speed", steps, "{:.2g} x")
        figure.supxlabel(f"{first.device.split(' (')[0]}, torch {first.torch}, float32", fontsize=8.5, color="#666666")
        picture.parent.mkdir(parents=True, exist_ok=True)
        unfinished = picture.with_suffix(".tmp.png")
        figure.savefig(unfinished, dpi=140)
        os.replace(unfinished, picture)
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a table of the benchmarks")
    parser.add_argument("peers", type=Path, help="a table of peers.py of the same machine")
    parser.add_argument("--out", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    draw(load(arguments.results), load(arguments.peers), arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    main()
