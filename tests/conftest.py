"""Shared by all tests."""

import os
import zlib

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        default="native",
        choices=["native", "triton"],
        help="implementation that the op tests compare with the reference (triton on the CPU needs TRITON_INTERPRET=1)",
    )
    parser.addoption("--one-in", type=int, default=1, metavar="N", help="of each test run one in N of its cases, and at least one")


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """A process for each core (-n auto), but no more than eight: each takes a gigabyte of memory."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else min(8, _cores())


def pytest_configure(config):
    """The cores are shared among the processes that run tests, whose threads would wait for each other; before torch asks. Tests of
    threads set their number themselves."""
    if workers := len(getattr(config.option, "tx", None) or ()):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // workers)))


def pytest_collection_modifyitems(config, items):
    """Long tests come first. Without a CUDA device, one test of each function that needs one is skipped, in the place of all its
    parameters."""
    _keep_a_sample(config, items, config.getoption("--one-in"))
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if not any(item.get_closest_marker("gpu") for item in items) or not (reason := _no_gpu()):
        return
    kept, left_out, seen = [], [], set()
    for item in items:
        if item.get_closest_marker("gpu"):
            function = (item.parent.nodeid, getattr(item, "originalname", item.name))
            if function in seen:
                left_out.append(item)
                continue
            seen.add(function)
            item.add_marker(pytest.mark.skip(reason=reason))
        kept.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


def _keep_a_sample(config, items, one_in):
    """The same cases in every run, other ones of every test: drawn by their names."""
    cases = {}
    for item in items if one_in > 1 else ():
        cases.setdefault((item.parent.nodeid, getattr(item, "originalname", item.name)), []).append(item)
    left_out = set()
    for of_test in cases.values():
        of_test.sort(key=lambda item: zlib.crc32(item.nodeid.encode()))
        left_out.update(of_test[-(-len(of_test) // one_in) :])
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))


def _no_gpu():
    import torch

    return "" if torch.cuda.is_available() else "torch finds no CUDA device"
