"""What a run is: a run that was stopped anywhere, and is resumed, ends bit for bit where it would have ended."""

import json
import os

import forked
import pytest
import torch
import yaml
from trained_runs import OF_THE_MACHINE

from spiketrain import methods
from spiketrain.config import merge
from spiketrain.training import checkpoint
from spiketrain.training.interrupt import Stopped
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

SMALL = {
    "data": {"augment": True},
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "schedule": "cosine", "warmup_steps": 5},
    "trainer": {"epochs": 2, "limit_train": 100, "limit_test": 40, "batch_size": 32},
}  # fmt: skip
RING = {"layers": "4C3s-6C3-10", "feedback": "4C3", "time_steps": 4}
LOCAL = {"network": {"dropout": 0.0}, "optimizer": {"name": "adam", "weight_decay": 0.0}}
# Of each method what it needs to be small, with all that draws random numbers and counts steps switched on.
CHANGES = {
    "tssl_bp": {"optimizer": {"name": "adamw"}, "network": {"dropout_kind": "rows"}},
    "ide": {"method": {"leak": 0.9, "solver_steps": 6}, "network": RING},
    "spide": {"method": {"backward_time_steps": 6, "norm_range": 0.5}, "network": RING},
    "convex": {"network": {"layers": "30-10", "dropout": 0.0, "time_steps": 50}, "method": {"sigma_v": 0.01, "rate_decay": 0.9}},
    "bptt": {},
}
# And a network with all that recurrent ones have: states, learned decays, a readout.
RECURRENT = {
    "network": {"layers": "4C3-P2-12R-10"},
    "method": {"learn_decays": True, "current_decay": 0.5, "readout_decay": 0.9, "readout_current_decay": 0.5, "loss": "max"},
    "optimizer": {"name": "adamw", "lr": 0.01},
}
# And one of residual blocks, which are computed again in the backward pass.
MODEL = {
    "network": {"layers": "10", "padding": 0, "dropout": 0.0, "model": "sew_resnet18", "width": 4, "depth": 1},
    "method": {"surrogate": "Rectangle", "surrogate_parameter": 1, "detach_reset": True, "memory": "checkpoint", "neurons_keep": "bits"},
}
# And samples that are kept for validation, by which the best epoch is chosen, which alone is tested in the end.
VALIDATION = {"data": {"validation": 0.1}}


def small(tiny, name, **changes):
    return tiny(**merge(merge(merge(SMALL, {"method": {"name": name}}), CHANGES.get(name, LOCAL)), changes))


def leaves(value, path=""):
    if isinstance(value, dict):
        return {key: leaf for name, item in value.items() for key, leaf in leaves(item, f"{path}/{name}").items()}
    if isinstance(value, (list, tuple)):
        return {key: leaf for i, item in enumerate(value) for key, leaf in leaves(item, f"{path}/{i}").items()}
    return {path: value}


def assert_same_end(first, second, but=("config",)):
    """Two checkpoints, equal bit for bit in all but the clock's times."""
    assert first.keys() == second.keys()
    for key in first.keys() - set(but):
        a, b = leaves(first[key]), leaves(second[key])
        assert a.keys() == b.keys(), f"{key}: {sorted(a.keys() ^ b.keys())[:5]}"
        for path, value in a.items():
            same = torch.equal(value, b[path]) if isinstance(value, torch.Tensor) else value == b[path]
            assert same or path.split("/")[-1] in OF_THE_MACHINE, f"{key}{path} differs"


def go_on(config, run, after=None):
    """Train in this process as `train` or `resume` would, and stop after so many steps."""
    run = RunDirectory.open(run) if os.path.exists(run) else RunDirectory.create(config)
    trainer = Trainer(config)
    if run.path.exists():
        trainer.restore(run.load_last())
    calls = iter(range(10_000))

    def check():
        if next(calls) == after:
            raise Stopped

    if after is None:
        trainer.fit(run, check)
    else:
        with pytest.raises(Stopped):
            trainer.fit(run, check)
    return checkpoint.load(run.last)


@pytest.mark.parametrize("name, changes", [
    *((name, {}) for name in methods.names()), ("bptt", RECURRENT), ("bptt", MODEL), ("ide", VALIDATION), ("ell", VALIDATION), ("convex", VALIDATION),
])  # fmt: skip
def test_stopped_within_each_epoch_and_between_them(tiny, tmp_path, name, changes):
    """Four steps an epoch and one batch of testing: stopped after 2 steps, in the next one after 3, at the end of it, and so on."""
    config = small(tiny, name, **changes, trainer={"checkpoint_minutes": 1e6, "out": str(tmp_path / "straight")})
    straight = go_on(config, tmp_path / "straight")
    assert (straight["epoch"], straight["step"], straight["position"]) == (2, 8, None)
    config.trainer.out = str(tmp_path / "stopped")
    positions = []
    for after in (2, 1, 3, 3, None):
        content = go_on(config, tmp_path / "stopped", after)
        torch.rand(5)  # random numbers drawn in between must not matter
        positions.append((content["epoch"], content["position"] and content["position"]["steps"]))
    assert (0, 2) in positions and positions[-1] == (2, None)
    straight["config"] = content["config"]
    assert_same_end(straight, content)
    assert_same_end(checkpoint.load(tmp_path / "straight" / "best.ckpt"), checkpoint.load(tmp_path / "stopped" / "best.ckpt"))


