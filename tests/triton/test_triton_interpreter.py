"""Runs the files of interpreted/ with Triton's interpreter, in processes of their own."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the package triton is not installed")

FOLDER = Path(__file__).parent / "interpreted"
FILES = sorted(file for file in FOLDER.glob("*.py") if file.name != "conftest.py")
PROCESSES = 2  # for workers of the tests to share; each imports all that it needs anew


def _version(package):
    return tuple(int(part) for part in importlib.metadata.version(package).split(".")[:2])


@pytest.mark.skipif(
    _version("triton") < (3, 7) and _version("numpy") >= (2, 4),
    reason="the interpreter of triton < 3.7 cannot run loops with numpy >= 2.4: install numpy < 2.4 or triton >= 3.7",
)
@pytest.mark.long
@pytest.mark.parametrize("files", [FILES[first::PROCESSES] for first in range(PROCESSES)], ids=lambda files: " ".join(file.stem for file in files))
def test_interpreted(files):
    command = [
        sys.executable, "-I", "-m", "pytest", *map(str, files), "-q", "--maxfail=5", "--tb=short", "-p", "no:cacheprovider",
        "-W", "ignore::RuntimeWarning:triton.runtime",  # numpy's: TSSL-BP computes -1 / 0 and selects or clamps afterwards
    ]  # fmt: skip
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1200, check=False
    )
    assert run.returncode == 0, run.stdout
