"""Loss and error of every layer, as methods with local losses report them, reach the table, metrics.csv and TensorBoard."""

import csv

import pytest
import torch

from spiketrain.methods.base.method import LayerResult
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer


@pytest.fixture
def reporting(tiny, tmp_path):
    """A run of two epochs whose first layer reports loss 0.25 and a quarter wrong, and its second only loss 2."""
    trainer = Trainer(tiny(trainer={"out": str(tmp_path / "run"), "epochs": 2, "batch_size": 40}))
    step = trainer.method.training_step

    def training_step(inputs, labels, batch_size):
        result = step(inputs, labels, batch_size)
        result.layers["conv_1"] = LayerResult(torch.tensor(0.25), torch.tensor(30))
        result.layers["linear_1"] = LayerResult(torch.tensor(2.0))
        return result

    trainer.method.training_step = training_step
    run = RunDirectory.create(trainer.config)
    trainer.fit(run)
    return run


def test_columns_of_the_layers(reporting):
    with open(reporting.path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        assert list(row)[-3:] == ["loss_conv_1", "error_conv_1", "loss_linear_1"]
        assert (row["loss_conv_1"], row["error_conv_1"], row["loss_linear_1"]) == ("0.25", "0.25", "2.0")


def test_curves_of_the_layers(reporting):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(reporting.path))
    events.Reload()
    for tag, value in (("loss/conv_1", 0.25), ("error/conv_1", 0.25), ("loss/linear_1", 2.0)):
        assert [event.value for event in events.Scalars(tag)] == [value, value]


def test_lines_of_the_layers(reporting, capsys):
    from spiketrain.reports.console import Console
    from spiketrain.training import checkpoint

    Console("off").row(checkpoint.load(reporting.last)["history"][0], is_best=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in lines[1:]] == ["conv_1: loss 0.25, error 25.00 %", "linear_1: loss 2"]
