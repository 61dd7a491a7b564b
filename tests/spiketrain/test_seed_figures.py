"""What several seeds come to: mean, standard deviation and best, against numbers worked out by hand; tables, picture, progress."""

import csv
import io

import pytest

from spiketrain.config import Published
from spiketrain.reports.reproduction import files, tables
from spiketrain.reports.reproduction.figures import COMPLETE, Experiment, SeedRun
from spiketrain.reports.reproduction.progress import SeedProgress, remaining


def epoch(number, test, name="accuracy", seconds=50.0):
    metrics = {"epoch": number, "train_loss": 0.5, f"train_{name}": test, f"test_{name}": test, "learning_rate": 1e-3}
    return {**metrics, "train_seconds": seconds, "test_seconds": 10.0, "loss_layer1": 1.0}


def run(seed, *tests, state=COMPLETE, name="accuracy"):
    return SeedRun(seed, 3, [epoch(i, test, name) for i, test in enumerate(tests, start=1)], state, {"threads": "1", "machine": "A|B"})


@pytest.fixture
def three():
    """Three seeds, and one that is not complete and better: it does not count."""
    runs = [run(1, 0.97, 0.98, 0.97), run(2, 0.90, 0.98, 0.98), run(3, 0.995, 0.99, 0.99), run(4, 0.999, state="after epoch 1")]
    return Experiment("some-preset", runs, Published(99.0, 0.25, 99.5), departs=["optimizer.lr: 1"])


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_columns_against_numbers_worked_out_by_hand(three):
    # Last epochs 97, 98, 99: deviations -1, 0, 1, squares 2 over n - 1 = 2. Best epochs 98, 98, 99.5: deviations -0.5, -0.5, 1,
    # squares 1.5 over 2.
    (row,) = rows(tables.results_csv([three]))
    assert (row["seeds"], row["seeds_asked"], row["epochs"], row["measure"]) == ("3", "4", "3", "accuracy, %")
    assert [float(row[f"last_epoch_{part}"]) for part in ("mean", "std", "best")] == [98.0, 1.0, 99.0]
    assert [float(row[f"best_epoch_{part}"]) for part in ("mean", "std", "best")] == [98.5, 0.866025, 99.5]
    assert [float(row[f"published_{part}"]) for part in ("mean", "std", "best")] == [99.0, 0.25, 99.5]
    assert row["best_epoch_against_published"] == "within 2 std"
    assert row["last_epoch_against_published"] == "SHORT by 1.00 (4.0 std)"
    assert row["departs"] == "optimizer.lr: 1"


def test_a_row_for_each_seed(three):
    first, second, third, fourth = rows(tables.runs_csv([three]))
    assert [first[name] for name in ("seed", "state", "last", "best", "best_epoch", "epochs", "seconds", "threads")] == [
        "1", "complete", "97", "98", "2", "3", "180.0", "1",
    ]  # fmt: skip
    assert (second["best_epoch"], third["best"]) == ("2", "99.5")  # the first of equal epochs
    assert (fourth["state"], fourth["epochs"], fourth["epochs_asked"]) == ("after epoch 1", "1", "3")


def test_markdown_shows_the_same_numbers(three):
    text = tables.markdown([three, Experiment("empty", [SeedRun(7, 5)], Published())])
    assert "| some-preset | 3 of 4 | 98.00 ± 1.00 " in text and "| 98.50 ± 0.87 " in text and "| 99.00 ± 0.25 " in text
    assert "- some-preset: the published experiment differs in optimizer.lr: 1" in text
    assert "0 of 5: not begun" in text and "A\\|B" in text
    tables_of_text = [line for line in text.splitlines() if line.startswith("|")]
    header = tables_of_text[0].count("|")
    assert [line.count("|") for line in tables_of_text[:4]] == [header] * 4


@pytest.mark.parametrize("figures, verdict", [
    ([0.9950], "reached"), ([0.9960], "reached"),
    ([0.9946], "within 2 std"),  # exactly two of 0.02
    ([0.9946, 0.9945], "SHORT by 0.04 (2.2 std)"),
    ([], ""),
])  # fmt: skip
def test_two_published_standard_deviations_decide(figures, verdict):
    runs = [run(i, figure) for i, figure in enumerate(figures)]
    experiment = Experiment("x", runs, Published(99.5, 0.02))
    assert experiment.verdict(experiment.best) == verdict
    assert experiment.is_short == verdict.startswith("SHORT")


