"""Small event data sets in their true formats, and fixtures that write and load them."""

import pytest
import torch

from data_files import event_writers as writers
from spiketrain import data

SETS = {
    "shd": writers.write_cochlea,
    "ssc": lambda root: writers.write_cochlea(root, "ssc"),
    "dvs-gesture": writers.write_gestures,
    "ncaltech101": writers.write_caltech,
    "events": writers.write_own,
}
COCHLEA = ("shd", "ssc")


@pytest.fixture
def root(tmp_path):
    """``root(name)``: where a small data set lies."""

    def write(name):
        if name in COCHLEA:
            pytest.importorskip("h5py")
        SETS[name](tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def load(tiny):
    def of(name, root, time_steps=10, **options):
        section = {"name": name, "root": str(root), "augment": False, **options}
        return data.load(tiny(data=section, network={"time_steps": time_steps}, trainer={"limit_train": 0, "limit_test": 0}))

    return of


def everything(split):
    return split.batch(torch.arange(len(split)))
