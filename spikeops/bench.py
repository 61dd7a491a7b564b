"""``python -m spikeops.bench``: how fast the ops are on this machine, against a plain loop over time and a copy. Needs the wheel alone.

Both passes of each op, milliseconds of the median round; whoever is compared takes turns. The repository's benchmarks measure more, and
with more care: other libraries, compiled loops, memory, cold caches.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import spikeops
from spikeops._backend import backend
from spikeops._samples import SAMPLES, Sample
from spikeops.checkup import both

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
SIZES = {"cpu": ((10, 100_000), (100, 20_000)), "cuda": ((16, 1_000_000), (128, 250_000))}
ROUNDS = 9
LONGEST = 2.0  # seconds that the rounds of one of those who are compared may take, after which there are no more


@dataclass(frozen=True)
class Row:
    """Milliseconds of both passes of one op, T steps of N neurons: ours, of a plain loop, and of a copy of the bytes that must be moved."""

    op: str
    T: int
    N: int
    dtype: str
    ours: float
    loop: float
    copy: float | None


def measure(sample: Sample, T: int, N: int, device: torch.device, dtype: torch.dtype) -> Row:
    """Measure one op.

    Raises:
        RuntimeError: the device has no memory for it.
    """
    x = sample.x(T, N, device, dtype)

    def by(name: str) -> Callable[[], object]:
        def run() -> object:
            with backend(name):
                return both(sample, x)

        return run

    # A copy reads and writes: half as many elements as are moved.
    source = torch.zeros(round(sample.moved * x.numel() / 2), device=device, dtype=dtype)
    target = torch.zeros_like(source)
    runs = {"ours": by("auto"), "loop": by("reference")} | ({"copy": lambda: target.copy_(source)} if sample.moved else {})
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS + 1):
        for name, run in runs.items():
            if sum(times[name]) > LONGEST:
                continue
            _wait(device)
            started = time.perf_counter()
            run()
            _wait(device)
            if number or time.perf_counter() - started > LONGEST:  # the first round warms up
                times[name].append(time.perf_counter() - started)
    medians = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    return Row(sample.name, T, N, str(dtype).removeprefix("torch."), medians["ours"], medians["loop"], medians.get("copy"))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def draw(rows: list[Row], title: str, picture: Path) -> None:
    """Bars: how many times as fast as the loop."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 0.8 + 0.32 * len(rows)), layout="constrained")
    bars = axis.barh([f"{row.op}, {row.T} x {row.N:,}" for row in rows][::-1], [row.loop / row.ours for row in rows][::-1], color="#1f5f8b")
    axis.bar_label(bars, [f"{row.loop / row.ours:.1f} x" for row in rows][::-1], padding=3)
    axis.axvline(1, color="#555555", linewidth=0.8, linestyle="--")
    axis.set_xlabel("times as fast as a plain loop over time, both passes")
    axis.set_title(title, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.12)
    figure.savefig(picture, dpi=130)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spikeops.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: a GPU, if there is one")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--sizes", nargs="+", metavar="TxN", help="such as 10x100000")
    parser.add_argument("--ops", nargs="+", metavar="OP", help=f"of {', '.join(dict.fromkeys(sample.name.split(',')[0] for sample in SAMPLES))}")
    parser.add_argument("--threads", type=int, help="of the CPU; default: PyTorch's choice")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw a chart (PNG, PDF, SVG); needs matplotlib")
    given = parser.parse_args(arguments)
    try:
        device = torch.device(given.device)
        sizes = SIZES.get(device.type, SIZES["cpu"]) if given.sizes is None else [_size(text) for text in given.sizes]
        samples = [sample for sample in SAMPLES if given.ops is None or sample.name.split(",")[0] in given.ops]
        if not samples:
            raise ValueError(f"no op is called {', '.join(given.ops)}")
        if given.threads is not None:
            torch.set_num_threads(given.threads)
        torch.zeros(1, device=device)
    except (ValueError, RuntimeError, AssertionError) as error:
        parser.error(str(error).splitlines()[0])
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    title = f"spikeops {spikeops.__version__}, torch {torch.__version__}, {name}, {given.dtype}"
    print(f"{title}\nboth passes, milliseconds\n")
    print(f"{'op':28}{'T x N':>16}{'ours':>10}{'loop':>10}{'faster':>9}{'of copy':>9}")
    rows = []
    for T, N in sizes:
        for sample in samples:
            row = measure(sample, T, N, device, DTYPES[given.dtype])
            rows.append(row)
            size = f"{T} x {N:,}"
            share = "" if row.copy is None else f"{100 * row.copy / row.ours:.0f} %"
            print(f"{row.op:28}{size:>16}{row.ours:10.3g}{row.loop:10.3g}{row.loop / row.ours:7.1f} x{share:>9}", flush=True)
    if given.csv:
        with given.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(rows[0])))
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    if given.picture:
        draw(rows, title, given.picture)
    return 0


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--sizes: expected T x N such as 10x100000, got {text}")
    return int(parts[0]), int(parts[1])


if __name__ == "__main__":
    sys.exit(main())
