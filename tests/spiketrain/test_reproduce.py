"""``spiketrain reproduce``: seeds of presets as ordinary run directories, and what they come to."""

import csv
import os
from pathlib import Path

import pytest
import torch

from spiketrain.cli import main
from spiketrain.cli.reproduce import seeds_of
from spiketrain.errors import UserError
from spiketrain.methods import load_config
from spiketrain.presets import load
from spiketrain.reports.reproduction import files
from spiketrain.training import checkpoint, sessions
from spiketrain.training.interrupt import Stopped
from spiketrain.training.lock import Lock
from spiketrain.training.reproduction import processes
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

QUICK = ("--trainer.epochs", 2, "--trainer.limit_train", 64, "--trainer.limit_test", 20, "--trainer.threads", 1)
TABLES = {"results.md", "results.csv", "runs.csv", "results.png"}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Of runs in this process: drawing takes most of their time."""
    monkeypatch.setattr(Trainer, "_draw", lambda trainer, run: None)


def train(out, seed, *options, preset="bptt-digits", after=None):
    """A run as `train` makes it, stopped after so many steps. Returns its test accuracies."""
    words = [str(word) for word in (*QUICK, *options, f"--seed={seed}", f"--trainer.out={out}/{preset}/seed-{seed}")]
    config = load_config(load(preset), words)
    run, trainer = RunDirectory.create(config), Trainer(config)
    calls = iter(range(10_000))

    def check():
        if next(calls) == after:
            raise Stopped

    if after is None:
        trainer.fit(run, check)
    else:
        with pytest.raises(Stopped):
            trainer.fit(run, check)
    return [row["test_accuracy"] for row in trainer.history]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def by_seed(out):
    return {(row["preset"], int(row["seed"])): row for row in rows(Path(out) / "runs.csv")}


@pytest.fixture
def no_processes(monkeypatch):
    """A command that has nothing to train, or may not train, starts none."""

    def refuse(job):
        raise AssertionError(f"a process was started: {job.words}")

    monkeypatch.setattr(processes, "_Process", refuse)


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs one after the other without processes of their own, in the thread of the test."""

    def run(jobs, parallel, watcher):
        for job in jobs:
            watcher.begun(job)
            status = main(list(job.words))
            watcher.runs(job)
            watcher.ended(job, "" if status == 0 else f"status {status}")

    monkeypatch.setattr(processes, "run", run)


def test_results_are_written_after_each_run(cli, in_this_process, monkeypatch):
    written = []
    write = files.write_tables

    def note(experiments, folder):
        written.append([experiment.seeds for experiment in experiments])
        return write(experiments, folder)

    monkeypatch.setattr(files, "write_tables", note)
    assert cli("reproduce", "bptt-digits", "--seeds", 2, "--out", "out", *QUICK)[0] == 0
    assert written == [["0 of 2"], ["1 of 2"], ["2"], ["2"]]
    assert {key[1] for key in by_seed("out")} == {1, 2}  # from the preset's own seed on


def test_results_that_cannot_be_written_end_no_run(cli, in_this_process, monkeypatch):
    write, calls = files.write_tables, []

    def full(experiments, folder):
        calls.append(folder)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(experiments, folder)

    monkeypatch.setattr(files, "write_tables", full)
    status, lines, errors = cli("reproduce", "bptt-digits", "--seeds", 2, "--out", "out", *QUICK)
    assert status == 2 and errors == ["spiketrain: error: cannot write the results: [Errno 28] No space left on device"]
    assert sum("cannot write the results: [Errno 28]" in line for line in lines) == 2
    monkeypatch.setattr(files, "write_tables", write)
    assert cli("reproduce", "bptt-digits", "--table-only", "--out", "out", *QUICK)[0] == 0
    assert rows("out/results.csv")[0]["seeds"] == "2"


def test_a_run_that_ends_too_early_has_failed(cli, monkeypatch):
    monkeypatch.setattr(processes, "run", lambda jobs, parallel, watcher: [watcher.ended(job, "") for job in jobs])
    status, lines, errors = cli("reproduce", "bptt-digits", "--seeds", 1, "--out", "out", *QUICK)
    assert status == 2 and errors == ["spiketrain: error: bptt-digits seed 1: it has ended, but is not complete, or not what was asked for"]
    assert "bptt-digits seed 1: failed: it has ended" in lines[1]


