"""Runs that were trained for a moment, checkpoints of them with changes, and the scores that `spiketrain eval` computes of them."""

import contextlib
import shutil

import torch

from spiketrain import presets
from spiketrain.config import merge
from spiketrain.methods import load_config
from spiketrain.training import checkpoint
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

# Columns of metrics.csv that are the machine's, and differ from run to run.
OF_THE_MACHINE = {f"{part}_{what}" for part in ("train", "validation", "test") for what in ("seconds", "samples_per_second")} | {"peak_memory_mb"}
QUICK = {"trainer": {"epochs": 1, "limit_train": 100, "limit_test": 40, "threads": 1, "progress": "off"}}


def train(raw, folder, **changes):
    """A run directory of a preset, or of a raw configuration, after an epoch of a few samples."""
    raw = presets.load(raw) if isinstance(raw, str) else raw
    config = load_config(merge(merge(merge(raw, QUICK), changes), {"trainer": {"out": str(folder)}}))
    Trainer(config).fit(RunDirectory.create(config))
    return folder


@contextlib.contextmanager
def rewritten(file, target=None):
    """What a checkpoint holds, to be changed; then it is written again, into another file if one is named."""
    content = checkpoint.load(file)
    content.pop("format")  # which saving adds
    yield content
    checkpoint.save(target or file, content)


def whose_data_is_not_there(run, folder):
    """A copy of a run, on MNIST as it says."""
    shutil.copytree(run, folder)
    for name in ("last.ckpt", "best.ckpt"):
        with rewritten(folder / name) as content:
            content["config"]["data"]["name"] = "mnist"
    return folder


def evaluated(folder, *fields):
    """(trainer, inputs, scores) of the best checkpoint, as eval tests it: what its method is asked, and what it says, batch by batch."""
    from spiketrain.training.changes import config_to_look

    content = RunDirectory.open(folder).load_best()
    trainer = Trainer(config_to_look(content, list(fields))[0])
    trainer.restore(content)
    seen, scores = [], trainer.method.scores

    def recorded(inputs):
        seen.append((inputs, scores(inputs).clone()))
        return seen[-1][1]

    trainer.method.scores = recorded
    trainer.test_figures()
    del trainer.method.scores
    inputs, found = zip(*seen)
    axis = 0 if inputs[0].dim() == len(trainer.dataset.input_shape) + 1 else 1
    return trainer, torch.cat(inputs, axis), torch.cat(found)
