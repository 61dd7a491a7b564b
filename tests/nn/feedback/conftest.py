"""Fixtures of the tests of feedback networks."""

import pytest
import torch
from feedback_tests.record import Recorder


@pytest.fixture
def recorder(monkeypatch):
    return Recorder(monkeypatch)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


@pytest.fixture(autouse=True)
def one_thread():
    """The tensors here are so small that threads would only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
