"""`data.validation`: samples of the training set that choose the best epoch, which alone is tested."""

import csv

import pytest
import torch
import trained_runs

from spiketrain import methods, presets
from spiketrain.config import merge
from spiketrain.data import tasks, validation
from spiketrain.data.base import Dataset, ImageSplit
from spiketrain.data.sparse_events import EventSplit
from spiketrain.data.surfaces import OWN, PointSplit
from spiketrain.errors import UserError
from spiketrain.training import checkpoint
from spiketrain.training.interrupt import Stopped
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

SMALL = {"preset": "small", "data": {"name": "digits", "validation": 0.2}, "network": {"layers": "12-10", "time_steps": 2}, "method": {"name": "bptt"}}


def images(labels):
    """A sample for each label that says where it stood."""
    labels = torch.as_tensor(labels)
    numbers = torch.arange(len(labels))
    pixels = torch.stack([numbers % 256, numbers // 256], 1).to(torch.uint8).view(-1, 1, 1, 2)
    split = ImageSplit(pixels, labels, (0.0,), (1.0,))
    return Dataset("numbered", split, split, (1, 1, 2), int(labels.max()) + 1)


def numbers(split):
    return [int(low) + 256 * int(high) for low, high in split.images.view(-1, 2)]


def cut(dataset, tiny, asked, seed=1):
    validation.split_off(dataset, tiny(seed=seed, data={"validation": asked}))
    return dataset


def test_share_of_each_class(tiny):
    labels = [0] * 50 + [1] * 30 + [2] * 20
    dataset = cut(images(labels), tiny, 0.1)
    assert dataset.validation.labels.bincount().tolist() == [5, 3, 2] and len(dataset.train) == 90
    both = numbers(dataset.validation) + numbers(dataset.train)
    assert sorted(both) == list(range(100)), "each sample is either trained on or kept for validation"
    assert numbers(dataset.train) == sorted(numbers(dataset.train)), "the order of the training set stays"
    assert numbers(cut(images(labels), tiny, 0.1).validation) == numbers(dataset.validation), "the same seed draws the same"
    assert numbers(cut(images(labels), tiny, 0.1, seed=2).validation) != numbers(dataset.validation)
    assert len(dataset.test) == 100


@pytest.mark.parametrize("asked, classes", [
    (7, [3, 2, 2]), (1, [1, 0, 0]), (10, [5, 3, 2]), ("0.33", [17, 10, 6]), (97, [49, 29, 19]), (0.955, [48, 29, 19]),
])  # fmt: skip
def test_numbers_that_no_class_divides(tiny, asked, classes):
    """7 of 100 are 3.5, 2.1 and 1.4 of the classes: one of the two that rounding down leaves goes to each of the largest remainders."""
    dataset = cut(images([0] * 50 + [1] * 30 + [2] * 20), tiny, asked)
    found = dataset.validation.labels.bincount(minlength=3).tolist()
    assert sum(found) == sum(classes) and all(abs(a - b) <= 1 for a, b in zip(found, classes)), found
    assert dataset.train.labels.bincount(minlength=3).min() >= 1


@pytest.mark.parametrize("asked, words", [
    (98, "of each class one has to be left: expected at most 97"), (0.99, "are 99, of each class one"), (0.001, "are 0: expected at least 1"),
])  # fmt: skip
def test_too_many_or_none(tiny, asked, words):
    with pytest.raises(UserError, match=words):
        cut(images([0] * 50 + [1] * 30 + [2] * 20), tiny, asked)


@pytest.mark.parametrize("wrong", ["-1", "1.5", "1.0", "-0.1", "nan", "half", "[0.1]", "true"])
def test_wrong_values(wrong, assert_error):
    assert_error("data.validation", "train", "bptt-digits", f"--data.validation={wrong}")


def test_a_class_of_one_sample_stays_in_training(tiny):
    dataset = cut(images([0] * 20 + [1]), tiny, 0.5)
    assert dataset.train.labels.tolist().count(1) == 1 and len(dataset.validation) == 10


def test_events_and_surfaces(tiny):
    labels = torch.arange(40) % 4
    events = EventSplit(torch.arange(40, dtype=torch.int32), torch.arange(41), labels, 10, (1, 2, 2))
    whole = events.batch(torch.arange(40))
    dataset = cut(Dataset("events", events, events, (1, 2, 2), 4), tiny, 8)
    assert dataset.validation.labels.bincount().tolist() == [2, 2, 2, 2]
    seen = torch.cat([split.batch(torch.arange(len(split))).flatten(2) for split in (dataset.validation, dataset.train)], 1)
    assert torch.equal(seen.sum(1), whole.flatten(2).sum(1)), "an event is lost, or twice there"
    points = PointSplit(torch.rand(50, 2), OWN, 1.0)
    dataset = cut(Dataset("surfaces", points, points, (2,), 2, tasks.REGRESSION), tiny, 0.3)
    assert (len(dataset.validation), len(dataset.train)) == (15, 35)
    assert len(torch.cat([dataset.validation.points, dataset.train.points]).unique(dim=0)) == 50


def test_no_validation_sample_is_trained_on_whatever_the_limit(tiny):
    kept = [Trainer(tiny(data={"validation": 100}, trainer={"limit_train": limit})).dataset for limit in (0, 50)]
    assert len(kept[0].train) + 100 == 1437 and len(kept[1].train) == 50
    assert torch.equal(kept[0].validation.images, kept[1].validation.images)


DIGITS = [name for name in presets.names() if name.endswith("-digits")]


@pytest.mark.parametrize("preset", DIGITS)
def test_every_method_is_tested_once_for_the_epoch_that_validation_chose(tmp_path, monkeypatch, cli, preset):
    tested = []
    figures = Trainer.test_figures
    monkeypatch.setattr(Trainer, "test_figures", lambda self: tested.append(self.epoch) or figures(self))
    folder = trained_runs.train(preset, tmp_path / "run", trainer={"epochs": 2}, data={"validation": 60})
    assert tested == [2]
    history = checkpoint.load(folder / "last.ckpt")["history"]
    best = max(history, key=lambda row: row["validation_accuracy"])
    assert [row["epoch"] for row in history if "test_accuracy" in row] == [best["epoch"]]
    assert checkpoint.load(folder / "best.ckpt")["epoch"] == best["epoch"]
    assert cli("eval", folder)[1][-1] == f"test_accuracy={best['test_accuracy']:.4f} epoch={best['epoch']}"
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["validation_accuracy"]) == saved["validation_accuracy"] for row, saved in zip(rows, history, strict=True))
    assert [row["epoch"] for row in rows if row["test_accuracy"]] == [str(best["epoch"])]


