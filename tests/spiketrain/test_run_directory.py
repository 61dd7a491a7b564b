"""The folder of a run: seen when it can be resumed, worked in by one process at a time, nothing in it trusted."""

import os
import socket
import subprocess
import sys
import threading

import pytest
import python_code
import torch
import yaml

from spiketrain.errors import UserError
from spiketrain.files import remove_unfinished, write_atomically
from spiketrain.training import checkpoint, lock
from spiketrain.training.lock import Lock
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

HERE = socket.gethostname()


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def run_dir(tiny, tmp_path):
    config = tiny(network={"layers": "12-10"}, trainer={"epochs": 1, "out": str(tmp_path / "run")})
    Trainer(config).fit(RunDirectory.create(config))
    return tmp_path / "run"


def held_elsewhere(folder):
    """A living process that holds the lock of a folder."""
    program = (
        "import sys; from pathlib import Path; from spiketrain.training.lock import Lock; "
        "lock = Lock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(python_code.command(program, str(folder)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_run_in_use_names_its_owner_until_that_is_killed(run_dir, cli, assert_error):
    process = held_elsewhere(run_dir)
    try:
        assert_error(["in use", f"process {process.pid} on {HERE}"], "resume", run_dir, "--trainer.epochs", 2)
        assert cli("eval", run_dir)[0] == 0  # looking is not working
    finally:
        process.kill()
        process.communicate()
    assert (run_dir / lock.NAME).exists()
    assert cli("resume", run_dir, "--trainer.epochs", 2)[0] == 0
    assert not (run_dir / lock.NAME).exists()


def test_locks_exclude_each_other_and_leave_nothing(tmp_path, dead):
    held = Lock(tmp_path)
    with pytest.raises(UserError, match=f"in use: process {os.getpid()} on {HERE}"):
        Lock(tmp_path)
    held.release()
    assert not list(tmp_path.iterdir())
    for content in (f"{dead}@{HERE}\n", "", "\0\xff", "nonsense"):
        (tmp_path / lock.NAME).write_text(content)
        Lock(tmp_path).release()
    (tmp_path / lock.NAME).write_text("7@another-host\n")
    with pytest.raises(UserError, match=r"process 7 on another-host works in it. If that process is gone, delete .*\.lock"):
        Lock(tmp_path)


def test_one_of_many_threads_gets_the_lock(tmp_path):
    got, barrier = [], threading.Barrier(8)

    def take():
        barrier.wait()
        try:
            got.append(Lock(tmp_path))
        except UserError:
            got.append(None)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([held for held in got if held]) == 1


def test_a_file_system_without_locks_goes_by_what_the_file_says(tmp_path, monkeypatch, dead):
    def unsupported(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)
    (tmp_path / lock.NAME).write_text(f"{os.getppid()}@{HERE}\n")
    with pytest.raises(UserError, match=f"process {os.getppid()} on"):
        Lock(tmp_path)
    (tmp_path / lock.NAME).write_text(f"{dead}@{HERE}\n")
    Lock(tmp_path).release()


def test_a_run_is_seen_when_it_can_be_resumed(tiny, tmp_path):
    """Whenever the process dies on the way, either there is nothing to see or a run to resume."""
    config = tiny(trainer={"out": str(tmp_path / "a" / "run")})
    run = RunDirectory.create(config)
    assert not (tmp_path / "a" / "run").exists()
    with pytest.raises(UserError, match="in use"):
        RunDirectory.create(config)  # someone has begun there
    content = Trainer(config)._content()
    run.begin(content, config)
    assert {path.name for path in (tmp_path / "a" / "run").iterdir()} == {"last.ckpt", "config.yaml", "metrics.csv", lock.NAME}
    run.release()
    assert os.listdir(tmp_path / "a") == ["run"]
    assert checkpoint.load(run.last)["epoch"] == 0


def test_a_folder_that_is_there_already_gets_the_checkpoint_first(tiny, tmp_path, monkeypatch):
    """It may be a mount point, which cannot be replaced."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".unfinished-jbhl768o.yaml").write_text("")
    config = tiny(trainer={"out": str(tmp_path / "run")})
    run = RunDirectory.create(config)
    content = Trainer(config)._content()
    monkeypatch.setattr(RunDirectory, "write_config", lambda *_: 1 / 0)  # dies right after the checkpoint
    with pytest.raises(ZeroDivisionError):
        run.begin(content, config)
    assert RunDirectory.open(tmp_path / "run").load_last()["epoch"] == 0
    assert not list((tmp_path / "run").glob(".unfinished*"))


def test_runs_that_never_began_leave_nothing(tiny, tmp_path):
    first = RunDirectory.create(tiny())
    second = RunDirectory.create(tiny())
    assert (first.path.name, second.path.name) == ("tiny-1", "tiny-2")  # the first is taken, though not to be seen
    first.release()
    del second  # as if killed: the lock is gone, the folder is not
    assert os.listdir("runs") == [".unfinished-tiny-2"]
    third = RunDirectory.create(tiny())
    assert third.path.name == "tiny-1" and os.listdir("runs") == [".unfinished-tiny-1"]


def test_unwritable_places(tiny, tmp_path, assert_error, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert_error(["No space left", "Nothing was trained yet"], "train", "bptt-digits", "--trainer.out", tmp_path / "run", "--trainer.limit_train", 50)
    assert not os.listdir(tmp_path) or os.listdir(tmp_path) == ["cache"]


def test_leftovers_of_the_living_stay(tmp_path, dead):
    names = [f".unfinished-{os.getppid()}@{HERE}-abc.npy", ".unfinished-7@another-host-abc.npy", "kept.npy"]
    for name in [*names, f".unfinished-{dead}@{HERE}-abc.npy", ".unfinished-abc", f".unfinished-{dead}@another-host-old"]:
        (tmp_path / name).write_text("")
    os.utime(tmp_path / f".unfinished-{dead}@another-host-old", (0, 0))
    remove_unfinished(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    write_atomically(tmp_path / "a", lambda file: file.write(os.listdir(tmp_path)[0].encode()))


def changed(run_dir, change, name="last.ckpt"):
    """Write a checkpoint with sound checksums and other contents."""
    content = checkpoint.load(run_dir / name)
    change(content)
    torch.save(content, run_dir / name)


def of_network(content):
    return content["method"]["network"]


def moments(content):
    return next(iter(content["method"]["optimizer"]["state"].values()))


WRONG = {
    "epoch": lambda c: c.update(epoch=7),
    "epoch of words": lambda c: c.update(epoch="1"),
    "negative step": lambda c: c.update(step=-1),
    "no configuration": lambda c: c.update(config=[]),
    "configuration with an unknown field": lambda c: c["config"]["trainer"].update(x=1),
    "configuration with a class": lambda c: c["config"].update(data={"class_path": "payload.X"}),
    "configuration of a name elsewhere": lambda c: c["config"].update(preset="../../x"),
    "history of words": lambda c: c["history"][0].update(train_loss="low"),
    "history without a column": lambda c: c["history"][0].pop("learning_rate"),
    "history of another task": lambda c: c["history"][0].pop("test_accuracy"),
    "history without end": lambda c: c["history"][0].update(train_seconds=float("inf")),
    "history of no time": lambda c: c["history"][0].update(test_seconds=float("nan")),
    "history of no float": lambda c: c["history"][0].update(train_loss=10**400),
    "history as a tensor": lambda c: c.update(history=torch.zeros(1)),
    "weights that are gone": lambda c: of_network(c).popitem(),
    "weights of another shape": lambda c: of_network(c).update({k: v[:1] for k, v in of_network(c).items()}),
    "weights of another type": lambda c: of_network(c).update({k: v.long() for k, v in of_network(c).items()}),
    "weights that are not finite": lambda c: next(iter(of_network(c).values())).fill_(float("nan")),
    "weights that are numbers": lambda c: of_network(c).update({k: 1.0 for k in of_network(c)}),
    "no method": lambda c: c.update(method=None),
    "a method without a network": lambda c: c.update(method={}),
    "moments of another shape": lambda c: moments(c).update(exp_avg=torch.zeros(1)),
    "moments that are not finite": lambda c: moments(c)["exp_avg"].fill_(float("inf")),
    "moments that are numbers": lambda c: moments(c).update(exp_avg_sq=1.0),
    "an optimiser of other parameters": lambda c: c["method"]["optimizer"]["param_groups"][0].update(params=[0]),
    "an optimiser without groups": lambda c: c["method"]["optimizer"].update(param_groups=[]),
    "random numbers of another size": lambda c: c["random"].update(torch=torch.zeros(3, dtype=torch.uint8)),
    "random numbers of Python": lambda c: c["random"].update(python=[3, [1], None]),
    "random numbers of NumPy": lambda c: c["random"].update(numpy=[torch.zeros(3), 0, 0, 0.0]),
    "no random numbers": lambda c: c.update(random={}),
    "a position that is none": lambda c: c.update(position={"steps": 1}),
    "processes that are none": lambda c: c.update(processes=3),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_sound_checksum_and_wrong_contents_change_nothing(run_dir, assert_error, what):
    changed(run_dir, WRONG[what])
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    assert_error("", "resume", run_dir, "--trainer.epochs", 2)
    assert {path.name: path.read_bytes() for path in run_dir.iterdir()} == before


def test_damaged_last_checkpoint_names_the_best_as_the_way_on(run_dir, cli, assert_error):
    (run_dir / "last.ckpt").write_bytes(b"damaged")
    way = f"cp '{run_dir}/best.ckpt' '{run_dir}/last.ckpt'"
    assert_error(["last.ckpt is damaged", "best.ckpt, which is sound (epoch 1)", way], "resume", run_dir)
    os.system(way)
    assert cli("resume", run_dir, "--trainer.epochs", 2)[0] == 0
    (run_dir / "best.ckpt").write_bytes(b"damaged")
    assert_error("best.ckpt is damaged", "eval", run_dir)


def test_no_epoch_yet(tiny, tmp_path, assert_error):
    config = tiny(trainer={"out": str(tmp_path / "run")})
    run = RunDirectory.create(config)
    run.begin(Trainer(config)._content(), config)
    run.release()
    for command in ("eval", "rates", "plot"):
        assert_error(["no epoch", "spiketrain resume"], command, tmp_path / "run")


# What is given to resume -> words of the refusal, or the field's new value.
RESUMED = [
    ("--trainer.epochs=3", 3), ("--optimizer.weight_decay=100", 100.0), ("--optimizer.lr=0.5", 0.5), ("--optimizer.betas=[0.5, 0.5]", [0.5, 0.5]),
    ("--trainer.batch_size=64", 64), ("--network.dropout=0", 0.0), ("--data.augment=false", False), ("--trainer.checkpoint_minutes=5", 5.0),
    ("--network.layers=12-11", "layers"), ("--network.time_steps=7", "time_steps"), ("--network.linear_weight_scale=2", "scale"),
    ("--method.tau_m=3", "tau_m"), ("--method.name=bptt", "method.name"), ("--seed=9", "seed"), ("--trainer.out=x", "trainer.out"),
    ("--optimizer.name=sgd", "optimizer.name"), ("--data.name=mnist", "data.name"), ("--trainer.limit_test=7", "limit_test"),
    ("--data.normalize=false", "normalize"), ("--trainer.nonsense=1", "nonsense"),
]  # fmt: skip


def test_resume_applies_each_option_or_refuses_it(run_dir, cli, assert_error):
    epochs = 1
    for option, expected in RESUMED:
        before = (run_dir / "last.ckpt").read_bytes()
        if isinstance(expected, str):
            assert_error(expected, "resume", run_dir, option)
            assert (run_dir / "last.ckpt").read_bytes() == before
            continue
        name = option[2:].partition("=")[0]
        epochs += 1
        more = [] if name == "trainer.epochs" else ["--trainer.epochs", epochs]
        epochs = max(epochs, expected) if name == "trainer.epochs" else epochs
        status, lines, errors = cli("resume", run_dir, option, *more)
        assert status == 0, errors
        assert any(line.startswith(f"{name}: ") and "from here on, was" in line for line in lines)
        for config in (checkpoint.load(run_dir / "last.ckpt")["config"], yaml.safe_load((run_dir / "config.yaml").read_text())):
            section, key = name.split(".")
            assert config[section][key] == expected and config["trainer"]["epochs"] == epochs
    group = checkpoint.load(run_dir / "last.ckpt")["method"]["optimizer"]["param_groups"][0]
    assert (group["weight_decay"], list(group["betas"])) == (100.0, [0.5, 0.5])
    assert_error("epochs are complete", "resume", run_dir, "--trainer.epochs", 1)


def test_looking_uses_what_the_weights_were_trained_with_or_says_what_it_changed(run_dir, cli, assert_error):
    trained = cli("eval", run_dir)
    assert trained[0] == 0 and trained[2] == []
    status, lines, errors = cli("eval", run_dir, "--network.time_steps", 9, "--trainer.threads", 1)
    assert status == 0 and errors == ["spiketrain: note: network.time_steps is 9 here; the weights were trained with 5"]
    for option in ("--optimizer.lr=1", "--method.tau_m=3", "--network.layers=12-11", "--trainer.epochs=9", "--trainer.out=x", "--network.dropout=0"):
        for command in ("eval", "rates", "plot"):
            assert_error(option[2:].partition("=")[0], command, run_dir, option)


NO_FILES = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a link to another file": lambda path: os.symlink(path.parent.parent / "precious", path),
    "a link to a device": lambda path: os.symlink("/dev/zero", path),
    "a link to itself": lambda path: os.symlink(path.name, path),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_a_lock_that_is_no_file_is_neither_followed_nor_written(run_dir, tmp_path, assert_error, kind):
    (tmp_path / "precious").write_text("precious")
    NO_FILES[kind](run_dir / lock.NAME)
    assert_error(f"{lock.NAME} is no regular file", "resume", run_dir, "--trainer.epochs", 2)
    assert (tmp_path / "precious").read_text() == "precious"
    assert os.path.lexists(run_dir / lock.NAME)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "best.ckpt"])
@pytest.mark.parametrize("kind", [kind for kind in NO_FILES if kind != "a folder"])
def test_files_of_a_run_that_are_none_are_replaced_and_not_waited_for(run_dir, tmp_path, cli, kind, name):
    (tmp_path / "precious").write_text("precious")
    (run_dir / name).unlink()
    NO_FILES[kind](run_dir / name)
    status, _, errors = cli("resume", run_dir, "--trainer.epochs", 2, "--optimizer.lr", 0)
    assert status == 0, errors
    assert (tmp_path / "precious").read_text() == "precious"
    assert name == "best.ckpt" or (run_dir / name).is_file() and not (run_dir / name).is_symlink()
