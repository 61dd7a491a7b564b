"""Type checkers know the public signatures: names, values and what comes back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import spikeops

TYPED = Path(__file__).parent / "typed"


def test_a_users_program(tmp_path):
    """In some 5 s of CPU time; mypy reads torch first."""
    pytest.importorskip("mypy")
    root = Path(spikeops.__file__).parents[1]
    # mypy finds installed packages by itself, and refuses to be told; a checkout it does not.
    path = {} if root.name in ("site-packages", "dist-packages") else {"MYPYPATH": str(root)}
    command = [sys.executable, "-m", "mypy", "--config-file", TYPED / "mypy.ini", "--cache-dir", tmp_path, TYPED / "user.py"]
    found = subprocess.run(command, env=os.environ | path, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_package_says_that_it_is_typed():
    assert (Path(spikeops.__file__).parent / "py.typed").exists()
