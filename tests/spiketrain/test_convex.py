"""The method convex: surfaces fitted by one and by several layers, classes, and runs that are judged by an error."""

import copy
import csv
import math

import numpy as np
import pytest
import torch
from trained_runs import OF_THE_MACHINE

from spiketrain import data, presets
from spiketrain.config import merge
from spiketrain.data import tasks
from spiketrain.data.surfaces import OWN, PointSplit, grid
from spiketrain.errors import UserError
from spiketrain.methods import load_config
from spiketrain.training import checkpoint
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

QUICK = ("--trainer.threads", 1, "--trainer.limit_train", 300, "--trainer.limit_test", 200)


def small(preset, out, **trainer):
    """A short run of a preset."""
    limits = {"out": str(out), "epochs": 2, "limit_train": 40, "limit_test": 30, "threads": 1, "progress": "off"}
    return load_config(merge(presets.load(preset), {"trainer": limits | trainer}))


def train(config):
    """(best metrics, last checkpoint)"""
    run = RunDirectory.create(config)
    return Trainer(config).fit(run), checkpoint.load(run.last)


def rows(run_dir):
    with open(run_dir / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def weights(content):
    return content["method"]["network"]


def assert_same_weights(first, second):
    assert weights(first).keys() == weights(second).keys()
    for name, value in weights(first).items():
        assert torch.equal(value, weights(second)[name]), name


# One spike is worth 0.02. After three epochs, three seeds each were at most 0.026 and 0.056 off, on either surface.
@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("preset, layers, error", [("convex-own-surfaces-1layer", 1, 0.05), ("convex-own-surfaces-3layer", 3, 0.1)])
def test_surfaces(cli, tmp_path, preset, layers, error):
    run_dir = tmp_path / "run"
    status, lines, errors = cli("train", preset, "--trainer.out", run_dir, "--trainer.epochs", 3, "--trainer.threads", 1)
    assert status == 0, errors
    table = rows(run_dir)
    best = min(table, key=lambda row: float(row["test_rms_error"]))
    assert lines[-1] == f"best_test_rms_error={float(best['test_rms_error']):.4f} epoch={best['epoch']}"
    assert any(line.startswith("before training: test rms ") for line in lines)
    for surface in ("", "_1", "_2"):
        assert float(best[f"test_rms_error{surface}"]) < error < 0.5 < float(table[0][f"untrained_rms_error{surface}"])
    content = checkpoint.load(run_dir / "best.ckpt")
    assert len({name.split(".")[0] for name in weights(content)}) == layers

    assert cli("eval", run_dir)[1] == [lines[-1].removeprefix("best_")]
    assert {"curve.png", "surface.png"} <= {path.name for path in run_dir.iterdir()}
    (run_dir / "surface.png").unlink()
    status, lines, _ = cli("plot", run_dir)
    assert status == 0 and "surface.png" in lines[-1]
    assert (run_dir / "surface.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("preset", ["convex-own-surfaces-3layer", "convex-digits"])
def test_one_epoch_and_a_resume_are_two_epochs(cli, tmp_path, preset):
    _, straight = train(small(preset, tmp_path / "straight"))
    train(small(preset, tmp_path / "stopped", epochs=1))
    assert cli("resume", tmp_path / "stopped", "--trainer.epochs", 2)[0] == 0
    stopped = checkpoint.load(tmp_path / "stopped" / "last.ckpt")
    assert_same_weights(straight, stopped)
    assert [row["epoch"] for row in rows(tmp_path / "stopped")] == ["1", "2"]
    figures = [{k: v for k, v in row.items() if k not in OF_THE_MACHINE} for row in stopped["history"]]
    assert figures == [{k: v for k, v in row.items() if k not in OF_THE_MACHINE} for row in straight["history"]]


def test_threads_and_batch_size_make_no_difference(tmp_path):
    """Trials are learned from in order, however many are handed over at once."""
    contents = [
        train(small("convex-own-surfaces-3layer", tmp_path / str(i), epochs=1, threads=threads, batch_size=batch_size))[1]
        for i, (threads, batch_size) in enumerate([(1, 20), (2, 20), (1, 7)])
    ]
    assert_same_weights(contents[0], contents[1])
    assert_same_weights(contents[0], contents[2])


def test_noise_is_seeded(tmp_path):
    contents = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = small("convex-own-surfaces-1layer", tmp_path / name, epochs=1)
        config.method.sigma_v, config.seed = 0.1, seed
        contents.append(train(config)[1])
    assert_same_weights(contents[0], contents[1])
    assert not torch.equal(weights(contents[0])["0.thresholds"], weights(contents[2])["0.thresholds"])


@pytest.mark.usefixtures("pictures")
def test_digits(cli, tmp_path):
    status, lines, errors = cli("train", "convex-digits", "--trainer.out", tmp_path / "run", "--trainer.threads", 1)
    assert status == 0, errors
    # Six seeds ended between 95.3 and 96.9 %.
    assert float(lines[-1].split()[0].split("=")[1]) >= 0.93
    assert (tmp_path / "run" / "raster.png").exists()
    trainer = Trainer(load_config(merge(presets.load("convex-digits"), {"trainer": {"progress": "off"}})))
    (spikes,) = trainer.method.spike_trains(trainer.dataset.test.batch(torch.arange(5))).values()
    assert spikes.shape == (3, 5, 200)
    assert (spikes.sum(2) <= 1).all() and spikes.sum() > 0


def test_deeper_layers_see_the_readout_and_the_input(tmp_path):
    for skip, inputs in ((True, 2 + 2), (False, 2)):
        config = small("convex-own-surfaces-3layer", tmp_path)
        config.method.skip = skip
        network = Trainer(config).method.network
        assert [layer.feedforward.shape[1] for layer in network] == [2, inputs, inputs]


@pytest.mark.parametrize("words, changes", [
    (["network.layers", "300-10", "got 4C3-10"], ("--network.layers", "4C3-10")),
    (["network.layers", "300-10", "got 10"], ("--network.layers", "10")),
    (["network.layers", "200-9 has 9 outputs", "10"], ("--network.layers", "200-9")),
    (["method.readout_steps", "1 to network.time_steps = 3", "got 4"], ("--method.readout_steps", 4)),
    (["method.dt", "above 0", "got 0"], ("--method.dt", 0)),
    (["method.leak", "0 or more", "got -1"], ("--method.leak", -1)),
    (["method.onset", "0 to network.time_steps = 3", "got 4"], ("--method.onset", 4)),
    (["method.forgetting", "in [0, 1)", "got -1"], ("--method.forgetting", -1)),
    (["method.skip", "false", "rates"], ("--method.between", "rates")),
    (["method.initial", "published", "as many neurons each"],
     ("--method.initial", "published", "--network.layers", "20-30-10", "--method.skip", "false", "--method.between", "rates")),
    (["method.encoder", "dense"], ("--method.encoder", "dense")),
], ids=lambda value: value[0] if isinstance(value, tuple) else "")  # fmt: skip
def test_wrong_options(assert_error, words, changes):
    assert_error(words, "train", "convex-digits", *QUICK, *changes)


def published(name, out, **trainer):
    """A few trials of a published surface fit."""
    return load_config(merge(presets.load(name), {"trainer": {"out": str(out), "epochs": 1, "threads": 1, "progress": "off"} | trainer}))


def test_published_surface_experiment():
    config = load_config(presets.load("convex-surface-1layer"))
    options = config.method
    assert (config.network.layers, config.network.time_steps, config.trainer.epochs, config.seed) == ("50-1", 1333, 100, 3)
    assert (options.dt, options.leak, options.sigma_v, options.spike_cost, options.threshold_drift) == (0.003, 2, 0, 0, 0)
    assert (options.onset, options.buffer_steps, options.readout_steps, options.forgetting) == (166, 333, 1334 - 666, 1 / 500)
    for epoch in (1, 50, 100):
        rate = 1e-3 * math.exp(-1e-4 * epoch)
        assert options.feedforward_rate * options.rate_decay ** (epoch - 1) == pytest.approx(rate, rel=1e-12)
        assert options.threshold_rate == options.feedforward_rate
    dataset = data.load(config)
    assert len(dataset.train) == len(dataset.test) == 100 * 100
    assert dataset.train.points.min() == -4 and dataset.train.points.max() == 4
    torch.testing.assert_close(dataset.train.labels[:, 0], 0.3 * dataset.train.points.square().sum(1))
    second = load_config(presets.load("convex-surface-multilayer"))
    assert second.network.layers == "50-50-1" and second.method.between == "rates"
    assert {**vars(second.method), "between": "readout", "skip": True} == vars(options)


@pytest.mark.parametrize("preset, layers", [("convex-surface-1layer", 1), ("convex-surface-multilayer", 2)])
def test_published_initial_weights(tmp_path, preset, layers):
    """One generator of NumPy, in the order of the notebook."""
    network = Trainer(published(preset, tmp_path, limit_train=1, limit_test=1)).method.network
    generator = np.random.RandomState(3)
    decoder = generator.rand(1, 50)
    decoder /= np.abs(decoder)
    for layer, inputs in zip(network, (2, 50), strict=False):
        assert np.array_equal(layer.feedforward, generator.randn(inputs, 50).T)
        assert np.array_equal(layer.thresholds, 2 * generator.rand(50) - 1)
        assert np.array_equal(layer.decoder, decoder) and np.array_equal(layer.encoder, decoder.T)
        assert layer.neuron["command"] == ("track" if inputs == 2 else "input")
    assert len(network) == layers


def test_second_layer_learns_from_the_rates_of_the_first(tmp_path):
    """As the op alone does it, trial after trial; and the first layer does not see the second."""
    one, two = (Trainer(published(name, tmp_path / name, limit_train=4, limit_test=1)).method
                for name in ("convex-surface-1layer", "convex-surface-multilayer"))  # fmt: skip
    points, wanted = torch.tensor([[3.0, 1.0], [-2.0, 2.5]]), torch.tensor([[3.0], [3.075]])
    layer, below = copy.deepcopy(two.network[1]), copy.deepcopy(two.network[0])
    for method in (one, two):
        method.start_epoch(1)
        method.training_step(points, wanted, 2)
    assert torch.equal(one.network[0].feedforward, two.network[0].feedforward)
    options = dict(feedforward_rate=two.options.feedforward_rate, threshold_rate=two.options.threshold_rate, buffer_steps=333, forgetting=0.002)
    rates = below.fit(below.present(points.double(), 1334, 166), wanted.double(), read_rates=True, **options).readout
    layer.fit(rates, wanted.double(), **options)
    assert torch.equal(layer.feedforward, two.network[1].feedforward) and torch.equal(layer.thresholds, two.network[1].thresholds)
    assert not torch.equal(layer.thresholds, two.untrained[1].thresholds)


@pytest.mark.usefixtures("pictures")
def test_published_fit_learns_and_draws(cli, tmp_path):
    run_dir = tmp_path / "run"
    limits = ("--trainer.limit_train", 2000, "--trainer.limit_test", 100, "--trainer.epochs", 1, "--trainer.threads", 1)
    status, _, errors = cli("train", "convex-surface-1layer", "--trainer.out", run_dir, *limits)
    assert status == 0, errors
    (row,) = rows(run_dir)
    assert float(row["test_rms_error"]) < 0.5 * float(row["untrained_rms_error"])
    assert {"curve.png", "surface.png", "contours.png"} <= {path.name for path in run_dir.iterdir()}


def test_surfaces_are_no_images(assert_error):
    assert_error(["data.normalize", "surfaces holds none"], "train", "convex-own-surfaces-1layer", "--data.normalize", "false")


def test_several_processes_are_refused(tmp_path, monkeypatch):
    from spiketrain import distributed

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(UserError, match="method convex learns from one trial after the other"):
        Trainer(small("convex-digits", tmp_path))


def test_grid_of_test_points():
    points = PointSplit(grid(), OWN, 1.0)
    assert len(points) == 41 * 41
    corner, centre = torch.tensor([0, 41 * 20 + 20])
    assert points.batch(corner).tolist() == [-1, -1] and points.labels[corner].tolist() == [2, 2]
    assert points.batch(centre).tolist() == [0, 0] and points.labels[centre].tolist() == [0, 0]


def test_tasks():
    wanted, found = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 2.0], [6.0, 0.0]])
    tally = sum(tasks.REGRESSION.tally(f[None], w[None]) for f, w in zip(found, wanted))
    figures = tasks.REGRESSION.figures(tally, 2)
    assert figures == pytest.approx({"rms_error": (25 / 4) ** 0.5, "rms_error_1": 4.5**0.5, "rms_error_2": 8**0.5})
    history = [{"test_rms_error": error} for error in (0.3, 0.1, 0.1)]
    assert tasks.of(history[0]).best(history) is history[1]

    scores, labels = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), torch.tensor([1, 0, 0])
    assert tasks.CLASSIFICATION.figures(tasks.CLASSIFICATION.tally(scores, labels), 3) == {"accuracy": 2 / 3}
    history = [{"test_accuracy": share} for share in (0.5, 0.7, 0.7)]
    assert tasks.of(history[0]).best(history) is history[1]
