"""The loop: a stopped run goes on as if it had never stopped, whatever stopped it."""

import csv
import os
import signal
import time

import pytest
import torch
import yaml
from run_drills.server import Server
from trained_runs import OF_THE_MACHINE

from spiketrain.errors import UserError
from spiketrain.training import checkpoint
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

# Changes to the tiny configuration, with everything switched on that draws random numbers or counts steps: SPIDE's norm of the
# feedback is estimated from random vectors (and above its range, so that they matter), and the warm-up ends in the second epoch.
FEEDBACK = {"layers": "4C3s-6C3-10", "feedback": "4C3", "time_steps": 4}
SGD = {"name": "sgd", "lr": 0.05, "schedule": "multistep", "milestones": [2], "warmup_steps": 10}
METHODS = {
    "tssl_bp": {},
    "bptt": {"method": {"name": "bptt"}},
    "ide": {"method": {"name": "ide", "leak": 0.9, "solver_steps": 6}, "network": FEEDBACK, "optimizer": SGD},
    "spide": {"method": {"name": "spide", "backward_time_steps": 6, "norm_range": 0.5}, "network": FEEDBACK, "optimizer": SGD},
}


def train(config, out, epochs):
    """Train from scratch into `out`."""
    config.trainer.out, config.trainer.epochs = str(out), epochs
    trainer = Trainer(config)
    trainer.fit(RunDirectory.create(config))
    return checkpoint.load(out / "last.ckpt")


def flattened(value, path=""):
    """Every leaf of nested containers with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flattened(item, f"{path}/{key}")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from flattened(item, f"{path}/{i}")
    else:
        yield path, value


def assert_same_state(first, second):
    """Equal bit for bit in all that training goes on from, and in the metrics but the clock's."""
    for key in ("epoch", "step", "method", "random", "history"):
        a, b = dict(flattened(first[key])), dict(flattened(second[key]))
        assert a.keys() == b.keys()
        for path, value in a.items():
            same = torch.equal(value, b[path]) if isinstance(value, torch.Tensor) else value == b[path]
            assert same or path.split("/")[-1] in OF_THE_MACHINE, f"{key}{path} differs"


def rows(run_dir):
    with open(run_dir / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("method", METHODS)
def test_two_epochs_and_a_resume_are_four_epochs(tiny, tmp_path, cli, method):
    straight = train(tiny(**METHODS[method]), tmp_path / "straight", epochs=4)
    train(tiny(**METHODS[method]), tmp_path / "stopped", epochs=2)
    torch.rand(5)  # random numbers drawn in between must not matter
    status, lines, _ = cli("resume", tmp_path / "stopped", "--trainer.epochs", 4)
    assert status == 0
    assert_same_state(straight, checkpoint.load(tmp_path / "stopped" / "last.ckpt"))
    assert [row["epoch"] for row in rows(tmp_path / "stopped")] == ["1", "2", "3", "4"]
    best = max(straight["history"], key=lambda row: row["test_accuracy"])
    assert lines[-1] == f"best_test_accuracy={best['test_accuracy']:.4f} epoch={best['epoch']}"
    assert checkpoint.load(tmp_path / "stopped" / "best.ckpt")["epoch"] == best["epoch"]


@pytest.fixture(scope="module")
def server():
    started = Server()
    yield started
    started.close()


def start(server, run_dir, epochs, *words):
    """A run that goes on for long, after its first epochs."""
    running = server.start("train", *words, "--trainer.out", run_dir, "--trainer.epochs", 100_000)
    deadline = time.monotonic() + 300
    while not (run_dir / "metrics.csv").exists() or len(rows(run_dir)) < epochs:
        assert not running.has_ended() and time.monotonic() < deadline, server.errors
        time.sleep(0.01)
    return running


def test_run_killed_in_the_middle_goes_on_bit_for_bit(tiny, tmp_path, cli, server):
    config = tiny()
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config.to_dict()))
    run_dir = tmp_path / "killed"
    running = start(server, run_dir, 2, "--config", tmp_path / "tiny.yaml")
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL

    done = checkpoint.load(run_dir / "last.ckpt")["epoch"]
    assert done >= 2
    straight = train(config, tmp_path / "straight", epochs=done + 2)
    status, _, errors = cli("resume", run_dir, "--trainer.epochs", done + 2)
    assert status == 0, errors
    assert_same_state(straight, checkpoint.load(run_dir / "last.ckpt"))
    assert [int(row["epoch"]) for row in rows(run_dir)] == list(range(1, done + 3))
    assert not list(run_dir.glob(".unfinished*"))


