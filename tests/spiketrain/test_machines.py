"""Several machines, as network namespaces with a cable between them, and one: torchrun, restarts, and what is lost ends the run with its name."""

import os
import socket
import subprocess
import sys

import forked
import pytest
import torch
import yaml
from hosts import Hosts

from spiketrain.training import checkpoint

LIMIT = 500  # seconds, on a busy machine; it takes some ten
# BPTT whose second process dies, or loses its cable, in the first attempts.
FATAL = '''
import os, signal, subprocess
from spiketrain import distributed
from spiketrain.methods import bptt
from spiketrain.training.trainer import Trainer

Trainer._draw = lambda trainer, run: None  # pictures take longer than all else

class Fatal(bptt.BPTT):
    def training_step(self, inputs, labels, batch_size):
        how, _, attempts = os.environ.get("FATAL", "").partition(" ")
        if how and self.steps == 9 and distributed.rank() == 1 and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) < int(attempts):
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            subprocess.run(["ip", "link", "set", "eth0", "down"], check=True)
        return super().training_step(inputs, labels, batch_size)
'''


@pytest.fixture
def run_file(tiny, tmp_path):
    """A run of three epochs of seven steps, with dropout, in a file."""
    config = tiny(trainer={"epochs": 3}, method={"name": "bptt"}).to_dict()
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "run.yaml"


