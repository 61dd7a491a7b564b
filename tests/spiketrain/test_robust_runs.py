"""Nothing that happens beside or after training can lose the result, and no slip of a user is a traceback."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import forked
import pytest
import python_code
import torch

from spiketrain.cli import main
from spiketrain.reports import drawing, plots
from spiketrain.training import checkpoint
from spiketrain.training.interrupt import SIGNALS, Stopped, StopRequests, stopping_at_once
from spiketrain.training.trainer import Trainer

QUICK = ("--trainer.limit_train", 64, "--trainer.limit_test", 20, "--trainer.epochs", 1, "--trainer.threads", 1)


@pytest.fixture
def quick(cli, tmp_path):
    """Train a small network in a second; returns what `cli` does."""

    def train(*options):
        return cli("train", "bptt-digits", *QUICK, "--trainer.out", tmp_path / "run", *options)

    return train


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("preset, layers, names", [("bptt-digits", "10", set()), ("tsslbp-digits", "10", {"raster.png"}), ("ell-digits", "10", {"raster.png"})])
def test_one_layer_of_weights_is_a_network(cli, tmp_path, preset, layers, names):
    """A picture that has nothing to show is left out."""
    status, lines, errors = cli("train", preset, *QUICK, "--network.layers", layers, "--trainer.out", tmp_path / "run")
    assert status == 0 and lines[-1].startswith("best_test_accuracy="), errors
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {"curve.png", "confusion.png"} | names
    assert cli("plot", tmp_path / "run")[0] == 0
    status, _, errors = cli("rates", tmp_path / "run")
    assert (status, errors) == (0, []) if names else (status == 2 and "no layer of neurons" in errors[0])


def test_networks_that_cannot_be_are_one_line(assert_error):
    for preset in ("ide-digits", "spide-digits", "convex-digits", "localce-digits"):
        assert_error("network.layers", "train", preset, "--network.layers", 10, *QUICK)
    assert_error("network.layers", "train", "bptt-digits", "--network.layers", "[]")
    assert_error("cannot build the network", "train", "bptt-digits", "--network.layers", "2000000000-2000000000-10", *QUICK)
    assert not os.path.exists("runs")


@pytest.mark.parametrize("seed", [0, 2**32, 2**63, 2**64 - 1])
def test_every_seed_that_is_taken_trains(quick, seed):
    status, _, errors = quick("--seed", seed)
    assert status == 0, errors


def test_seeds_that_are_none(assert_error):
    for seed in (-1, 2**64, 10**30, "x", 1.5):
        assert_error("field seed: expected an int in [0, 18446744073709551615]", "train", "bptt-digits", "--seed", seed)


def test_no_home(quick, monkeypatch):
    """A container's user without an entry in the list of users."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", unknown)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert quick()[0] == 0


