"""pytest-benchmark as the CPU harness: collects what the benchmarks measure and turns it into table, report and plots."""

from __future__ import annotations

import os
import resource
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from measuring import freed_memory
from measuring.results import LEFT_OUT, Table
from ops.gate import Gate
from reports import report

_session = pytest.StashKey()


def pytest_addoption(parser):
    group = parser.getgroup("spikeops benchmarks")
    group.addoption("--out", type=Path, help="folder for table, report and plots (default: benchmarks/results)")
    freed_memory.add_option(group.addoption)
    group.addoption("--ops", help="measure only these, by name, separated by commas")
    group.addoption(
        "--trial",
        action="store_true",
        help="try the benchmarks out: small sizes, few rounds, no gate; writes nothing without --out",
    )


class _NoGate:
    """Trials may measure anything: nothing comes of them."""

    def reason(self, *_):
        return ""


class Session:
    """What one run has measured so far."""

    def __init__(self, config):
        self.trial = config.option.trial
        self.out = config.option.out
        self.table = Table("cpu")
        self.gate = _NoGate() if self.trial else Gate("cpu")
        self.budget = 0.01 if self.trial else 0.06  # seconds for one turn of one provider
        self.left_out: dict[tuple, str] = {}
        self._seconds: dict[tuple, list[float]] = {}
        self._minimum_bytes: dict[tuple, int | None] = {}
        self._page_faults: dict[tuple, list[float]] = {}

    def add_seconds(self, where, seconds, minimum_bytes=None):
        """Rounds of one turn."""
        self._seconds.setdefault(where, []).extend(seconds)
        self._minimum_bytes[where] = minimum_bytes

    @contextmanager
    def counting_page_faults(self, where, calls):
        """Notes how many pages of memory the operating system has to supply to each of the calls made inside."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        yield
        self._page_faults.setdefault(where, []).append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / calls)

    def leave_out(self, where, reason):
        """Notes the reason and skips the test."""
        self.left_out[where] = reason
        pytest.skip(reason)

    def finish(self) -> Path | None:
        """Completes the table and saves it, except in a trial without a folder; returns where."""
        for where, seconds in self._seconds.items():
            self.table.add_times(*where, seconds=seconds, minimum_bytes=self._minimum_bytes[where])
        for where, faults in self._page_faults.items():
            self.table.add(*where, "page_faults", sum(faults) / len(faults), "1")
        for where, reason in self.left_out.items():
            self.table.add(*where, LEFT_OUT, reason, "")
        if not self._seconds or (self.trial and self.out is None):
            return None
        path = self.table.path if self.out is None else self.out / self.table.path.name
        self.table.save(path)
        return path


def pytest_configure(config):
    freed_memory.settle(config.option.freed_memory)  # first of all: the table says which
    # A compilation that finds its result of another day would not show what it costs.
    config.stash["compile_cache"] = cache = tempfile.TemporaryDirectory()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache.name
    config.stash[_session] = Session(config)


def pytest_unconfigure(config):
    config.stash["compile_cache"].cleanup()


@pytest.fixture(scope="session")
def measured(pytestconfig):
    """The `Session` to which results are added."""
    return pytestconfig.stash[_session]


def pytest_terminal_summary(terminalreporter, config):
    session = config.stash[_session]
    path = session.finish()
    terminalreporter.write_line("")
    terminalreporter.write_line(report.summary(session.table.rows))
    if path is not None:
        for written in (path, *report.write(path)):
            terminalreporter.write_line(f"wrote {written}")
