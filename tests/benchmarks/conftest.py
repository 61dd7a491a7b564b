"""The benchmark tooling is no package: its folder goes on the path, as when its scripts run."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.fixture(autouse=True)
def one_thread():
    """Nothing here is large enough for two, which would wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def proof(tmp_path):
    from proof import Proof

    return Proof(minutes=1, logs=tmp_path / "logs")
