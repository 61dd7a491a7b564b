"""Modules of one's own that tests write, name and import: none is left behind."""

from __future__ import annotations

import sys
import textwrap

# A run of a moment, for those that put a method, network or data set of their own in it.
SMALL = {
    "preset": "small",
    "data": {"name": "digits"},
    "network": {"layers": "12-10", "time_steps": 3},
    "method": {"name": "bptt"},
    "trainer": {"epochs": 1, "batch_size": 20, "limit_train": 40, "limit_test": 20, "threads": 1, "progress": "off"},
}


class OwnCode:
    """Writes modules into a folder from which commands import them.

    Args:
        folder: where they lie, the working folder of the commands
    """

    def __init__(self, folder):
        self.folder = folder
        self.names = set()
        self.path = list(sys.path)

    def write(self, name, text, marks=False):
        """A module, or one in packages by its dotted name. One that `marks` leaves the file NAME.mark whenever it is imported."""
        path = self.folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = f"open({str(self.mark(name))!r}, 'w').close()\n" if marks else ""
        path.write_text(mark + textwrap.dedent(text))
        self.names.add(name.partition(".")[0])
        return name

    def mark(self, name):
        return self.folder / f"{name}.mark"

    def install(self, package, **groups):
        """Metadata of an installed package with entry points, ``group={name: value}`` for a group ``spiketrain.<group>``."""
        folder = self.folder / "site" / f"{package}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [line for group, points in groups.items() for line in (f"[spiketrain.{group}]", *(f"{k} = {v}" for k, v in points.items()))]
        (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
        sys.path.insert(0, str(self.folder / "site"))
        return self.folder / "site"

    def forget(self):
        """Let the next command be the first one that imports them."""
        for module in [module for module in sys.modules if module.partition(".")[0] in self.names]:
            del sys.modules[module]
        sys.path[:] = self.path

    def unmark(self):
        self.forget()
        for path in self.folder.glob("*.mark"):
            path.unlink()
