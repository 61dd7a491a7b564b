"""What became of tests, written down test by test, so that a run that is stopped half-way still counts for what has run.

``pytest -p outcomes --outcomes FILE`` appends a line of JSON for each test as it ends; `read_outcomes` sums them up by file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

# A file that cannot be imported must not keep the others from running.
PYTEST_OPTIONS = ("-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "-p", "outcomes")


@dataclass
class Outcome:
    """What became of the tests in one file."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.failed)} failed ({self.failed[0]}), {self.passed} passed" if self.failed else f"{self.passed} passed"


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """Outcomes by file name. Skipped tests prove nothing and are left out; a line cut short by the end of its writer too."""
    outcomes: dict[str, Outcome] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            test = json.loads(line)
        except ValueError:
            continue
        outcome = outcomes.setdefault(test["file"], Outcome())
        if test["outcome"] == "failed":
            outcome.failed.append(test["test"])
        elif test["outcome"] == "passed":
            outcome.passed += 1
    return outcomes


# The rest is a plugin of pytest's.


def pytest_addoption(parser):
    parser.addoption("--outcomes", type=Path, help="file to which the outcome of each test is appended")


def pytest_configure(config):
    path = config.getoption("--outcomes")
    # With pytest-xdist, all reports come by the process that hands out the tests.
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Recorder(path), "outcomes-recorder")


class _Recorder:
    def __init__(self, path):
        self._path, self._broken = path, set()
        path.touch()

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or not report.passed:  # setting up and clearing away matter only where they fail or skip
            self._write(report)

    def pytest_collectreport(self, report):
        if report.failed and report.nodeid not in self._broken:  # every worker of pytest-xdist collects
            self._broken.add(report.nodeid)
            self._write(report)

    def _write(self, report):
        file, _, test = report.nodeid.partition("::")
        line = {"file": Path(file).name, "test": test or file, "outcome": report.outcome}
        with open(self._path, "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
