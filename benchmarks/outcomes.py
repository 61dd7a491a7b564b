"""What became of tests, read from the report that pytest leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

# A file that cannot be imported must not keep the others from running.
PYTEST_OPTIONS = ("-q", "-p", "no:cacheprovider", "--continue-on-collection-errors")


@dataclass
class Outcome:
    """What became of the tests in one file."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.failed)} failed ({self.failed[0]}), {self.passed} passed" if self.failed else f"{self.passed} passed"


def read_junit(path: Path) -> dict[str, Outcome]:
    """Outcomes by file name, from pytest's JUnit XML. Skipped tests prove nothing and are left out."""
    outcomes: dict[str, Outcome] = {}
    for test in ElementTree.parse(path).iter("testcase"):
        module = test.get("classname", "") or test.get("name", "")  # a file that cannot be imported has no class name
        outcome = outcomes.setdefault(module.rsplit(".", 1)[-1] + ".py", Outcome())
        if test.find("failure") is not None or test.find("error") is not None:
            outcome.failed.append(test.get("name"))
        elif test.find("skipped") is None:
            outcome.passed += 1
    return outcomes
