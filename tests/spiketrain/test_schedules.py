"""Learning rates over all epochs and steps: as functions, as methods report them, and as the updates use them."""

import math

import pytest
import torch
from step_tests.by_hand import CASES, config_of

from spiketrain.config import OptimizerConfig
from spiketrain.data import load
from spiketrain.methods import get, load_config
from spiketrain.methods.base.schedules import learning_rate, warm_up
from spiketrain.training.trainer import Trainer

EPOCHS = 6
HALF_ROOT = math.sqrt(3) / 2
# Of lr 0.4: what epochs 1 to 6 learn with.
RATES = {
    "constant": ({"schedule": "constant"}, [0.4] * 6),
    # Half a period of the cosine, of which the first epoch sees the top; its value at the end is that after the last epoch.
    "cosine": ({"schedule": "cosine"}, [0.2 * (1 + cosine) for cosine in (1, HALF_ROOT, 0.5, 0, -0.5, -HALF_ROOT)]),
    "no milestones": ({"schedule": "multistep"}, [0.4] * 6),
    "milestones": ({"schedule": "multistep", "milestones": [2, 5], "gamma": 0.5}, [0.4, 0.4, 0.2, 0.2, 0.2, 0.1]),
    "milestones in any order": ({"schedule": "multistep", "milestones": [5, 1], "gamma": 0.1}, [0.4, 0.04, 0.04, 0.04, 0.04, 0.004]),
    "a milestone twice": ({"schedule": "multistep", "milestones": [3, 3], "gamma": 0.5}, [0.4, 0.4, 0.4, 0.1, 0.1, 0.1]),
    "beyond the end": ({"schedule": "multistep", "milestones": [6, 9], "gamma": 0.5}, [0.4] * 6),
}


@pytest.mark.parametrize("name", RATES)
def test_rates_of_all_epochs(name):
    options, expected = RATES[name]
    options = OptimizerConfig(lr=0.4, **options)
    assert [learning_rate(options, epoch, EPOCHS) for epoch in range(1, EPOCHS + 1)] == pytest.approx(expected, abs=1e-15)


def test_one_epoch_of_a_cosine_has_the_whole_rate():
    assert learning_rate(OptimizerConfig(lr=0.4, schedule="cosine"), 1, 1) == 0.4


def test_warm_up_ends_at_the_whole_rate_and_stays_there():
    factors = [warm_up(OptimizerConfig(warmup_steps=4), step) for step in range(1, 8)]
    assert factors == [0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert [warm_up(OptimizerConfig(warmup_steps=0), step) for step in (1, 2)] == [1, 1]
    assert warm_up(OptimizerConfig(warmup_steps=1), 1) == 1


def steps_of(optimizer, used):
    """Notes the learning rate of each of its steps."""
    optimizer.register_step_pre_hook(lambda rule, *_: used.append([group["lr"] for group in rule.param_groups]))


@pytest.mark.parametrize("schedule", ["cosine", "milestones"])
@pytest.mark.parametrize("name", CASES)
def test_updates_use_the_rate_of_their_epoch_and_step(name, schedule):
    """Three epochs of two steps, the first three of them within the warm-up; SPIDE's rates are divided by its scale."""
    options, expected = RATES[schedule]
    config = config_of(name, samples=9)
    config.trainer.epochs = EPOCHS
    for key, value in {"lr": 0.4, "warmup_steps": 3, "clip_norm": 1e-6, "weight_clamp": 0.0, **options}.items():
        setattr(config.optimizer, key, value)
    trainer = Trainer(config)
    layers = getattr(trainer.method, "optimizers", None)
    optimizers = [layer.optimizer for layer in layers.values()] if layers else [trainer.method.optimizer]
    used = [[] for _ in optimizers]
    for optimizer, rates in zip(optimizers, used):
        steps_of(optimizer, rates)
    reported = [trainer._run_epoch(epoch)["learning_rate"] for epoch in (1, 2, 3)]
    assert reported == pytest.approx(expected[:3])
    scale = getattr(config.method, "scale_factor", 1)
    factors = [1 / 3, 2 / 3, 1, 1, 1, 1]
    wanted = [factor * expected[step // 2] / scale for step, factor in enumerate(factors)]
    for rates in used:
        # ELL and FELL change weights in each time step, with the rate of the training step.
        times = len(rates) // 6
        assert [rate for (rate,) in rates] == pytest.approx([rate for rate in wanted for _ in range(times)])


def test_rates_of_convex_networks_decay_from_the_second_epoch_on():
    config = load_config({
        "data": {"name": "digits"}, "network": {"layers": "20-10", "time_steps": 10},
        "method": {"name": "convex", "rate_decay": 0.5, "feedforward_rate": 0.1, "threshold_rate": 0.2, "threshold_drift": 0.4},
        "trainer": {"limit_train": 8, "limit_test": 8, "progress": "off"},
    })  # fmt: skip
    dataset = load(config)
    method = get("convex")(config, dataset.input_shape, dataset.classes, torch.device("cpu"))
    used, fit = [], method.network[0].fit
    names = ("feedforward_rate", "threshold_rate", "threshold_drift")
    method.network[0].fit = lambda *args, **options: used.append([options[name] for name in names]) or fit(*args, **options)
    reported = []
    for epoch in (1, 2, 3):
        reported.append(method.start_epoch(epoch))
        method.training_step(dataset.train.batch(torch.arange(8)), dataset.train.labels, 8)
    assert reported == pytest.approx([0.1, 0.05, 0.025])
    for rates, factor in zip(used, (1, 0.5, 0.25), strict=True):
        assert rates == pytest.approx([factor * rate for rate in (0.1, 0.2, 0.4)])
