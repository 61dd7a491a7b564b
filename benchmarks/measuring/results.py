"""One long table: a row for every number measured, in CSV files named after the device and the day."""

from __future__ import annotations

import csv
import os
import platform
import re
import subprocess
import tempfile
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from pathlib import Path

import torch

from measuring import freed_memory

FOLDER = Path(__file__).resolve().parents[1] / "results"
LEFT_OUT = "left_out"  # the metric whose value is a reason
ALTHOUGH_RED = "although_red"  # likewise: why it should not have been measured
REASONS = (LEFT_OUT, ALTHOUGH_RED)
UNLIKE = "unlike"  # likewise: what of another library's gradient is not the same
VERSION = "version"  # of another library
COMPARED = "compared"  # likewise: what the comparison of one way of doing a thing with another came to
CLOCK = "clock"  # likewise: what tells the time, if it is not the wall clock
TEXTS = (*REASONS, UNLIKE, VERSION, COMPARED, CLOCK)

# A measurement is noisy if its slow rounds take that much longer than its quick ones.
NOISY_RATIO = 1.5


@dataclass(frozen=True)
class Row:
    """One number. `value` is text where metric is one of TEXTS, such as "left_out": the reason why nothing was measured."""

    op: str
    provider: str
    mode: str
    T: int
    N: int
    dtype: str
    metric: str
    value: float | str
    unit: str
    device: str
    threads: int
    torch: str
    commit: str
    date: str

    @property
    def key(self) -> tuple:
        return self.op, self.provider, self.mode, self.T, self.N, self.dtype


class Table:
    """Rows that share a device and a run."""

    def __init__(self, device: str):
        self.context = {
            "device": device_name(device) + (freed_memory.note() if device == "cpu" else ""),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "commit": commit(),
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self.rows: list[Row] = []

    def add(
        self, op: str, provider: str, mode: str, T: int, N: int, dtype: str, metric: str, value: float | str, unit: str
    ) -> None:
        self.rows.append(Row(op, provider, mode, T, N, dtype, metric, value, unit, **self.context))

    def add_times(self, *where, seconds: list[float], minimum_bytes: int | None = None) -> None:
        """The median and the 20 % and 80 % quantiles of the rounds of one measurement."""
        for metric, share in (("time", 0.5), ("time_p20", 0.2), ("time_p80", 0.8)):
            self.add(*where, metric, quantile(seconds, share) * 1e3, "ms")
        self.add(*where, "rounds", len(seconds), "1")
        if minimum_bytes is not None:
            self.add(*where, "minimum_bytes", minimum_bytes, "B")

    @property
    def path(self) -> Path:
        """Where the table belongs: benchmarks/results/<device>-<day>.csv."""
        device = self.context["device"]
        device = device.split(" (")[0] + (" freed memory returned" if device.endswith(freed_memory.RETURNED) else "")
        device = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
        return FOLDER / f"{device}-{self.context['date'][:10]}.csv"

    def save(self, path: Path) -> None:
        """Writes the table; a file that was there is replaced in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", newline="", dir=path.parent, suffix=".tmp", delete=False) as file:
            writer = csv.DictWriter(file, [column.name for column in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows({**vars(row), "value": _short(row.value)} for row in self.rows)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)


def load(path: Path) -> list[Row]:
    """The rows of a CSV file.

    Raises:
        ValueError: the file is no such table.
    """
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        expected = [column.name for column in fields(Row)]
        if reader.fieldnames != expected:
            raise ValueError(f"{path}: expected the columns {', '.join(expected)}, got {reader.fieldnames}.")
        return [_typed(row) for row in reader]


def _typed(row):
    numbers = {name: int(row[name]) for name in ("T", "N", "threads")}
    return Row(**{**row, **numbers, "value": row["value"] if row["metric"] in TEXTS else float(row["value"])})


def first_line(error: BaseException) -> str:
    """Of its message: what a table has room for."""
    return next(iter(str(error).strip().splitlines()), "")


def quantile(values: list[float], share: float) -> float:
    """Linearly interpolated quantile."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def device_name(device: str) -> str:
    """What the hardware calls itself (and, in brackets, its driver), without the name of the machine."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()} (driver {driver_version()})"
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (model := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)):
        name = model[1]
    name = " ".join(re.sub(r"\((R|TM|r|tm)\)", "", name).split())
    return f"{name} {os.cpu_count()} cores"


def driver_version() -> str:
    """Version of the NVIDIA driver, or "unknown"."""
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def commit() -> str:
    """The commit that is measured, with "+changes" if the files differ from it. What is measured in a copy of the files is told it by
    the environment variable SPIKEOPS_COMMIT."""

    def git(*words):
        return subprocess.run(["git", *words], cwd=FOLDER.parent, capture_output=True, text=True, check=True).stdout.strip()

    if told := os.environ.get("SPIKEOPS_COMMIT"):
        return told
    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude)results")
        return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _short(value):
    return f"{value:.6g}" if isinstance(value, float) else value
