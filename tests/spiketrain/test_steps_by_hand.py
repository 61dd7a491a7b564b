"""The first epoch of every method, its short last batch, update and figures, against the same epoch by hand."""

import pytest
import torch
from step_tests.by_hand import CASES, config_of, epoch_by_hand

from spiketrain import data
from spiketrain.training.trainer import Trainer


def same_weights(actual, expected, before, tolerance):
    for key, value in expected.items():
        assert not torch.equal(before[key], value), f"{key} learns nothing: choose another run"
        largest = (actual[key] - value).abs().max().item()
        assert largest <= tolerance, f"{key} differs by {largest:.3g}"


@pytest.mark.parametrize("name", CASES)
def test_an_epoch_with_a_short_last_batch(name):
    config = config_of(name)
    trainer = Trainer(config)
    before = {key: value.clone() for key, value in trainer.method.network.state_dict().items()}
    metrics = trainer._run_epoch(1)
    expected = epoch_by_hand(name, before)
    # Three steps of at most 0.01 or 0.05 times momentum; sums in another order move a float32 gradient by 1e-6 of its size, and a
    # division by Adam's root magnifies that for the smallest ones.
    same_weights(trainer.method.network.state_dict(), expected.weights, before, tolerance=2e-5)
    assert metrics["train_loss"] == pytest.approx(expected.loss, rel=1e-5)
    assert metrics["train_accuracy"] == expected.correct / 20
    assert trainer.method.steps == 3
    largest = [max(value.abs().max().item() for value in state.values()) for state in (before, expected.weights)]
    assert largest[0] > config.optimizer.weight_clamp >= largest[1] - 1e-7, "choose a smaller weight_clamp, which matters"


@pytest.mark.parametrize("name", CASES)
def test_the_test_set_in_batches_that_do_not_divide_it(name):
    trainer = Trainer(config_of(name))
    test = data.load(trainer.config).test
    scores = torch.cat([trainer.method.scores(test.batch(index)) for index in torch.arange(17).split(7)])
    assert trainer.test_figures()["accuracy"] == int((scores.argmax(1) == test.labels).sum()) / 17


def test_measured_rates_are_means_over_samples_of_steps_of_unequal_size():
    trainer = Trainer(config_of("spide"))
    step, expected = trainer.method.training_step, []

    def noting(inputs, labels, batch_size):
        result = step(inputs, labels, batch_size)
        expected.append((len(labels), trainer.method.network.ring.last_forward_rates.tolist()))
        return result

    trainer.method.training_step = noting
    metrics = trainer._run_epoch(1)
    assert [samples for samples, _ in expected] == [8, 8, 4]
    for place, name in enumerate(trainer.method.network.names):
        mean = sum(samples * rates[place] for samples, rates in expected) / 20
        assert metrics[f"forward_rate_{name}"] == pytest.approx(mean, rel=1e-5)