def test_what_cannot_be_judged_is_not():
    runs = [run(1, 0.5)]
    for published, settings, verdict in (
        (Published(), [], ""),
        (Published(best=99.0), [], ""),
        (Published(mean=99.0), [], "49.00 below, published without std"),
        (Published(99.0, 0.1), ["trainer.epochs 1 (preset: 100)"], "other settings"),
    ):
        experiment = Experiment("x", runs, published, settings)
        assert experiment.verdict(experiment.best) == verdict


def test_one_seed_has_no_standard_deviation():
    (row,) = rows(tables.results_csv([Experiment("x", [run(1, 0.5)], Published())]))
    assert (row["last_epoch_mean"], row["last_epoch_std"], row["last_epoch_best"]) == ("50", "", "50")


def test_of_errors_the_smallest_is_the_best():
    experiment = Experiment("fit", [run(1, 0.4, 0.2, 0.3, name="rms_error"), run(2, 0.5, 0.6, 0.5, name="rms_error")], Published())
    (row,) = rows(tables.results_csv([experiment]))
    assert row["measure"] == "rms error"
    assert [row[f"last_epoch_{part}"] for part in ("mean", "best")] == ["0.4", "0.3"]
    assert [row[f"best_epoch_{part}"] for part in ("mean", "best")] == ["0.35", "0.2"]
    assert "0.3500 ± 0.2121" in tables.markdown([experiment])  # 0.15 * sqrt(2)


def test_files(three, tmp_path):
    folder = tmp_path / "new" / "folder"
    written = [*files.write_tables([three], folder), files.write_picture([three], folder), *files.write_histories([three], folder)]
    assert sorted(path.relative_to(folder).as_posix() for path in written) == [
        *(f"history/some-preset-seed-{seed}.csv" for seed in (1, 2, 3)), "results.csv", "results.md", "results.png", "runs.csv",
    ]  # fmt: skip
    history = rows((folder / "history" / "some-preset-seed-2.csv").read_text())
    assert [row["test_accuracy"] for row in history] == ["0.9", "0.98", "0.98"] and "loss_layer1" not in history[0]
    files.write_picture([Experiment("empty", [SeedRun(7, 5)], Published())], folder)  # nothing to draw is no error


def test_times():
    assert [tables.duration(seconds) for seconds in (8.4, 150, 3599.9, 3600, 7500)] == ["8 s", "2 min", "60 min", "1 h 00 min", "2 h 05 min"]
    assert remaining(4, [epoch(1, 0.5)]) == ", 3 min left"
    assert remaining(1, [epoch(1, 0.5)]) == ""


def test_progress_in_lines(capsys):
    with SeedProgress("off") as progress:
        progress.begin("x seed 1", 4, 0)
        progress.begin("x seed 2", 4, 3)
        progress.update("x seed 1", 4, [epoch(1, 0.5)])
        progress.end("x seed 1", "complete")
    assert capsys.readouterr().out.splitlines() == [
        "x seed 1: begins",
        "x seed 2: goes on after epoch 3 of 4",
        "x seed 1: epoch 1 of 4, test acc. 50.00 %, 3 min left",
        "x seed 1: complete",
    ]


def test_progress_on_a_terminal(capsys, monkeypatch):
    """A line for each run that is under way; names and texts in square brackets are no markup."""
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with SeedProgress("on") as progress:
        progress.begin("[x] seed 1", 4, 0)
        progress.begin("[x] seed 2", 4, 2)
        progress.update("[x] seed 1", 4, [epoch(1, 0.5)])
        progress.say("said [/x]")
        progress.end("[x] seed 1", "complete")
        progress.end("[x] seed 3", "failed: could not begin")
    out = capsys.readouterr().out
    for words in ("[x] seed 1", "1/4", "test acc. 50.00 %, 3 min left", "[x] seed 2", "2/4", "said [/x]", "[x] seed 1: complete", "[x] seed 3: failed"):
        assert words in out, words
