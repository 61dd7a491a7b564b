"""The package's Python runs under each version that it is for, the oldest included, which these tests are seldom run by."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import spikeops
import spiketrain

SOURCES = [Path(package.__file__).parent for package in (spikeops, spiketrain)]
OLDEST, NEWEST = 10, 14
PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
# Syntax of its own version is what a Python knows best: `compile` without running anything, warnings being errors.
COMPILE = """
import pathlib, sys, warnings
warnings.simplefilter("error")
for folder in sys.argv[1:]:
    for path in pathlib.Path(folder).rglob("*.py"):
        compile(path.read_bytes(), str(path), "exec")
print(*sys.version_info[:2])
"""


def needed(*paths):
    """(exit status, lines) of vermin, which knows in which version each module, name and piece of syntax came."""
    pytest.importorskip("vermin")
    run = "import sys; from vermin import main; main()"
    words = [f"--target=3.{OLDEST}-", "--violations", "--no-tips", "--no-config-file", "--processes=1", *map(str, paths)]
    result = subprocess.run([sys.executable, "-c", run, *words], capture_output=True, text=True, check=False)
    return result.returncode, result.stdout.splitlines()


def test_nothing_newer_than_the_oldest_python_is_used():
    status, lines = needed(*SOURCES)
    assert status == 0 and f"Minimum required versions: 3.{OLDEST}" in lines, "\n".join(lines)


@pytest.mark.parametrize("code", ["import tomllib", "from enum import StrEnum", "try:\n    pass\nexcept* ValueError:\n    pass"])
def test_newer_things_are_found(tmp_path, code):
    (tmp_path / "newer.py").write_text(code)
    status, lines = needed(tmp_path / "newer.py")
    assert status == 1 and any("3.11" in line for line in lines)


def test_the_oldest_python_is_the_one_that_the_wheel_asks_for():
    assert re.search(r'^requires-python = ">=3\.(\d+)"$', PROJECT.read_text(), re.MULTILINE)[1] == str(OLDEST)


def pythons():
    """One of each version that is on this machine, pyenv's and others on the PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in range(OLDEST, NEWEST + 1):
        kept = [path for version in pyenv.glob(f"3.{minor}.*") if (path := version / "bin" / "python").is_file()]
        yield minor, str(kept[0]) if kept else shutil.which(f"python3.{minor}")


@pytest.mark.parametrize("minor, python", list(pythons()), ids=lambda value: f"3.{value}" if isinstance(value, int) else "")
def test_it_compiles_without_a_warning(minor, python):
    result = python and subprocess.run([python, "-c", COMPILE, *map(str, SOURCES)], capture_output=True, text=True, check=False)
    if not python or (result.returncode == 127):  # a stand-in of pyenv's for a version that it does not have
        pytest.skip(f"there is no Python 3.{minor} on this machine")
    assert result.stdout.strip() == f"3 {minor}", result.stderr