def test_pictures_that_fail_cost_no_result(cli, no_processes, monkeypatch):
    train("out", 1)
    monkeypatch.setattr(files, "write_picture", lambda *_: 1 / 0)
    status, lines, _ = cli("reproduce", "bptt-digits", "--table-only", "--out", "out", *QUICK)
    assert status == 0 and rows("out/results.csv")[0]["seeds"] == "1"
    assert any("results.png could not be drawn: ZeroDivisionError" in line for line in lines)


def test_side_by_side(cli, tmp_path):
    """A run of `train` is taken, an interrupted one goes on to where it would have ended, a new one is begun; what fails ends no other."""
    finished = train("out", 1)
    straight = train("straight", 2)
    train("out", 2, "--trainer.checkpoint_minutes", 10, after=4)  # within the second epoch: 2 steps each, and one batch of testing
    assert checkpoint.load(Path("out/bptt-digits/seed-2/last.ckpt"))["position"]["steps"] == 1
    before = Path("out/bptt-digits/seed-1/last.ckpt").read_bytes()
    words = ("reproduce", "bptt-digits", "bptt-mnist-cnn", "--seeds", "1,2", "--out", "out", "--parallel", 3, "--data.root", tmp_path / "nowhere")
    status, lines, errors = cli(*words, *QUICK)
    assert status == 2
    assert sorted(line.partition(": data")[0] for line in errors) == [f"spiketrain: error: bptt-mnist-cnn seed {seed}" for seed in (1, 2)], errors
    assert all("data set not found" in line for line in errors)
    assert "4 runs in out, 1 complete, 3 to do, 3 at a time" in lines[0]
    assert any(line.startswith("bptt-digits seed 2: goes on after epoch 1 of 2") for line in lines)

    assert Path("out/bptt-digits/seed-1/last.ckpt").read_bytes() == before
    resumed, wanted = (checkpoint.load(Path(f"{out}/bptt-digits/seed-2/last.ckpt")) for out in ("out", "straight"))
    assert all(torch.equal(tensor, resumed["method"]["network"][name]) for name, tensor in wanted["method"]["network"].items())
    assert [row["test_accuracy"] for row in resumed["history"]] == straight

    table = {row["preset"]: row for row in rows("out/results.csv")}
    assert [table[name]["seeds"] for name in ("bptt-digits", "bptt-mnist-cnn")] == ["2", "0"]
    row = table["bptt-digits"]
    assert float(row["last_epoch_mean"]) == pytest.approx(50 * (finished[-1] + straight[-1]), rel=1e-5)  # six digits are written
    assert float(row["best_epoch_best"]) == pytest.approx(100 * max(*finished, *straight), rel=1e-5)
    assert float(row["last_epoch_std"] or 0) == pytest.approx(abs(finished[-1] - straight[-1]) * 100 / 2**0.5, rel=1e-5)
    assert "trainer.epochs 2 (preset: 20)" in row["settings"]
    assert by_seed("out")["bptt-mnist-cnn", 2]["state"] == "failed after epoch 0"
    assert "data set not found" in Path("out/bptt-mnist-cnn/seed-2.log").read_text()
    assert not Path("out/.lock").exists()


def test_what_is_complete_is_not_run_again(cli, no_processes):
    figures = {seed: train("out", seed) for seed in (1, 2)}
    status, lines, errors = cli("reproduce", "bptt-digits", "--seeds", 2, "--out", "out", *QUICK)
    assert (status, errors) == (0, [])
    assert set(os.listdir("out")) >= TABLES
    for seed, accuracies in figures.items():
        row = by_seed("out")["bptt-digits", seed]
        assert float(row["last"]) == pytest.approx(100 * accuracies[-1], rel=1e-5)
        assert float(row["best"]) == pytest.approx(100 * max(accuracies), rel=1e-5)
        assert (row["state"], row["threads"], row["torch"]) == ("complete", "1", torch.__version__)
    assert any("| bptt-digits" in line for line in lines)


