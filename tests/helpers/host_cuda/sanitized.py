"""Runs a script in a Python of its own whose `spikeops_testing` is built with AddressSanitizer and UBSan."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
MODULE_DIR = Path(os.environ.get("SPIKEOPS_TESTING_SANITIZED_DIR", REPOSITORY / "build" / "testing-sanitized"))

PRELUDE = """
import sys
sys.path[:0] = {paths!r}
import numpy as np
import torch
import spikeops_testing as kernels
"""


def runtime_libraries() -> list[str]:
    """What must be loaded first: AddressSanitizer, and libstdc++ so that it can intercept exceptions."""
    compiler = os.environ.get("CXX", "g++")
    found = [
        subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libstdc++.so.6")
    ]
    return [path for path in found if os.path.isabs(path)]


def run(script: str, timeout: float = 300) -> subprocess.CompletedProcess:
    paths = [str(MODULE_DIR), str(Path(__file__).parents[1])]
    environment = os.environ | {
        "LD_PRELOAD": " ".join(runtime_libraries()),
        # Python itself leaks; stacks that are switched would only cost time with a fake stack each.
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=0",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", PRELUDE.format(paths=paths) + script],
        capture_output=True, text=True, check=False, env=environment, timeout=timeout, cwd=MODULE_DIR,  # where no package lies
    )  # fmt: skip