def test_run_killed_before_its_first_checkpoint_leaves_nothing_to_see(tiny, tmp_path, cli):
    config = tiny(trainer={"out": str(tmp_path / "run"), "epochs": 1})
    RunDirectory.create(config)  # killed right after that
    assert not (tmp_path / "run").exists()
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config.to_dict()))
    assert cli("train", "--config", tmp_path / "tiny.yaml")[0] == 0
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1"]
    assert not list(tmp_path.glob(".unfinished*"))


@pytest.mark.parametrize("stop, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_interrupt_leaves_a_run_to_resume(tmp_path, server, stop, status):
    run_dir = tmp_path / "run"
    running = start(server, run_dir, 1, "tsslbp-digits", "--trainer.limit_train", 200, "--trainer.threads", 1)
    os.kill(running.pid, stop)
    assert running.wait() == status
    assert f"spiketrain resume {run_dir}" in server.errors.splitlines()[-1]
    assert "Traceback" not in server.errors
    assert checkpoint.load(run_dir / "last.ckpt")["epoch"] == len(rows(run_dir))


@pytest.mark.usefixtures("pictures")
def test_run_directory_is_complete(tiny, tmp_path, cli):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny().to_dict()))
    status, lines, _ = cli("train", "--config", tmp_path / "tiny.yaml")
    assert status == 0
    run_dir = tmp_path / "runs" / "tiny-1"
    names = {path.name for path in run_dir.iterdir()}
    assert {"config.yaml", "metrics.csv", "last.ckpt", "best.ckpt", "curve.png", "raster.png"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any(name.startswith(".") for name in names)
    for picture in ("curve.png", "raster.png"):
        assert (run_dir / picture).read_bytes().startswith(b"\x89PNG")

    table = rows(run_dir)
    best = max(table, key=lambda row: float(row["test_accuracy"]))
    assert lines[-1] == f"best_test_accuracy={float(best['test_accuracy']):.4f} epoch={best['epoch']}"
    assert cli("eval", run_dir)[1] == [f"test_accuracy={float(best['test_accuracy']):.4f} epoch={best['epoch']}"]

    (run_dir / "curve.png").unlink()
    (run_dir / "raster.png").unlink()
    assert cli("plot", run_dir)[0] == 0
    assert (run_dir / "curve.png").exists() and (run_dir / "raster.png").exists()

    assert cli("train", "--config", run_dir / "config.yaml", "--trainer.epochs", 1)[0] == 0  # again from its own config
    assert (tmp_path / "runs" / "tiny-2" / "metrics.csv").exists()


def test_tensorboard_holds_each_epoch_once(tiny, tmp_path, cli):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny(), tmp_path / "run", epochs=1)
    cli("resume", tmp_path / "run", "--trainer.epochs", 2)
    # File by file: their names tell the order by the second only, and both runs may have begun in the same one.
    files = [EventAccumulator(str(path)).Reload() for path in (tmp_path / "run").glob("events.out.tfevents.*")]
    scalars = sorted((event.step, event.value) for events in files for event in events.Scalars("test/accuracy"))
    assert [step for step, _ in scalars] == [1, 2]
    assert [value for _, value in scalars] == pytest.approx([float(row["test_accuracy"]) for row in rows(tmp_path / "run")])


def test_same_seed_same_run_and_other_seed_other_run(tiny, tmp_path):
    first, again, other = (train(tiny(seed=seed), tmp_path / name, epochs=1) for seed, name in ((3, "a"), (3, "b"), (4, "c")))
    assert_same_state(first, again)
    assert first["history"][0]["train_loss"] != other["history"][0]["train_loss"]


