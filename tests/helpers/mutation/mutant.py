"""A wrong change, as text: what stands in a file, and what a plausible mistake would have written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


class DoesNotApplyError(Exception):
    """The text to be changed is not in the file, or is there more than once: the mutant has to be written anew."""


@dataclass(frozen=True)
class Mutant:
    """A wrong change.

    Attributes:
        file: from the root of the repository
        what: is wrong, in a few words
        old: text that stands in the file exactly once
        new: what stands there instead
        tests: what should notice: arguments of pytest, and before them variables of the environment
    """

    file: str
    what: str
    old: str
    new: str
    tests: str

    @property
    def name(self) -> str:
        return f"{self.file}: {self.what}"

    @property
    def library(self) -> str | None:
        """The native library that has to be built anew: cpu, or testing (the CUDA kernels compiled for the host)."""
        if Path(self.file).suffix == ".py":
            return None
        return "testing" if self.file.startswith("kernels/cuda") else "cpu"

    @property
    def is_in_kernels(self) -> bool:
        """Whether the CPU kernels alone are to be compiled: of the arithmetic, the bindings use but the structs of arguments."""
        return self.file.startswith(("kernels/cpu/", "kernels/math/"))

    def changed(self, text: str) -> str:
        """The text of the file with the change.

        Raises:
            DoesNotApplyError: the text that is to be changed is not there once.
        """
        count = text.count(self.old)
        if count != 1 or self.old == self.new:
            found = "changes nothing" if self.old == self.new else f"finds its text {count} times, expected once"
            raise DoesNotApplyError(f"{self.name}: {found}:\n{self.old}")
        return text.replace(self.old, self.new)