def test_another_experiment_in_the_place_is_refused_by_name(assert_error, no_processes):
    train("out", 1)
    train("out", 2, "--optimizer.lr", 0.5)
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    words = ["out/bptt-digits/seed-2 is a run of another experiment", "optimizer.lr 0.5 instead of"]
    assert_error(words, "reproduce", "bptt-digits", "--seeds", 3, "--out", "out", *QUICK)
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before
    os.rename("out/bptt-digits/seed-1", "out/bptt-digits/seed-7")  # of another seed than its name says
    assert_error("seed-7 is a run of another experiment: seed 1 instead of 7", "reproduce", "bptt-digits", "--seeds", "[7]", "--out", "out", *QUICK)


def test_where_a_run_was_trained_is_no_other_experiment(cli, no_processes):
    train("out", 1, "--trainer.checkpoint_minutes", 3, "--trainer.eval_batch_size", 7, "--trainer.threads", 2, "--data.root", "elsewhere")
    assert cli("reproduce", "bptt-digits", "--seeds", 1, "--out", "out", *QUICK)[0] == 0
    assert by_seed("out")["bptt-digits", 1]["threads"] == "2"


def test_a_run_that_cannot_be_read_loses_no_other(cli, no_processes):
    train("out", 1)
    train("out", 2)
    Path("out/bptt-digits/seed-2/last.ckpt").write_bytes(b"damaged")
    (Path("out/bptt-digits") / "seed-3").write_text("a file")
    status, _, errors = cli("reproduce", "bptt-digits", "--seeds", 3, "--out", "out", *QUICK)
    assert status == 2 and len(errors) == 2
    assert "bptt-digits seed 2: " in errors[0] and "is damaged" in errors[0]
    assert "bptt-digits seed 3: cannot read the run directory" in errors[1]
    assert rows("out/results.csv")[0]["seeds"] == "1" and rows("out/results.csv")[0]["seeds_asked"] == "3"


def test_table_of_what_there_is(cli, assert_error, no_processes):
    assert_error("there are no runs in out", "reproduce", "--table-only", "--out", "out")
    assert_error("name the presets", "reproduce", "--out", "out")
    train("out", 5)
    train("out", 6, after=5)  # after an epoch and a step
    train("out", 8, "--optimizer.lr", 0.5)
    train("out", 3, preset="ell-digits")
    status, lines, _ = cli("reproduce", "--table-only", "--out", "out")
    assert status == 0
    first, second = rows("out/results.csv")
    assert (first["preset"], first["seeds"], first["seeds_asked"]) == ("bptt-digits", "1", "2")
    assert first["notes"].startswith("seed 8 is left out: trained with optimizer.lr 0.5 instead of")
    assert any("seed 8 is left out" in line for line in lines)
    assert (second["preset"], second["seeds"]) == ("ell-digits", "1")
    assert by_seed("out")["bptt-digits", 6]["state"] == "after epoch 1"
    for options, seeds in ((QUICK, "1"), ((), "1"), (("--optimizer.lr", 0.5), "0")):  # without options: as they were trained
        status, lines, errors = cli("reproduce", "ell-digits", "--table-only", "--out", "out", *options)
        (row,) = rows("out/results.csv")
        assert (status, errors, row["seeds"]) == (0, [], seeds)
    assert row["notes"].startswith("seed 3 is left out: trained with optimizer.lr")
    status, _, _ = cli("reproduce", "bptt-digits", "--table-only", "--seeds", "5,9", "--out", "out", *QUICK)
    assert (status, {key[1] for key in by_seed("out")}) == (0, {5, 6, 9})  # what is there counts, whoever asked for it
    assert_error("no run of tsslbp-digits", "reproduce", "tsslbp-digits", "--table-only", "--out", "out")


def test_files_to_keep(cli, no_processes):
    accuracies = train("out", 1)
    assert cli("reproduce", "bptt-digits", "--seeds", 1, "--out", "out", "--copy-to", "kept/here", *QUICK)[0] == 0
    assert {path.name for path in Path("kept/here").iterdir()} == TABLES | {"history"}
    for name in TABLES - {"results.png"}:
        assert Path("kept/here", name).read_bytes() == Path("out", name).read_bytes()
    history = rows("kept/here/history/bptt-digits-seed-1.csv")
    assert [float(row["test_accuracy"]) for row in history] == accuracies


