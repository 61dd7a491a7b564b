"""`spiketrain sweep`: any fields, as a grid or a list, each setting with several seeds; what is there counts."""

import csv
import statistics
from pathlib import Path

import pytest
import trained_runs

from spiketrain.cli import main
from spiketrain.cli.sweep import _folder_name, _grid
from spiketrain.training import checkpoint
from spiketrain.training.reproduction import processes
from spiketrain.training.trainer import Trainer

QUICK = ("--trainer.epochs", 2, "--trainer.limit_train", 64, "--trainer.limit_test", 20, "--trainer.threads", 1)
RATES = ("--over", "optimizer.lr=1e-3,1e-2", "--over", "network.time_steps=2,3")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Of runs in this process."""
    monkeypatch.setattr(Trainer, "_draw", lambda trainer, run: None)


@pytest.fixture
def trained(monkeypatch):
    """Runs one after the other in the thread of the test; the names of those that were trained."""
    names = []

    def run(jobs, parallel, watcher):
        for job in jobs:
            names.append(job.name)
            watcher.begun(job)
            status = main(list(job.words))
            watcher.runs(job)
            watcher.ended(job, "" if status == 0 else f"status {status}")

    monkeypatch.setattr(processes, "run", run)
    return names


@pytest.fixture
def no_processes(monkeypatch):
    def refuse(job):
        raise AssertionError(f"a process was started: {job.words}")

    monkeypatch.setattr(processes, "_Process", refuse)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_grid_with_seeds(cli, trained):
    status, lines, errors = cli("sweep", "bptt-digits", *RATES, "--seeds", 2, "--out", "out", *QUICK)
    assert status == 0, errors
    assert len(trained) == 8
    table = rows("out/sweep.csv")
    settings = [(row["optimizer.lr"], row["network.time_steps"]) for row in table]
    assert settings == [("1e-3", "2"), ("1e-3", "3"), ("1e-2", "2"), ("1e-2", "3")], "the last field changes fastest"
    means = []
    for row in table:
        histories = []
        for seed in (1, 2):
            content = checkpoint.load(Path("out") / row["folder"] / f"seed-{seed}" / "last.ckpt")
            config = content["config"]
            assert (config["seed"], config["preset"], config["trainer"]["epochs"]) == (seed, "bptt-digits", 2)
            assert (config["optimizer"]["lr"], config["network"]["time_steps"]) == (float(row["optimizer.lr"]), int(row["network.time_steps"]))
            histories.append([100 * epoch["test_accuracy"] for epoch in content["history"]])
        best, last = [max(history) for history in histories], [history[-1] for history in histories]
        assert float(row["best_epoch_mean"]) == pytest.approx(statistics.fmean(best), abs=1e-4)
        assert float(row["best_epoch_std"] or 0) == pytest.approx(statistics.stdev(best), abs=1e-4)
        assert float(row["last_epoch_mean"]) == pytest.approx(statistics.fmean(last), abs=1e-4)
        means.append(statistics.fmean(best))
    assert [int(row["rank"]) for row in table] == [sorted(means, reverse=True).index(mean) + 1 for mean in means]
    assert Path("out/sweep.png").read_bytes().startswith(b"\x89PNG")
    printed = [line for line in lines if line.startswith("|")]
    assert len(printed) == 6 and printed[0].startswith("| optimizer.lr | network.time_steps | rank |")
    assert "\n".join(printed) in Path("out/sweep.md").read_text()
    assert len(rows("out/runs.csv")) == 8


def test_what_is_there_counts_and_a_value_more_adds_its_runs(cli, trained):
    first = ("--over", "optimizer.lr=1e-3", "--out", "out", *QUICK)
    assert cli("sweep", "bptt-digits", *first)[0] == 0
    assert cli("sweep", "bptt-digits", *first)[0] == 0 and len(trained) == 1, "what is complete is not trained again"
    assert cli("sweep", "bptt-digits", "--over", "optimizer.lr=1e-2,1e-3", "--seeds", 2, "--out", "out", *QUICK)[0] == 0
    assert len(trained) == 4 and [row["seeds"] for row in rows("out/sweep.csv")] == ["2", "2"]
    # Options of all runs that make it another experiment are seen.
    status, _, errors = cli("sweep", "bptt-digits", *first[:4], *QUICK, "--optimizer.momentum", "0.5")
    assert status == 2 and "run of another experiment" in errors[0] and len(trained) == 4


def test_a_run_that_was_stopped_goes_on(cli, trained):
    words = ("bptt-digits", "--over", "optimizer.lr=1e-3,1e-2", "--out", "out", *QUICK)
    assert cli("sweep", *words[:1], "--over", "optimizer.lr=1e-3,1e-2", "--out", "out", "--trainer.epochs", 1, *QUICK[2:])[0] == 0
    status, lines, _ = cli("sweep", *words)
    assert status == 2, "an epoch more is another experiment"
    folder = Path("out") / _folder_name({"optimizer.lr": "1e-3"})
    with trained_runs.rewritten(folder / "seed-1" / "last.ckpt") as content:
        content["config"]["trainer"]["epochs"] = 2
    other = Path("out") / _folder_name({"optimizer.lr": "1e-2"})
    other.rename("away")
    assert cli("sweep", *words)[0] == 0
    assert checkpoint.load(folder / "seed-1" / "last.ckpt")["epoch"] == 2


def test_list(cli, trained, tmp_path):
    (tmp_path / "settings.csv").write_text('network.layers,optimizer.lr,optimizer.betas\n12-10,1e-3,"[0.8, 0.9]"\n\n 20-10,,\n')
    status, _, errors = cli("sweep", "bptt-digits", "--list", "settings.csv", "--out", "out", *QUICK)
    assert status == 0, errors
    table = rows("out/sweep.csv")
    assert [(row["network.layers"], row["optimizer.lr"], row["optimizer.betas"]) for row in table] == [("12-10", "1e-3", "[0.8, 0.9]"), ("20-10", "", "")]
    config = checkpoint.load(Path("out") / table[0]["folder"] / "seed-1" / "last.ckpt")["config"]
    assert config["optimizer"]["betas"] == [0.8, 0.9] and config["network"]["layers"] == "12-10"


def test_validation_ranks(cli, trained):
    assert cli("sweep", "bptt-digits", "--over", "optimizer.lr=1e-4,1e-2", "--data.validation", 100, "--out", "out", *QUICK)[0] == 0
    table = rows("out/sweep.csv")
    figures = [float(row["validation_mean"]) for row in table]
    assert [row["chosen_on"] for row in table] == ["validation"] * 2 and all(row["best_epoch_mean"] and not row["last_epoch_mean"] for row in table)
    assert [int(row["rank"]) for row in table] == [sorted(figures, reverse=True).index(figure) + 1 for figure in figures]
    assert "best epoch: validation accuracy, %" in Path("out/sweep.md").read_text()


def test_errors_rank_from_below(cli, trained):
    quick = ("--trainer.epochs", 1, "--trainer.limit_train", 20, "--trainer.threads", 1)
    assert cli("sweep", "convex-own-surfaces-1layer", "--over", "optimizer.lr=1e-9,1e-3", "--out", "out", *quick)[0] == 0
    table = rows("out/sweep.csv")
    figures = [float(row["best_epoch_mean"]) for row in table]
    assert [int(row["rank"]) for row in table] == [sorted(figures).index(figure) + 1 for figure in figures]


def test_a_run_that_fails_is_named_and_ends_no_other(cli, trained):
    status, lines, errors = cli("sweep", "bptt-digits", "--over", "network.layers=12-5,12-10", "--out", "out", *QUICK)
    assert status == 2 and len(trained) == 2
    assert any("layers=12-5" in error for error in errors) and rows("out/sweep.csv")[1]["seeds"] == "1"


@pytest.mark.parametrize("words, message", [
    ((), "say over what to sweep"),
    (("--over", "optimizer.lr"), "expected FIELD=VALUE"),
    (("--over", "optimizer.lr="), "expected values of optimizer.lr"),
    (("--over", "optimizer.lr=[1"), "expected values of optimizer.lr"),
    (("--over", "optimizer.lr=1e-3,-1"), "field optimizer.lr: expected a number"),
    (("--over", "optimizer.lr=1e-3,fast"), "field optimizer.lr: expected a number"),
    (("--over", "optimizer.rate=1e-3,1e-2"), "unknown field 'optimizer.rate'"),
    (("--over", "method.beta_2=1"), "unknown field 'method.beta_2'"),
    (("--over", "network.layers=12-10,12--10"), "network.layers"),
    (("--over", "method.name=bptt,nothing"), "unknown method"),
    (("--over", "data.name=digits", "--over", "data.name=mnist"), "given twice"),
    (("--over", "optimizer.lr=1e-3,0.001"), "two settings are the same"),
    (("--over", "seed=1,2"), "give --seeds"),
    (("--over", "trainer.out=a,b"), "give --out"),
    (("--over", "preset=a,b"), "field preset"),
    (("--over", "optimizer.lr=1e-3,1e-2", "--optimizer.lr", "1"), "is swept over and given"),
    (("--over", "trainer.threads=1,2", "--threads", "1"), "--threads and trainer.threads are one"),
    (("--over", "optimizer.lr=1e-3", "--list", "a.csv"), "--list and --over"),
    (("--list", "none.csv"), "--list: cannot read none.csv"),
    (("--list", "~nobody-of-this-name/a.csv"), "--list: cannot read ~nobody"),
    (("--list", "empty.csv"), "expected in empty.csv a first line of fields"),
    (("--list", "ragged.csv"), "line 3 of ragged.csv has 3 values for 2 fields"),
    (("--list", "doubled.csv"), "a field is given twice"),
    (("--list", "wrong.csv"), "field optimizer.lr: expected a number"),
    (("--over", "optimizer.lr=1e-3", "--seeds", "0"), "--seeds"),
    (("--over", "optimizer.lr=1e-3", "--seeds", "1,1"), "a seed is given twice"),
    (("--over", "optimizer.lr=1e-3,1e-2", "--seeds", "600"), "at most 1000 runs"),
    (("--over", "optimizer.lr=1e-3,1e-2", "--parallel", "0"), "expected 1 to 1000"),
    (("--grid", "--list", "a.csv"), "not allowed with"),
])  # fmt: skip
def test_refused_before_anything_runs(cli, assert_error, no_processes, words, message):
    Path("empty.csv").write_text("\n")
    Path("ragged.csv").write_text("optimizer.lr,network.layers\n1e-3,12-10\n1e-3,12-10,5\n")
    Path("doubled.csv").write_text("optimizer.lr,optimizer.lr\n1,2\n")
    Path("wrong.csv").write_text("optimizer.lr\n1e-3\nfast\n")
    assert_error(message, "sweep", "bptt-digits", *words, "--out", "out")
    assert not Path("out").exists(), "something was written before all was looked at"


def test_too_many_combinations_are_not_made(assert_error):
    over = [word for i in range(4) for word in ("--over", f"f{i}={','.join(map(str, range(100)))}")]
    assert_error("at most 1000 combinations", "sweep", "bptt-digits", *over)


def test_values_with_commas_in_them():
    assert _grid(["optimizer.betas=[0.9, 0.99],[0.8,0.9]", "network.padding=1"]) == [
        {"optimizer.betas": "[0.9, 0.99]", "network.padding": "1"}, {"optimizer.betas": "[0.8, 0.9]", "network.padding": "1"},
    ]  # fmt: skip
    assert _grid(["network.layers=15C5-P2-10,(64C3-BN-64C3-BN)+-10"])[1] == {"network.layers": "(64C3-BN-64C3-BN)+-10"}
    assert _grid(["method.name=own.module:Method", "network.width=null,64"])[0] == {"method.name": "own.module:Method", "network.width": "null"}


def test_folders_are_told_apart_and_stay_in_their_place():
    settings = [{"network.layers": "a/../../b"}, {"network.layers": "a-..-..-b"}, {"network.model": "x" * 500}, {"optimizer.lr": "1e-3"}, {}]
    names = [_folder_name(setting) for setting in settings]
    assert len(set(names)) == len(names) and all("/" not in name and not name.startswith(".") and len(name) < 80 for name in names)
    assert _folder_name({"a.b": "1", "c.d": "2"}).rpartition("-")[2] == _folder_name({"c.d": "2", "a.b": "1"}).rpartition("-")[2]


def test_table_only(cli, trained, no_processes):
    assert cli("sweep", "bptt-digits", "--over", "optimizer.lr=1e-3", "--out", "out", *QUICK)[0] == 0
    status, lines, _ = cli("sweep", "bptt-digits", "--over", "optimizer.lr=1e-3,1e-2", "--out", "out", "--table-only", *QUICK)
    assert status == 0 and len(trained) == 1 and [row["seeds"] for row in rows("out/sweep.csv")] == ["1", "0"]


@pytest.mark.parametrize("over", [
    ("optimizer.lr=1e-4,1e-3,1e-2",), ("optimizer.lr=1e-4,1e-3,1e-2", "network.time_steps=2,3"), ("network.layers=12-10,$x$",), ("optimizer.lr=1e-3",),
])  # fmt: skip
def test_pictures(tmp_path, over):
    """Lines over a field of numbers, or a row for each setting; also before any run is complete."""
    from spiketrain.config import Published
    from spiketrain.reports.reproduction.figures import COMPLETE, Experiment, SeedRun
    from spiketrain.reports.sweep import Sweep

    settings = _grid(list(over))
    row = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "test_accuracy": 0.5, "learning_rate": 0.1, "train_seconds": 1.0, "test_seconds": 1.0}
    experiments = [Experiment(str(i), [SeedRun(seed, 1, [row], COMPLETE) for seed in (1, 2)], Published()) for i in range(len(settings))]
    sweep = Sweep(list(settings[0]), {str(i): setting for i, setting in enumerate(settings)})
    for shown in (experiments, [Experiment(e.preset, [SeedRun(1, 1)], Published()) for e in experiments], [*experiments[:-1], Experiment(
        experiments[-1].preset, [SeedRun(1, 1)], Published())]):  # fmt: skip
        assert sweep.write_picture(shown, tmp_path).read_bytes().startswith(b"\x89PNG")
        assert sweep.write_tables(shown, tmp_path)