@pytest.mark.parametrize("name, value", [("WORLD_SIZE", ""), ("WORLD_SIZE", "two"), ("WORLD_SIZE", "0"), ("WORLD_SIZE", "-1"), ("LOCAL_RANK", "1.5"), ("RANK", "x")])
def test_an_environment_that_no_launcher_sets(assert_error, quick, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    if name == "RANK":
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("MASTER_PORT", "none")
    commands = [("train", "bptt-digits", *QUICK)]
    if name == "WORLD_SIZE":
        commands += [("reproduce", "bptt-digits"), ("sweep", "bptt-digits", "--over", "seed=1")]
    for command in commands:
        assert_error(name, *command)
    assert not os.path.exists("runs")


def test_processes_that_are_announced_and_do_not_come(assert_error, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert_error(["WORLD_SIZE is 2", "environment variable RANK", "start them by torchrun"], "train", "bptt-digits", *QUICK)


def test_in_a_thread(tmp_path):
    """Python gives signals to the main thread only: elsewhere training goes on without them."""
    results = []
    words = ["train", "bptt-digits", *map(str, QUICK), "--trainer.out", str(tmp_path / "run")]
    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=lambda: results.append(main(words)))
    thread.start()
    thread.join()
    assert results == [0]
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.usefixtures("pictures")
def test_unwritable_pictures(quick, cli, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    real = drawing.write_atomically

    def refuse(path, write):
        if path.suffix == ".png":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        real(path, write)

    monkeypatch.setattr(drawing, "write_atomically", refuse)
    status, lines, _ = quick()
    assert status == 0 and lines[-1].startswith("best_test_accuracy=") and "could not be drawn" in lines[-2]
    for command in ("plot", "rates"):
        status, _, errors = cli(command, tmp_path / "run")
        assert status == 2 and len(errors) == 1 and "Permission denied" in errors[0]


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("error", [ValueError("no such colour"), ZeroDivisionError(), MemoryError()])
def test_pictures_that_fail_otherwise(quick, monkeypatch, error):
    monkeypatch.setattr(plots, "save_curve", lambda *_: (_ for _ in ()).throw(error))
    status, lines, _ = quick()
    assert status == 0 and lines[-1].startswith("best_test_accuracy=") and type(error).__name__ in lines[-2]


def test_event_files_that_cannot_be_written(quick, monkeypatch):
    from torch.utils.tensorboard import SummaryWriter

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "flush", full)
    status, lines, _ = quick()
    assert status == 0 and lines[-1].startswith("best_test_accuracy=")
    assert sum("no more events for TensorBoard" in line for line in lines) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_that_nobody_can_read(tmp_path):
    """Standard output on a full disk, or a reader that went away, ends no run."""
    with open("/dev/full", "w") as full:
        running = forked.start(forked.COMMAND, "train", "bptt-digits", *QUICK, "--trainer.out", tmp_path / "full", output=full.fileno())
    assert (running.wait(), running.errors) == (0, "")
    assert checkpoint.load(tmp_path / "full" / "best.ckpt")["epoch"] == 1


@pytest.mark.parametrize("words", [("list",), ("--version",)])
def test_output_that_is_the_result_and_cannot_be_written_is_one_line(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run(python_code.command(forked.COMMAND, *words), stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "spiketrain: error: cannot read or write: [Errno 28] No space left on device\n")


def test_errors_of_files_that_no_command_expects_are_one_line(assert_error, monkeypatch):
    def unreadable(arguments):
        raise PermissionError(errno.EACCES, "Permission denied", "a\nfile")

    monkeypatch.setattr("spiketrain.cli.commands.begin_to_compute", unreadable)
    assert_error("cannot read or write: [Errno 13] Permission denied", "bench", "bptt-digits", *QUICK)


OUT_OF_MEMORY = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("lif_forward: the CUDA kernel could not be launched: out of memory; free memory of the GPU"),
)
LOST_DEVICE = (
    torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported"),
    torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nmore"),
    torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("lif_forward: the CUDA kernel could not be launched: unknown error; the GPU is lost to this process: look for it with nvidia-smi"),
    RuntimeError("No CUDA GPUs are available"),
)
FAULTS = (torch.AcceleratorError("CUDA error: device-side assert triggered"), RuntimeError("lif: unknown error"))


def fail_in_training(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(Trainer, "_run_epoch", fail)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_memory_that_runs_out_is_one_line(quick, monkeypatch, error):
    fail_in_training(monkeypatch, error)
    status, _, errors = quick()
    assert status == 2 and len(errors) == 1 and "out of memory" in errors[0] and "trainer.batch_size" in errors[0]


@pytest.mark.parametrize("error", LOST_DEVICE)
def test_a_gpu_that_vanishes_is_one_line(quick, monkeypatch, error):
    fail_in_training(monkeypatch, error)
    status, _, errors = quick()
    assert status == 2 and len(errors) == 1
    said = str(error).split("\n")[0]
    assert errors[0].startswith(f"spiketrain: error: the GPU failed: {said}. ") and "nvidia-smi" in errors[0] and "resume" in errors[0]


@pytest.mark.parametrize("error", FAULTS)
def test_faults_of_programs_keep_their_traceback(quick, monkeypatch, error):
    fail_in_training(monkeypatch, error)
    with pytest.raises(type(error)):
        quick()


@pytest.fixture
def nothing_ignored():
    """Under nohup, say, or in the background of a script, this process ignores some."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("nothing_ignored")
def test_requests_to_stop_are_taken_between_steps():
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)):
        with StopRequests() as stop:
            stop.check()
            signal.raise_signal(number)  # noted only
            with pytest.raises(Stopped) as stopped:
                stop.check()
            assert stopped.value.status == status
            with pytest.raises(Stopped):
                signal.raise_signal(number)  # the second one stops at once
    with stopping_at_once(), pytest.raises(Stopped):
        signal.raise_signal(signal.SIGTERM)


def test_signals_that_are_ignored_stay_so():
    """nohup, and shells that start a command in the background."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequests() as stop:
            signal.raise_signal(signal.SIGHUP)
            stop.check()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_interrupted_epoch_is_saved_and_continued(tmp_path, cli):
    """Of an epoch that takes minutes, stopped in the first one."""
    run = tmp_path / "run"
    command = ["train", "spide-digits", "--trainer.out", run, "--trainer.batch_size", 2, "--trainer.checkpoint_minutes", 0.001]
    process = subprocess.Popen(
        [sys.executable, "-m", "spiketrain", *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not (run / "last.ckpt").exists() or checkpoint.load(run / "last.ckpt")["position"] is None:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=300)
    steps = checkpoint.load(run / "last.ckpt")["position"]["steps"]
    assert process.returncode == 143
    assert errors == f"spiketrain: interrupted after epoch 0 and {steps} steps. Go on with: spiketrain resume {run}\n"
    assert not (run / ".lock").exists()
