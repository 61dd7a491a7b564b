"""What a field of a configuration allows beyond its type: ``Annotated[float, Bounds(at_least=0)]``."""

from __future__ import annotations

import os
from dataclasses import dataclass

# A number of a field without bounds of its own. What is larger is a slip, and some of it would overflow in torch.
LARGEST_INT = 2**31 - 1
LARGEST_FLOAT = 1e18
SMALLEST_FLOAT = 1e-30  # but for 0 itself: what is smaller becomes 0 in float32, at once or when it is multiplied


@dataclass(frozen=True)
class Bounds:
    """An interval of numbers; None leaves that end to the largest number there may be."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        if self.at_least is not None and self.below is not None:
            return f"in [{self.at_least}, {self.below})"
        if self.at_least is not None and self.at_most is not None:
            return f"in [{self.at_least}, {self.at_most}]"
        parts = [f"above {self.above}" if self.above is not None else "", f"of {self.at_least} or more" if self.at_least is not None else ""]
        parts += [f"at most {self.at_most}" if self.at_most is not None else "", f"below {self.below}" if self.below is not None else ""]
        return " and ".join(filter(None, parts))

    def and_finite(self, largest: float) -> Bounds:
        """The same interval without what is larger than `largest`, in either direction."""
        lower_is_open = self.at_least is None and self.above is None
        upper_is_open = self.at_most is None and self.below is None
        return Bounds(-largest if lower_is_open else self.at_least, self.above, largest if upper_is_open else self.at_most, self.below)


@dataclass(frozen=True)
class Folder:
    """Text that is a path: ``~`` is the user's home folder."""

    def __call__(self, path: str) -> str:
        """The path, with the home folder in the place of ``~``.

        Raises:
            ValueError: there is no such home folder.
        """
        expanded = os.path.expanduser(path)
        if path.startswith("~") and expanded == path:
            raise ValueError("a path (for a folder of that very name write ./~...; there is no such home folder)")
        return expanded


@dataclass(frozen=True)
class FileName:
    """Text that names a file of its own and leads to no other folder."""

    def __call__(self, name: str) -> str:
        """The name as it is.

        Raises:
            ValueError: it is no plain name.
        """
        if not name or name.startswith(".") or "/" in name or "\\" in name or len(name.encode()) > 100:
            raise ValueError("a name of at most 100 bytes, without / and \\ and not beginning with a dot")
        return name