@pytest.fixture
def quick(in_this_process, monkeypatch):
    """The beginning of a command that trains a preset of a moment, and draws nothing."""
    monkeypatch.setattr(files.picture, "save_picture", lambda experiments, path: path.touch())
    Path("mine").mkdir()
    Path("mine/quick.yaml").write_text(QUICK_PRESET)
    return ("reproduce", "quick", "--presets", "mine", "--out")


QUICK_PRESET = """\
about: a moment
data: {name: digits}
network: {layers: 12-10, time_steps: 2}
method: {name: bptt}
trainer: {epochs: 2, limit_train: 64, limit_test: 20, threads: 1}
"""


def test_runs_of_which_another_folder_tells(cli, assert_error, quick):
    """Seeds trained elsewhere count in tables, and are not trained again, as long as they are the preset's own experiment."""
    assert cli(*quick, "here", "--seeds", "1,2", "--copy-to", "kept")[0] == 0
    assert cli(*quick, "there", "--seeds", "2,3", "--with", "kept", "--copy-to", "both")[0] == 0
    assert {path.name for path in Path("there/quick").iterdir() if path.is_dir()} == {"seed-3"}  # seed 2 was not trained again
    assert [*by_seed("both")] == [("quick", 1), ("quick", 2), ("quick", 3)] and rows("both/results.csv")[0]["seeds"] == "3"
    for seed in (1, 2):  # as if it lay here
        assert by_seed("both")["quick", seed] == by_seed("here")["quick", seed]
        history = f"history/quick-seed-{seed}.csv"
        assert Path("both", history).read_bytes() == Path("kept", history).read_bytes()
    assert cli("reproduce", "--presets", "mine", "--out", "nowhere", "--table-only", "--with", "both")[0] == 0
    assert Path("nowhere/runs.csv").read_bytes() == Path("both/runs.csv").read_bytes()

    assert cli(*quick, "longer", "--seeds", "1", "--with", "kept", "--trainer.epochs", 3)[0] == 0  # another experiment: trained
    assert [*by_seed("longer")] == [("quick", 1)] and by_seed("longer")["quick", 1]["epochs"] == "3"
    assert rows("longer/results.csv")[0]["notes"].startswith("seed 2, of which another folder tells, is left out: the others are trained with")
    assert cli(*quick, "longer", "--table-only", "--copy-to", "other", "--trainer.epochs", 3)[0] == 0
    assert_error("its runs of quick are another experiment: trainer.epochs 3", *quick, "x", "--with", "other")


@pytest.mark.parametrize("name, damage, message", [
    ("runs.csv", lambda text: "", "runs.csv has no column preset"),
    ("runs.csv", lambda text: text.replace("state", "stat"), "runs.csv has no column state"),
    ("runs.csv", lambda text: text.replace(",2,2,", ",2,3,"), "is not the history of the complete run"),
    ("history/quick-seed-1.csv", lambda text: text[: text.rstrip().rindex("\n")], "is not the history of the complete run"),
    ("history/quick-seed-1.csv", lambda text: text.replace("test_accuracy", "accuracy"), "is not the history of the complete run"),
    ("history/quick-seed-1.csv", lambda text: text.replace("\n2,", "\n2,nan"), "holds what is no number"),
    ("results.csv", None, "cannot read kept/results.csv"),
])  # fmt: skip
def test_a_folder_that_does_not_tell_of_runs(cli, assert_error, quick, name, damage, message):
    assert cli(*quick, "here", "--seeds", 1, "--copy-to", "kept")[0] == 0
    file = Path("kept", name)
    text = file.read_text()
    if damage is None:
        file.unlink()
    else:
        assert damage(text) != text
        file.write_text(damage(text))
    assert_error(message, *quick, "there", "--with", "kept")
    assert not Path("there").exists()


def test_another_process_in_the_folder(assert_error, no_processes):
    os.mkdir("out")
    held = Lock(Path("out"))
    assert_error(["out is in use", f"process {os.getpid()}"], "reproduce", "bptt-digits", "--out", "out", *QUICK)
    held.release()