def test_no_position_is_saved_unless_it_is_asked_for(tiny, tmp_path):
    config = small(tiny, "bptt", trainer={"out": str(tmp_path / "run")})
    assert go_on(config, tmp_path / "run", 3)["position"] is None


def test_checkpoints_are_written_every_so_many_minutes(tiny, tmp_path, monkeypatch):
    config = small(tiny, "bptt", trainer={"out": str(tmp_path / "run"), "checkpoint_minutes": 1e-9})
    saved = []
    save = RunDirectory.save

    def note(run, content, is_best):
        saved.append((content["epoch"], content["position"] and content["position"]["steps"], is_best))
        save(run, content, is_best)

    monkeypatch.setattr(RunDirectory, "save", note)
    go_on(config, tmp_path / "run")
    assert [place[:2] for place in saved] == [(0, None), (0, 1), (0, 2), (0, 3), (1, None), (1, 1), (1, 2), (1, 3), (2, None)]
    assert all(not is_best for _, steps, is_best in saved if steps)  # a place within an epoch was not tested


def test_position_belongs_to_the_epoch_as_it_began(tiny, tmp_path, cli, assert_error):
    config = small(tiny, "bptt", trainer={"out": str(tmp_path / "run"), "checkpoint_minutes": 1e6})
    go_on(config, tmp_path / "run", 2)
    for option in ("--trainer.batch_size=16", "--trainer.limit_train=50", "--data.augment=false"):
        assert_error(["middle of epoch 1", option[2:].partition("=")[0]], "resume", tmp_path / "run", option)
    status, lines, _ = cli("resume", tmp_path / "run", "--optimizer.lr", 0.01)
    assert status == 0 and "going on in epoch 1 after 2 steps" in lines


WORKER = """
import json, os, sys
import torch
from spiketrain import distributed
from spiketrain.config import read_yaml
from spiketrain.methods import load_config
from spiketrain.training.interrupt import Stopped
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer
Trainer._draw = lambda trainer, run: None
for file, out, stops in json.loads(sys.argv[1]):
    for after in stops:
        config = load_config(read_yaml(file), ["--trainer.out", out])
        trainer = Trainer(config)
        if os.path.exists(out):
            run = RunDirectory.open(out)
            trainer.restore(run.load_last())
        else:
            run = RunDirectory.create(config) if distributed.is_main() else RunDirectory(out)
        distributed.gather(None)  # no process looks while another makes the folder
        calls = iter(range(10_000))

        def check():
            if next(calls) == after and not distributed.is_main():  # one is asked, all stop
                raise Stopped

        try:
            trainer.fit(run, check)
            assert after is None
        except Stopped:
            torch.rand(5)  # random numbers drawn in between must not matter
        distributed.gather(None)
distributed.stop()
"""


def in_two_processes(program, runs):
    """Run a program in a pair of processes as torchrun would start them."""
    group = forked.start_group(program, json.dumps(runs))
    assert forked.wait_all(group) == [0, 0], [running.errors for running in group]


ALONE = ("convex", "local_ce", "local_corr", "local_ce_corr")  # methods that are not shared among processes


def test_two_processes_go_on_bit_for_bit_from_anywhere(tiny, tmp_path):
    """Stopped within epochs and between them. SPIDE estimates a norm from random vectors, IDE has batch-norms, dropout draws masks: each
    process has its own of all."""
    trainer = {"batch_size": 31, "threads": 1, "checkpoint_minutes": 1e6}
    configs = {"residual blocks": small(tiny, "bptt", **MODEL, trainer=trainer)}  # whose batch norms have statistics of each process
    for name in methods.names():
        if name not in ALONE:
            network = {} if name in ("ell", "fell", "bell") else {"dropout": 0.2}
            data = VALIDATION["data"] if name in ("ide", "ell") else {}
            configs[name] = small(tiny, name, network=network, data=data, trainer=trainer)
    runs = []
    for name, config in configs.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config.to_dict()))
        runs.append((str(tmp_path / f"{name}.yaml"), str(tmp_path / f"{name}-straight"), [None]))
        runs.append((str(tmp_path / f"{name}.yaml"), str(tmp_path / f"{name}-stopped"), [2, 1, 3, 3, None]))
    in_two_processes(WORKER, runs)
    for name in configs:
        straight, stopped = (checkpoint.load(tmp_path / f"{name}-{way}" / "last.ckpt") for way in ("straight", "stopped"))
        assert (stopped["epoch"], stopped["position"], len(stopped["processes"])) == (2, None, 1), name
        assert not torch.equal(stopped["processes"][0]["random"]["torch"], stopped["random"]["torch"])
        assert_same_end(straight, stopped)


