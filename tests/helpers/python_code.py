"""Python programs of a few lines, for processes of their own."""

import sys

# The working folder may be that of the sources, whose packages are not built.
_HEAD = "import sys; sys.path[:] = [entry for entry in sys.path if entry]\n"


def command(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", _HEAD + code, *arguments]