def test_methods_are_all_there():
    assert {presets.load(name)["method"]["name"] for name in DIGITS} == set(methods.names())


def test_surfaces_are_chosen_by_their_error(tmp_path):
    folder = trained_runs.train("convex-own-surfaces-1layer", tmp_path / "run", trainer={"epochs": 2, "limit_train": 50}, data={"validation": 0.1})
    history = checkpoint.load(folder / "last.ckpt")["history"]
    best = min(history, key=lambda row: row["validation_rms_error"])
    assert [row["epoch"] for row in history if "test_rms_error_2" in row] == [best["epoch"]] and "untrained_rms_error" in history[0]


def test_training_is_that_of_the_samples_that_are_left(tmp_path, tiny):
    """Testing, and validating, leave no trace: the weights are those of a run on the same samples without validation."""
    config = tiny(data={"validation": 300}, trainer={"limit_train": 0, "epochs": 1, "out": str(tmp_path / "a")})
    trainer = Trainer(config)
    trainer.fit(RunDirectory.create(config))
    plain = Trainer(tiny(trainer={"limit_train": 0, "epochs": 1, "out": str(tmp_path / "b")}))
    plain.dataset.train = Trainer(config).dataset.train
    plain.fit(RunDirectory.create(plain.config))
    for (name, weights), other in zip(trainer.method.network.state_dict().items(), plain.method.network.state_dict().values(), strict=True):
        assert torch.equal(weights, other), name


def test_stopped_before_the_test(tmp_path, cli, monkeypatch):
    """All epochs are complete, but the best one is not tested: the run is not complete, and resuming it does nothing but that."""
    from spiketrain.methods import load_config

    def stop(self, run):
        raise Stopped

    raw = merge(SMALL, merge(trained_runs.QUICK, {"trainer": {"epochs": 2, "out": str(tmp_path / "run")}}))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Trainer, "_test_best", stop)
        trainer = Trainer(load_config(raw))
        trainer.fit(RunDirectory.create(trainer.config))
    row = list(csv.DictReader(cli("compare", tmp_path / "run", "--csv")[1]))[0]
    assert (row["chosen_on"], row["best_epoch_mean"]) == ("validation", "")
    status, lines, _ = cli("resume", tmp_path / "run")
    assert status == 0 and lines[-1].startswith("best_validation_accuracy=") and " test_accuracy=" in lines[-1]
    assert sum(line.lstrip().startswith(("1 ", "2 ")) for line in lines) == 0, "an epoch was trained again"
    row = list(csv.DictReader(cli("compare", tmp_path / "run", "--csv")[1]))[0]
    history = checkpoint.load(tmp_path / "run" / "last.ckpt")["history"]
    best = max(history, key=lambda row: row["validation_accuracy"])
    assert float(row["best_epoch_mean"]) == pytest.approx(100 * best["test_accuracy"]) and row["last_epoch_mean"] == ""
    assert float(row["validation_mean"]) == pytest.approx(100 * best["validation_accuracy"], abs=1e-4)


