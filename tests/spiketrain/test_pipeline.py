"""Layer-parallel training: the same weights as one layer after the other, and no stage dies unnoticed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from trained_runs import OF_THE_MACHINE

from spiketrain import methods
from spiketrain.config import merge
from spiketrain.errors import UserError
from spiketrain.methods import load_config
from spiketrain.training import checkpoint, pipeline
from spiketrain.training.pipeline.driver import layer_seconds, share_out
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

NETWORK = {"layers": "4C3-P2-6C3-12-10", "padding": 1, "time_steps": 4}
METHODS = {
    "local_ce_corr": {"method": {"name": "local_ce_corr", "neuron": "clamped", "decoder_size": 64}, "network": NETWORK},
    "local_ce": {"method": {"name": "local_ce", "neuron": "lif", "decoder_size": 64}, "network": NETWORK},
    "ell": {"method": {"name": "ell", "decoder_size": 64}, "network": NETWORK | {"layers": "4C3-P2-6C3-12-11"}},
}
OPTIMIZER = {"name": "adam", "lr": 0.002, "weight_decay": 0.0, "schedule": "cosine", "warmup_steps": 3}


def make(name, stages=1):
    config = load_config(merge(METHODS[name], {"optimizer": OPTIMIZER, "trainer": {"pipeline": stages, "threads": 1, "epochs": 2}}))
    torch.manual_seed(3)
    torch.set_num_threads(1)
    return methods.get(config.method.name)(config, (1, 8, 8), 10, torch.device("cpu"))


def batches(epoch):
    """Five batches, the last one smaller."""
    generator = torch.Generator().manual_seed(epoch)
    for samples in (20, 20, 20, 20, 7):
        yield torch.rand(samples, 1, 8, 8, generator=generator), torch.randint(10, (samples,), generator=generator)


def leaves(value, path=""):
    """Every tensor or number of a state, by its place."""
    if isinstance(value, dict):
        return {key: leaf for name, item in value.items() for key, leaf in leaves(item, f"{path}/{name}").items()}
    if isinstance(value, (list, tuple)):
        return {key: leaf for i, item in enumerate(value) for key, leaf in leaves(item, f"{path}/{i}").items()}
    return {path: value}


def assert_same_state(first, second):
    first, second = leaves(first), leaves(second)
    assert first.keys() == second.keys()
    for path, value in first.items():
        if path.endswith("/lr"):  # what the last step was taken with: each step sets it anew
            continue
        assert torch.equal(value, second[path]) if isinstance(value, torch.Tensor) else value == second[path], f"{path} differs"


def train_with_delay(name, stages):
    """The schedule of a pipeline, in one process: in every round stage k trains on the batch before that of stage k - 1."""
    owners = [make(name) for _ in stages]
    for epoch in (1, 2):
        for owner in owners:
            owner.start_epoch(epoch)
        waiting = [list(batches(epoch)), *([] for _ in stages[1:])]
        while any(waiting):
            for k in reversed(range(len(stages))):  # above before below, so that a batch takes one stage per round
                if waiting[k]:
                    inputs, labels = waiting[k].pop(0)
                    outputs, _ = owners[k].train_layers(stages[k], inputs, labels, len(labels))
                    if k + 1 < len(stages):
                        waiting[k + 1].append((outputs, labels))
    result = make(name)
    for owner, names in zip(owners, stages):
        result.load_layers_state(owner.layers_state(names))
    return result.state_dict()


@pytest.mark.parametrize("name, count", [("local_ce_corr", 3), ("local_ce", 2), ("ell", 2)])  # each stage starts a process
def test_same_weights_as_the_delayed_schedule_and_as_one_layer_after_the_other(name, count):
    """Bit for bit, with the moments of the optimisers and the running statistics; the reports of the layers are the same too."""
    plain, piped = make(name), make(name, stages=count)
    started = leaves(piped.state_dict())
    with pipeline.opened(piped, piped.config, (1, 8, 8), 10, next(batches(7))):
        stages = piped.pipeline.stages
        assert_same_state(started, leaves(piped.state_dict()))  # measuring the layers left no trace
        for epoch in (1, 2):
            reports = []
            for method in (plain, piped):
                assert method.start_epoch(epoch) == pytest.approx(OPTIMIZER["lr"] / epoch)  # half a cosine, of two epochs
                results = [method.training_step(inputs, labels, len(labels)) for inputs, labels in batches(epoch)]
                late = method.drain()
                reports.append((results, late))
            (expected, nothing), (early, late) = reports
            assert nothing is None
            layers = {layer: sum(result.layers[layer].loss for result in expected) for layer in expected[0].layers}
            for layer, loss in layers.items():
                from_here = sum(result.layers[layer].loss for result in early) if layer in stages[0] else late.layers[layer].loss
                assert torch.equal(from_here, loss), layer
            assert late.correct == sum(result.correct for result in expected)
            assert_same_state(plain.state_dict(), piped.state_dict())
    assert piped.pipeline is None
    assert [layer for names in stages for layer in names] == list(plain.layers) and len(stages) == count
    assert_same_state(train_with_delay(name, stages), plain.state_dict())


def test_layers_are_shared_out_by_time():
    seconds = {"a": 5.0, "b": 1.0, "c": 2.0, "d": 2.0, "e": 1.0}
    assert share_out(seconds, 2) == [["a"], ["b", "c", "d", "e"]]
    assert share_out(seconds, 5) == [["a"], ["b"], ["c"], ["d"], ["e"]]
    assert share_out(seconds, 3) == [["a"], ["b", "c"], ["d", "e"]]
    method = make("local_ce_corr")
    measured = layer_seconds(method, *next(batches(1)))
    assert list(measured) == list(method.layers) and all(value > 0 for value in measured.values())


@pytest.fixture
def running(tiny, tmp_path):
    """``running(out, **trainer options)``: (trainer, run directory) of a small network with four layers that learn."""

    def build(out, **options):
        changed = {"network": NETWORK | {"dropout": 0.0}, "trainer": {"out": str(tmp_path / out), "epochs": 3, **options}}
        trainer = Trainer(tiny(method={"name": "local_ce"}, **changed))
        return trainer, RunDirectory.create(trainer.config)

    return build


def processes_of(trainer):
    return trainer.method.pipeline._processes


def test_killed_stage_is_named_and_the_run_can_be_resumed(running, cli, tmp_path):
    """Killed in the second epoch: all others stop, the checkpoint of the first one is whole, and leads to the same end."""
    straight, run = running("straight")
    straight.fit(run)
    trainer, run = running("killed", pipeline=3)
    stages = []

    def kill_the_last():
        if not stages:
            stages.extend(zip(trainer.method.pipeline.stages, [None, *processes_of(trainer)]))
        if trainer.epoch == 1:
            stages[2][1].kill()

    with pytest.raises(UserError) as error:
        trainer.fit(run, kill_the_last)
    names = ", ".join(stages[2][0])
    assert str(error.value).startswith(f"pipeline stage 3 of 3 ({names}) was killed by SIGKILL; the checkpoint of the last")
    assert all(process.poll() is not None for _, process in stages[1:])
    assert not torch.distributed.is_initialized() and trainer.method.pipeline is None

    assert checkpoint.load(run.last)["epoch"] == 1
    status, _, errors = cli("resume", run.path, "--trainer.pipeline", 1)
    assert status == 0, errors
    expected, resumed = (checkpoint.load(tmp_path / name / "last.ckpt") for name in ("straight", "killed"))
    assert_same_state(expected["method"], resumed["method"])
    for a, b in zip(expected["history"], resumed["history"], strict=True):
        # The loss of all layers together is added up layer by layer instead of step by step.
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)
        same = a.keys() - {"train_loss"} - OF_THE_MACHINE
        assert {key: a[key] for key in same} == {key: b[key] for key in same}


def test_stage_that_fails_is_named_with_its_reason(running):
    trainer, run = running("failing", pipeline=2)
    layers_state = trainer.method.layers_state
    trainer.method.layers_state = lambda names: layers_state(names) | {"layers": {"no_such_layer": {}}}
    with pytest.raises(UserError, match=r"pipeline stage 2 of 2 \(.*output\) failed \(KeyError: 'no_such_layer'\)"):
        trainer.fit(run)
    assert checkpoint.load(run.last)["epoch"] == 0


@pytest.fixture
def trained(tiny, tmp_path):
    """The process of a run with two stages that would go on for long, after its first epoch."""
    config = tiny(method={"name": "local_ce"}, network=NETWORK | {"dropout": 0.0}, trainer={"pipeline": 2, "epochs": 100_000})
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config.to_dict()))
    command = [sys.executable, "-m", "spiketrain", "train", "--config", tmp_path / "tiny.yaml", "--trainer.out", tmp_path / "run"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background of a script it is ignored
    )
    metrics = tmp_path / "run" / "metrics.csv"
    deadline = time.monotonic() + 300
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def test_other_stages_stop_with_the_first_one(trained, tmp_path):
    """Its process is killed without a word: the others say whom they lost, and are gone soon."""
    os.kill(trained.pid, signal.SIGKILL)
    _, errors = trained.communicate(timeout=300)  # to the end of standard error, which the other stage holds open too
    assert "pipeline stage 1 of 2 (conv_1" in errors and "the main process, is gone; pipeline stage 2 of 2" in errors
    assert "Traceback" not in errors
    assert checkpoint.load(tmp_path / "run" / "last.ckpt")["epoch"] >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="finds the other stage in /proc")
def test_second_interrupt_ends_the_wait_for_a_stage_that_hangs(trained, tmp_path):
    (other,) = Path(f"/proc/{trained.pid}/task/{trained.pid}/children").read_text().split()
    os.kill(int(other), signal.SIGSTOP)
    time.sleep(1)  # the first stage now waits for the other one
    for _ in range(2):
        trained.send_signal(signal.SIGINT)
        time.sleep(0.3)
    _, errors = trained.communicate(timeout=60)
    assert trained.returncode == 130 and "spiketrain: interrupted" in errors and "Traceback" not in errors
    assert checkpoint.load(tmp_path / "run" / "last.ckpt")["epoch"] >= 1


def test_pipelines_that_cannot_be(assert_error):
    assert_error(
        ["expected at most 3 stages", "conv_1, linear_1, output", "got 4"], "train", "localce-digits", "--trainer.pipeline", 4
    )
    assert_error(["layers of bptt do not learn on their own"], "train", "bptt-digits", "--trainer.pipeline", 2)
    words = ("--trainer.pipeline", 2, "--trainer.checkpoint_minutes", 5)
    assert_error("trainer.checkpoint_minutes", "train", "localce-digits", *words)
    assert_error(["trainer.pipeline", "above 0", "got 0"], "train", "localce-digits", "--trainer.pipeline", 0)
