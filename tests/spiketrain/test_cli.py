"""Faults: one clear line on stderr, a non-zero exit, nothing overwritten."""

import os

import pytest
import yaml

from spiketrain.cli import main


@pytest.fixture
def run_dir(tiny, tmp_path, cli):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny(trainer={"epochs": 1}).to_dict()))
    assert cli("train", "--config", tmp_path / "tiny.yaml", "--trainer.out", tmp_path / "run")[0] == 0
    return tmp_path / "run"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_faults_of_the_command_line(assert_error):
    assert_error("trainer.epochs", "train", "tsslbp-digits", "--trainer.epoch", 3)
    assert_error(["trainer.epochs", "soon"], "train", "tsslbp-digits", "--trainer.epochs", "soon")
    assert_error("Did you mean 'bptt-digits'", "bench", "btt-digits")
    assert_error("name a preset", "train")
    assert_error("no-such.yaml", "train", "tsslbp-digits", "--config", "no-such.yaml")
    assert_error("trainer.device", "train", "tsslbp-digits", "--trainer.device", "abacus")
    assert not os.path.exists("runs")


@pytest.mark.parametrize("content", ["trainer: [", "just words", "trainer: {epoch: 3}", "\x00"])
def test_faults_of_a_configuration_file(tmp_path, assert_error, content):
    (tmp_path / "a.yaml").write_text(content)
    assert_error("", "train", "tsslbp-digits", "--config", tmp_path / "a.yaml")
    assert not os.path.exists("runs")


def test_configuration_file_runs_nothing(tmp_path, assert_error):
    (tmp_path / "a.yaml").write_text("seed: !!python/object/apply:os.mkdir [harmed]")
    assert_error("a.yaml", "train", "tsslbp-digits", "--config", tmp_path / "a.yaml")
    assert not (tmp_path / "harmed").exists()


def test_missing_data_creates_no_run_directory(tmp_path, assert_error):
    assert_error("data set not found", "train", "tsslbp-mnist-cnn", "--data.root", tmp_path / "nowhere")
    assert not os.path.exists("runs")


def test_used_run_directory_is_refused(run_dir, tmp_path, assert_error):
    before = contents(run_dir)
    assert_error(
        ["not empty", f"spiketrain resume {run_dir}"], "train", "--config", tmp_path / "tiny.yaml", "--trainer.out", run_dir
    )
    assert contents(run_dir) == before


def test_unwritable_run_directory(tmp_path, assert_error):
    (tmp_path / "file").write_text("kept")
    assert_error("cannot write the run directory", "train", "tsslbp-digits", "--trainer.out", tmp_path / "file" / "run")
    assert_error("cannot write the run directory", "train", "tsslbp-digits", "--trainer.out", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"


def test_disk_that_fills_up(run_dir, assert_error, monkeypatch):
    before = contents(run_dir)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert_error(["No space left", f"spiketrain resume {run_dir}"], "resume", run_dir, "--trainer.epochs", 3)
    after = contents(run_dir)
    assert {name: after[name] for name in ("last.ckpt", "best.ckpt", "config.yaml")} == {
        name: before[name] for name in ("last.ckpt", "best.ckpt", "config.yaml")
    }


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda content: b"x" * 1000])
def test_damaged_checkpoint(run_dir, assert_error, damage):
    for name in ("last.ckpt", "best.ckpt"):
        path = run_dir / name
        path.write_bytes(damage(path.read_bytes()))
    before = contents(run_dir)
    assert_error("last.ckpt is damaged or truncated", "resume", run_dir)
    assert_error("best.ckpt is damaged or truncated", "eval", run_dir)
    assert_error("best.ckpt is damaged or truncated", "plot", run_dir)
    assert contents(run_dir) == before


def test_lost_checkpoint_of_a_run_with_metrics_is_not_started_again(run_dir, assert_error):
    (run_dir / "last.ckpt").unlink()
    assert_error("no checkpoint", "resume", run_dir)


def test_checkpoint_of_another_network(run_dir, assert_error):
    before = contents(run_dir)
    assert_error("does not fit", "resume", run_dir, "--network.layers", "4C3-P2-13-10")
    assert contents(run_dir) == before


def test_folder_that_is_no_run_directory(tmp_path, assert_error):
    for command in ("resume", "eval", "plot"):
        assert_error("no run directory", command, tmp_path)


@pytest.mark.parametrize("text", ["preset: [", "method: {class_path: payload.X}", "trainer: {epochs: 7}"])
def test_the_configuration_in_the_checkpoint_is_what_counts(run_dir, cli, text):
    """config.yaml is for people: damaged or edited it is not used, which is said, and `resume` writes it anew."""
    before = (run_dir / "config.yaml").read_text()
    edited = text if "trainer" not in text else before.replace("epochs: 1", "epochs: 7")
    (run_dir / "config.yaml").write_text(edited)
    assert cli("eval", run_dir)[0] == 0
    status, lines, errors = cli("resume", run_dir)
    assert status == 0 and lines[-1].endswith("epoch=1")
    assert len(errors) == 1 and errors[0].startswith("spiketrain: note: config.yaml") and len(errors[0]) <= 330
    assert "trainer.epochs 7 instead of 1" in errors[0] or "trainer" not in text
    assert (run_dir / "config.yaml").read_text() == before


def test_network_without_enough_outputs(assert_error):
    assert_error(["10 classes", "network.layers", "9 outputs"], "train", "tsslbp-digits", "--network.layers", "20-9")


def test_wrong_hyper_parameter_names_itself(assert_error):
    assert_error("tau_m", "train", "tsslbp-digits", "--method.tau_m", "-1")
    assert not os.path.exists("runs")


def test_missing_package_names_the_extra(assert_error, monkeypatch):
    def missing(*_):
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    monkeypatch.setattr("spiketrain.data.load", missing)
    assert_error(["'sklearn'", "spikeops[train]"], "train", "tsslbp-digits")


def test_resume_of_a_finished_run_says_its_result(run_dir, cli):
    status, lines, _ = cli("resume", run_dir)
    assert status == 0
    assert lines[-1].startswith("best_test_accuracy=") and lines[-1].endswith("epoch=1")


def test_help_shows_every_field(cli, capsys):
    status, lines, _ = cli("train", "tsslbp-digits", "--help")
    text = "\n".join(lines)
    assert status == 0
    for field in ("--trainer.epochs", "--data.root", "--method.tau_m", "--network.layers", "--optimizer.lr", "--seed"):
        assert field in text
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "resume" in capsys.readouterr().out


def test_bench_compares_the_backends(tiny, tmp_path, cli, monkeypatch):
    from spiketrain.training import bench

    monkeypatch.setattr(bench.step_times, "__defaults__", (0.05,))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny().to_dict()))
    status, lines, _ = cli("bench", "--config", tmp_path / "tiny.yaml")
    assert status == 0
    values = dict(part.split("=") for part in lines[-1].split())
    assert float(values["speedup"]) == pytest.approx(float(values["reference_seconds"]) / float(values["fused_seconds"]), rel=0.05)


def test_progress_bar_leaves_the_table_and_the_last_line_alone(cli):
    status, lines, _ = cli("train", "bptt-digits", "--trainer.progress", "on", "--trainer.epochs", 1, "--trainer.limit_train", 100)
    assert status == 0
    assert sum(line.strip().startswith("1 ") for line in lines) == 1
    assert lines[-1].startswith("best_test_accuracy=")
