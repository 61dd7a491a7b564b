"""Confusion matrices: what is counted, where pictures lie, whose weights they show."""

from types import SimpleNamespace

import pytest
import torch

from spiketrain.data.class_names import CLASS_NAMES
from spiketrain.reports import confusion
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

QUICK = ("--trainer.limit_train", 100, "--trainer.limit_test", 60, "--trainer.threads", 1, "--trainer.progress", "off")


def test_counts_rows_true_columns_predicted():
    scores = torch.eye(4)[[0, 0, 1, 2, 3, 1]]  # four outputs, three classes: predictions of the fourth are none of them
    labels = torch.tensor([0, 1, 1, 2, 2, 0])
    assert confusion.count(scores, labels, 3).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]]
    assert confusion.count(scores[:0], labels[:0], 3).tolist() == [[0] * 4] * 3


def test_the_counts_are_those_of_the_test_samples(tiny):
    trainer = Trainer(tiny())
    accuracy = trainer.test_figures()["accuracy"]
    counts, labels = trainer._confusion, trainer.dataset.test.labels
    assert counts.sum(1).tolist() == torch.bincount(labels, minlength=10).tolist()
    assert counts[:, :10].trace().item() / len(labels) == pytest.approx(accuracy)


def png_size(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


@pytest.mark.parametrize(
    "classes, names",
    [
        (10, None),
        (10, CLASS_NAMES["fashion_mnist"]),
        (100, CLASS_NAMES["cifar100"]),
        (700, None),
        (2, ("$x", "a name that is far too long for a picture")),
    ],
)
def test_pictures_of_few_and_of_many_classes(classes, names, tiny, tmp_path):
    labels = torch.arange(3 * classes) % max(classes - 1, 1)  # the last class has no samples
    scores = torch.randn(len(labels), classes, generator=torch.Generator().manual_seed(1))
    dataset = SimpleNamespace(classes=classes, class_names=names)
    confusion.save_confusion(confusion.count(scores, labels, classes), dataset, tiny(), 3, tmp_path / "c.png")
    width, height = png_size(tmp_path / "c.png")
    # At 130 dots to the inch, and at most 20 inches and a margin: each of 100 names has room for letters of 5 points.
    assert min(width, height) >= (100 * 0.13 * 130 if classes == 100 else 400)
    assert max(width, height) <= 25 * 130


def test_what_the_picture_says(tiny, tmp_path, monkeypatch):
    """Counts in their cells, rows the true classes; the share of the samples, and the mean of the classes' own shares."""
    drawn = []
    monkeypatch.setattr(confusion, "save_figure", lambda figure, path: drawn.append(figure))
    counts = torch.tensor([[8, 2, 0, 0], [0, 1, 0, 1], [3, 0, 0, 0]])  # of three classes; one prediction that is none of them
    dataset = SimpleNamespace(classes=3, class_names=("cat", "dog", "emu"))
    confusion.save_confusion(counts, dataset, tiny(), 7, tmp_path / "c.png")
    axes = drawn[0].axes[0]
    assert axes.get_title(loc="left") == "9 of 15 right (60.00 %), mean over the classes 43.33 %"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "emu"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog", "emu", "none"]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "8", (1, 0): "2", (1, 1): "1", (3, 1): "1", (0, 2): "3"}  # column, row
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert "epoch 7" in drawn[0]._suptitle.get_text()


def test_names_of_classes():
    assert {name: len(names) for name, names in CLASS_NAMES.items()} == {
        "fashion_mnist": 10,
        "cifar10": 10,
        "cifar10_dvs": 10,
        "cifar100": 100,
        "dvs-gesture": 11,
    }
    assert all(
        list(CLASS_NAMES[name]) == sorted(set(CLASS_NAMES[name])) for name in ("cifar10", "cifar100")
    )  # as their makers numbered them


@pytest.mark.usefixtures("pictures")
def test_training_testing_and_drawing_write_it(tmp_path, cli):
    run = tmp_path / "run"
    assert cli("train", "bptt-digits", "--trainer.epochs", 2, "--trainer.out", run, *QUICK)[0] == 0
    picture = run / "confusion.png"
    trained = picture.read_bytes()
    for command in ("eval", "plot"):
        picture.unlink()
        assert cli(command, run)[0] == 0
        assert picture.read_bytes() == trained, command  # of the best epoch's weights, all of them
    picture.unlink()
    assert cli("eval", run, "--network.time_steps", 3)[0] == 0
    assert not picture.exists()  # that was another experiment
    assert cli("eval", run, "--trainer.eval_batch_size", 7)[0] == 0
    assert picture.read_bytes() == trained


@pytest.mark.usefixtures("pictures")
def test_a_resumed_run_that_gets_no_better_keeps_the_picture_of_its_best_epoch(tmp_path, cli):
    run = tmp_path / "run"
    assert cli("train", "bptt-digits", "--trainer.epochs", 1, "--trainer.out", run, *QUICK)[0] == 0
    trained = (run / "confusion.png").read_bytes()
    assert cli("resume", run, "--trainer.epochs", 2, "--optimizer.lr", 0)[0] == 0
    assert RunDirectory.open(run).load_best()["epoch"] == 1
    assert (run / "confusion.png").read_bytes() == trained


@pytest.mark.usefixtures("pictures")
def test_fits_have_none(tmp_path, cli):
    run = tmp_path / "run"
    words = (
        "--network.layers",
        "6-2",
        "--trainer.epochs",
        1,
        "--trainer.limit_train",
        20,
        "--trainer.limit_test",
        20,
        "--network.time_steps",
        20,
        "--method.readout_steps",
        5,
        "--method.buffer_steps",
        2,
    )
    status, _, errors = cli("train", "convex-own-surfaces-1layer", *words, "--trainer.threads", 1, "--trainer.out", run)
    assert status == 0, errors
    assert cli("eval", run)[0] == 0 and cli("plot", run)[0] == 0
    assert not (run / "confusion.png").exists()