def products_depend_on_threads(rows, *widths):
    """Whether PyTorch's own matrix products, of which a step of linear layers consists, are rounded otherwise with two threads: on
    some processors they are."""
    draw = torch.Generator().manual_seed(1)
    for inputs, outputs in zip(widths, widths[1:]):
        x, weight, gradient = (torch.randn(*shape, generator=draw) for shape in ((rows, inputs), (outputs, inputs), (rows, outputs)))
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append((x @ weight.t(), gradient.t() @ x, gradient @ weight))
        if not all(torch.equal(a, b) for a, b in zip(*results)):
            return True
    return False


@pytest.mark.parametrize("method", ["tssl_bp", "bptt"])
def test_number_of_threads_makes_no_difference_without_convolutions(tiny, tmp_path, method):
    time_steps, batch_size = tiny().network.time_steps, tiny().trainer.batch_size
    if any(products_depend_on_threads(rows, 64, 40, 20, 10) for rows in (batch_size, time_steps * batch_size)):
        pytest.skip("the matrix products of this machine's PyTorch depend on the number of threads")
    contents = [
        train(
            tiny(method={"name": method}, network={"layers": "40-20-10"}, trainer={"threads": count}),
            tmp_path / str(count),
            epochs=1,
        )
        for count in (1, 2)
    ]
    assert_same_state(*contents)


def test_number_of_threads_hardly_matters_with_convolutions(tiny, tmp_path):
    """oneDNN sums a convolution's weight gradient over the batch in as many parts as there are threads."""
    losses = [
        train(tiny(trainer={"threads": count}), tmp_path / str(count), epochs=1)["history"][0]["train_loss"] for count in (1, 2)
    ]
    # Seven steps: a spike that rounding moves across the threshold changes the loss by far less than 2 %.
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize("method", ["tssl_bp", "spide"])
def test_two_processes_train_like_one(tiny, tmp_path, server, method):
    """Every batch is shared out; only rounding differs (dropout and augmentation are off: they draw their own numbers)."""
    config = tiny(**METHODS[method], data={"augment": False}, trainer={"batch_size": 33})
    config.network.dropout = 0.0
    if method == "spide":
        config.method.norm_range = 100.0  # below it the estimated norm does not matter
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config.to_dict()))
    # What torchrun would start: one process alone, and a pair that find each other through the environment.
    for name, world_size in (("one", 1), ("two", 2)):
        command = ("train", "--config", tmp_path / "tiny.yaml", "--trainer.out", tmp_path / name)
        assert server.run(*command, seconds=300, processes=world_size) == 0, server.errors
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 2
    for a, b in zip(one, two):
        # Rounding can move single spikes across the threshold, hence not closer.
        assert float(a["train_loss"]) == pytest.approx(float(b["train_loss"]), rel=0.01)
        assert float(a["test_accuracy"]) == pytest.approx(float(b["test_accuracy"]), abs=0.04)


def test_loss_that_diverges_stops_the_run_and_keeps_the_checkpoint(tiny, tmp_path):
    config = tiny(trainer={"out": str(tmp_path / "run"), "epochs": 3})
    trainer = Trainer(config)
    run = RunDirectory.create(config)
    step = trainer.method.training_step

    def diverge(inputs, labels, batch_size):
        result = step(inputs, labels, batch_size)
        result.loss = result.loss * (float("nan") if trainer.epoch == 1 else 1)
        return result

    trainer.method.training_step = diverge
    with pytest.raises(UserError, match="nan in epoch 2.*epoch 1 are intact"):
        trainer.fit(run)
    assert checkpoint.load(run.last)["epoch"] == 1


def test_bfloat16_trains(tiny, tmp_path):
    content = train(tiny(trainer={"precision": "bfloat16"}), tmp_path / "run", epochs=2)
    assert content["history"][1]["train_loss"] < content["history"][0]["train_loss"]
    assert all(p.dtype is torch.float32 for p in content["method"]["network"].values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.gpu
def test_cuda_run(tiny, tmp_path):
    content = train(tiny(trainer={"device": "cuda"}), tmp_path / "run", epochs=2)
    assert content["history"][1]["train_loss"] < content["history"][0]["train_loss"]