def test_trained_longer_the_new_best_epoch_is_tested_too(tmp_path, cli):
    folder = trained_runs.train(SMALL, tmp_path / "run", trainer={"epochs": 1}, optimizer={"lr": 0.01})
    assert cli("resume", folder, "--trainer.epochs", 4)[0] == 0
    history = checkpoint.load(folder / "last.ckpt")["history"]
    best = max(history, key=lambda row: row["validation_accuracy"])
    assert {row["epoch"] for row in history if "test_accuracy" in row} == {1, best["epoch"]}


@pytest.mark.parametrize("words", [("resume", "--data.validation", "0.3"), ("eval", "--data.validation", "0.3"), ("resume", "--data.validation", "0")])
def test_the_split_of_a_run_stays(tmp_path, assert_error, words):
    folder = trained_runs.train(SMALL, tmp_path / "run")
    assert_error("data.validation", words[0], folder, *words[1:])


def test_tables_and_pictures_say_which_samples_chose(tmp_path, cli, pictures):
    runs = [trained_runs.train(SMALL, tmp_path / f"{seed}", seed=seed, trainer={"epochs": 2}) for seed in (1, 2)]
    plain = trained_runs.train(SMALL, tmp_path / "plain", data={"validation": 0}, trainer={"epochs": 2})
    assert (runs[0] / "curve.png").exists() and (runs[0] / "confusion.png").exists()
    status, lines, _ = cli("compare", *runs, plain, "--figure", tmp_path / "figure.svg")
    assert status == 0
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    column, last = cells[0].index("best epoch chosen on"), cells[0].index("last epoch: test accuracy, %")
    assert cells[2][column].startswith("validation (") and cells[2][last] == "" and cells[3][column] == "test" and cells[3][last]
    assert "small, data.validation 0.2" in cells[2][0]


def test_curve_shows_the_validation_samples_and_the_one_test(tmp_path, cli, monkeypatch, tiny):
    from matplotlib.axes import Axes

    from spiketrain.reports.plots import save_curve

    drawn, plot = [], Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, *rest, **style: drawn.append((style.get("label"), list(x), list(y))) or plot(self, x, y, *rest, **style))
    common = {"train_loss": 1.0, "train_accuracy": 0.5, "learning_rate": 0.1}
    history = [{"epoch": 1, "validation_accuracy": 0.75, "test_accuracy": 0.5, **common}, {"epoch": 2, "validation_accuracy": 0.25, **common}]
    save_curve(history, tiny(), tmp_path / "curve.png")
    assert ("validation", [1, 2], [75.0, 25.0]) in drawn and ("test, of the best epoch alone", [1], [50.0]) in drawn


def test_reproduce(cli, monkeypatch):
    from spiketrain.cli import main
    from spiketrain.training.reproduction import processes

    def run(jobs, parallel, watcher):
        for job in jobs:
            watcher.begun(job)
            status = main(list(job.words))
            watcher.runs(job)
            watcher.ended(job, "" if status == 0 else f"status {status}")

    monkeypatch.setattr(processes, "run", run)
    quick = ("--trainer.epochs", 2, "--trainer.limit_train", 64, "--trainer.limit_test", 20, "--trainer.threads", 1)
    status, lines, errors = cli("reproduce", "bptt-digits", "--seeds", 2, "--out", "out", "--data.validation", 40, *quick)
    assert status == 0, errors
    assert any("complete: best validation " in line and ", test " in line for line in lines)
    assert any("the best epoch is chosen on validation samples" in line for line in lines)
    with open("out/results.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["chosen_on"], row["seeds"], row["last_epoch_mean"]) == ("validation", "2", "") and row["best_epoch_mean"]
    with open("out/runs.csv", newline="") as file:
        assert all(row["validation"] and row["best"] and float(row["peak_memory_mb"]) > 0 for row in csv.DictReader(file))
    # What is complete is not trained again.
    assert "2 complete, 0 to do" in cli("reproduce", "bptt-digits", "--seeds", 2, "--out", "out", "--data.validation", 40, *quick)[1][0]
