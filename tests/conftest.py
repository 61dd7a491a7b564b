"""Shared by all tests."""

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        default="native",
        choices=["native", "triton"],
        help="implementation that the op tests compare with the reference (triton on the CPU needs TRITON_INTERPRET=1)",
    )


def pytest_collection_modifyitems(items):
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and (reason := _no_gpu()):
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason=reason))


def _no_gpu():
    import torch

    return "" if torch.cuda.is_available() else "torch finds no CUDA device"