@pytest.fixture
def folder_of(tmp_path):
    """A folder with the method for each machine."""

    def make(name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fatal.py").write_text(FATAL)
        return tmp_path / name

    return make


@pytest.fixture
def start(run_file):
    """``start(folder, fatal, *torchrun's own words, prefix=...)``: torchrun trains into the folder's ``run``; returns the process."""
    started = []

    def begin(folder, fatal, *words, prefix=list, seconds=60):
        command = [
            sys.executable, "-m", "torch.distributed.run", *words, "-m", "spiketrain", "train", "--config", str(run_file), "--method.name",
            "fatal:Fatal", "--trainer.out", "run", "--trainer.lost_seconds", str(seconds),
        ]  # fmt: skip
        environment = {**os.environ, "FATAL": fatal, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with open(folder / "printed", "w") as printed:
            started.append(subprocess.Popen(prefix(command), cwd=folder, env=environment, stdout=printed, stderr=printed, start_new_session=True))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()  # torchrun's processes end when it is gone, or with their namespace
            process.wait()


@pytest.fixture
def straight(run_file, tmp_path):
    """The folder of the run in two processes to which nothing happened."""
    out = tmp_path / "straight" / "run"
    group = forked.start_group(forked.COMMAND, "train", "--config", run_file, "--trainer.out", out)
    assert forked.wait_all(group, LIMIT) == [0, 0], [running.errors for running in group]
    return out.parent


def on(hosts, host, *words):
    """What `start` needs beside a folder to run on one of two hosts."""

    def prefix(command):
        return hosts.command(host, "env", "GLOO_SOCKET_IFNAME=eth0", *command)

    return ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", "host-a:29500", *words), prefix


def printed(folder):
    return (folder / "printed").read_text()


def assert_same_run(one, other):
    """The same weights, bit for bit, and figures."""
    contents = [checkpoint.load(folder / "run" / "last.ckpt") for folder in (one, other)]
    assert [content["epoch"] for content in contents] == [3, 3]
    first, second = (content["method"]["network"] for content in contents)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    figures = [[{key: row[key] for key in ("train_loss", "train_accuracy", "test_accuracy")} for row in content["history"]] for content in contents]
    assert figures[0] == figures[1]


@pytest.mark.long
def test_a_killed_process_is_started_again_and_the_run_ends_as_if_it_had_never_been(start, straight, folder_of):
    restarted = folder_of("restarted")
    process = start(restarted, "killed 1", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1")
    assert process.wait(timeout=LIMIT) == 0, printed(restarted)
    assert_same_run(straight, restarted)
    lines = printed(restarted).splitlines()
    assert sum("run directory" in line for line in lines) == 2 and len((restarted / "run" / "sessions.csv").read_text().splitlines()) == 3


@pytest.mark.long
def test_two_hosts_train_as_one_does_and_go_on_when_a_process_is_killed(start, straight, folder_of, tmp_path):
    """They share no disk. The second host's process is killed in the second epoch; both start again, and go on."""
    host_a, host_b = map(folder_of, ("a", "b"))
    with Hosts(tmp_path) as hosts:
        started = []
        for host, folder in (("host-a", host_a), ("host-b", host_b)):
            words, prefix = on(hosts, host, "--max-restarts", "1")
            started.append(start(folder, "killed 1", *words, prefix=prefix))
        statuses = [process.wait(timeout=LIMIT) for process in started]
        assert statuses == [0, 0], printed(host_a) + printed(host_b)
    assert_same_run(straight, host_a)
    # The main process writes, and nobody else.
    assert {path.name for path in host_b.iterdir()} - {"__pycache__"} == {"fatal.py", "printed"}


@pytest.mark.long
def test_a_host_that_does_not_answer_ends_the_run_with_its_name(start, folder_of, tmp_path):
    """Its cable is cut: no connection is closed, and sums would wait for half an hour."""
    host_a, host_b = map(folder_of, ("a", "b"))
    with Hosts(tmp_path) as hosts:
        first, second = [
            start(folder, "cut 1", *words, prefix=prefix, seconds=20)
            for folder, (words, prefix) in ((host_a, on(hosts, "host-a")), (host_b, on(hosts, "host-b")))
        ]
        assert first.wait(timeout=LIMIT) != 0, printed(host_a)
        text = printed(host_a)
        (line,) = [line for line in text.splitlines() if line.startswith("spiketrain: error")]
        assert "rank 1 (host host-b, process" in line and "no sign of life for 20 s" in line, text
    assert checkpoint.load(host_a / "run" / "last.ckpt")["epoch"] == 1


LOSES_A_PROCESS = """
import os, signal, sys
from spiketrain.cli import main
from spiketrain.methods import bptt
step = bptt.BPTT.training_step
def fatal(self, inputs, labels, batch_size):
    if self.steps == 9 and os.environ["RANK"] == "1":
        if sys.argv[1] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("a fault of one's own")
    return step(self, inputs, labels, batch_size)
bptt.BPTT.training_step = fatal
sys.exit(main(["train", "--config", sys.argv[2], "--trainer.out", sys.argv[3]]))
"""


@pytest.mark.parametrize("way", ["killed", "failed"])
def test_who_is_left_says_who_is_gone(run_file, tmp_path, way):
    out = str(tmp_path / "run")
    group = forked.start_group(LOSES_A_PROCESS, way, run_file, out)
    statuses = forked.wait_all(group, LIMIT)
    errors = [running.errors for running in group]
    assert statuses == [2, -9 if way == "killed" else 1], errors
    (line,) = [line for line in errors[0].splitlines() if line.startswith("spiketrain: error")]
    assert f"rank 1 (host {socket.gethostname()}, process {group[1].pid})" in line, errors
    assert ("given no sign of life" if way == "killed" else "stopped before the others") in line
    assert f"spiketrain resume {out}" in line
    if way == "failed":
        assert "a fault of one's own" in errors[1]


def test_commands_for_one_process(monkeypatch, assert_error):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for words in (["rates", "run"], ["plot", "run"], ["predict", "run", "file"], ["report", "run", "--out", "page.html"], ["bench", "bptt-digits"]):
        assert_error("without torchrun", *words)


def test_two_processes_test_a_run_as_one_does(cli, run_file, tmp_path):
    out = str(tmp_path / "run")
    assert cli("train", "--config", run_file, "--trainer.out", out, "--trainer.epochs", 1)[0] == 0
    status, lines, _ = cli("eval", out)
    group = forked.start_group(forked.COMMAND, "eval", out, "--trainer.eval_batch_size", 7)
    statuses = forked.wait_all(group, LIMIT)
    assert status == 0 and statuses == [0, 0], [running.errors for running in group]
    assert [running.printed.splitlines() for running in group] == [lines, []], "the main process alone speaks"