def test_places_that_cannot_be_written(assert_error, no_processes, monkeypatch):
    Path("file").write_text("kept")
    assert_error("cannot write to file", "reproduce", "bptt-digits", "--out", "file", *QUICK)
    assert_error("cannot write to file/out", "reproduce", "bptt-digits", "--out", "file/out", *QUICK)
    train("out", 1)
    train("twice", 1)
    assert_error(["cannot write the results", "file"], "reproduce", "bptt-digits", "--seeds", 1, "--out", "out", "--copy-to", "file", *QUICK)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert_error("cannot write the results: [Errno 28] No space left", "reproduce", "bptt-digits", "--out", "twice", *QUICK)
    assert not TABLES & set(os.listdir("twice"))


@pytest.mark.parametrize("words, options", [
    ("Did you mean 'bptt-digits'", ["btt-digits"]),
    ("--seed: this command sets it for each run; give --seeds", ["bptt-digits", "--seed", 3]),
    ("give --out", ["bptt-digits", "--trainer.out", "x"]),
    ("field trainer.epochs", ["bptt-digits", "--trainer.epochs", "soon"]),
    ("named twice", ["bptt-digits", "bptt-digits"]),
    ("--parallel: expected 1 to 1000, got 0", ["bptt-digits", "--parallel", 0]),
    ("give one of them", ["bptt-digits", "--threads", 1, "--trainer.threads", 1]),
    ("expected one argument", ["bptt-digits", "--seeds"]),
    ("a number of seeds, or a list such as", ["bptt-digits", "--seeds", "many"]),
    ("field seed", ["bptt-digits", "--seeds", "18446744073709551616,"]),
])  # fmt: skip
def test_options_that_cannot_be(assert_error, words, options):
    assert_error(words, "reproduce", *options)
    assert not os.path.exists("runs")


def test_not_under_torchrun(assert_error, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert_error("without torchrun", "reproduce", "bptt-digits")


def test_seeds():
    assert [seeds_of(text) for text in (None, "3", "3,", "[3]", "0,1, 7", "[5, 8]")] == [
        (5, None), (3, None), (1, [3]), (1, [3]), (3, [0, 1, 7]), (2, [5, 8]),
    ]  # fmt: skip
    for text in ("0", "1001", "", ",", "1;2", "-1", "1,1", "1-3", "[]"):
        with pytest.raises(UserError, match="--seeds"):
            seeds_of(text)


def test_a_configuration_of_ones_own(cli, no_processes):
    """A file alone; its name is that of the folder."""
    import yaml

    config = load_config(load("bptt-digits"), [*map(str, QUICK), "--preset=mine", "--seed=4"])
    Path("mine.yaml").write_text(yaml.safe_dump(config.to_dict()))
    config.trainer.out = "out/mine/seed-4"
    Trainer(config).fit(RunDirectory.create(config))
    assert cli("reproduce", "--config", "mine.yaml", "--seeds", 1, "--out", "out")[0] == 0
    assert list(by_seed("out")) == [("mine", 4)] and rows("out/results.csv")[0]["settings"] == ""


def test_each_process_that_trains_leaves_a_row(cli, monkeypatch):
    run = Path("out/bptt-digits/seed-1")
    train("out", 1, after=2)
    monkeypatch.setenv("SPIKEOPS_COMMIT", "abc")
    assert cli("resume", run, "--trainer.threads", 2)[0] == 0
    first, second = sessions.read(run / sessions.NAME)
    assert (first["epoch"], first["threads"], first["torch"]) == ("0", "1", torch.__version__)
    assert (second["device"], second["threads"], second["commit"]) == ("cpu", "2", "abc")
    assert first["machine"] and first["machine"] == second["machine"]
    assert cli("reproduce", "--table-only", "--out", "out")[0] == 0
    row = by_seed("out")["bptt-digits", 1]
    assert (row["threads"], row["machine"]) == ("1; 2", first["machine"]) and row["commit"].endswith("abc")
    (run / sessions.NAME).write_bytes(b"\xff\0nonsense")
    assert cli("resume", run, "--trainer.epochs", 3)[0] == 0
    assert len(sessions.read(run / sessions.NAME)) == 1
