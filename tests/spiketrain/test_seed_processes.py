"""Commands side by side in processes of their own: their errors, signals, and the death of their parent."""

import csv
import os
import signal
import threading
import time
from pathlib import Path

import forked
import pytest

from spiketrain.errors import UserError
from spiketrain.training import checkpoint, sessions
from spiketrain.training.interrupt import Stopped
from spiketrain.training.lock import Lock
from spiketrain.training.reproduction import processes


@pytest.fixture(autouse=True)
def nothing_ignored():
    """A shell that starts the tests in the background lets them ignore SIGINT, and all that they start."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Recorder:
    """What is told of jobs."""

    def __init__(self, at_begin=lambda: None):
        self.at_begin, self.problems, self.most, self.now, self.told = at_begin, {}, 0, set(), None

    def begun(self, job):
        self.now.add(job.name)
        self.most = max(self.most, len(self.now))
        self.at_begin()

    def runs(self, job):
        assert job.name in self.now

    def ended(self, job, problem):
        self.now.discard(job.name)
        self.problems[job.name] = problem

    def stopping(self, running):
        self.told = running


def job(name, *words):
    return processes.Job(name, words, Path(f"{name}.log"))


def test_processes_some_at_a_time(tmp_path):
    (tmp_path / "d.log").mkdir()
    jobs = [job("a", "list"), job("b", "list", "--method", "none"), job("c", "nonsense"), job("d", "list"), job("e", "list")]
    recorder = Recorder()
    processes.run(iter(jobs), 2, recorder)
    assert recorder.most == 2 and (recorder.problems["a"], recorder.problems["e"]) == ("", "")
    assert "unknown method 'none'" in recorder.problems["b"] and "nonsense" in recorder.problems["c"]
    assert recorder.problems["d"].startswith("cannot start d: ")
    assert "bptt-digits" in Path("a.log").read_text()


def test_the_error_is_that_of_the_latest_session():
    Path("a.log").write_text("spiketrain: error: of yesterday\n")
    recorder = Recorder()
    processes.run(iter([job("a", "list")]), 1, recorder)
    assert recorder.problems == {"a": ""} and Path("a.log").read_text().startswith("spiketrain: error: of yesterday\n")
    processes.run(iter([job("a", "list", "--dataset", "none")]), 1, recorder)
    assert "unknown data set 'none'" in recorder.problems["a"]


def test_a_signal_is_passed_on_and_the_rest_is_not_begun():
    recorder = Recorder(at_begin=lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Stopped) as stopped:
        processes.run(iter([job("a", "list"), job("b", "list")]), 1, recorder)
    assert (stopped.value.status, recorder.told, recorder.now) == (143, 1, {"a"})
    assert Path("a.log").exists() and not Path("b.log").exists()


def test_a_second_signal_ends_what_does_not_stop(monkeypatch):
    """A process that takes no notice, say in the middle of a long step."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(100)"
    monkeypatch.setattr(processes, "_PROGRAM", deaf)
    monkeypatch.setattr(processes, "_PATIENCE", 0.2)
    again = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))

    class TwoSignals(Recorder):
        def runs(self, job):
            if "ready" in job.log.read_text():
                signal.raise_signal(signal.SIGINT)

        def stopping(self, running):
            again.start()

    before = time.monotonic()
    with pytest.raises(Stopped) as stopped:
        processes.run(iter([job("a")]), 1, TwoSignals())
    again.join()
    assert stopped.value.status == 130 and time.monotonic() - before < 90


def test_a_process_that_is_killed_is_said_to_be(monkeypatch):
    monkeypatch.setattr(processes, "_PROGRAM", "import os; os.kill(os.getpid(), 9)")
    recorder = Recorder()
    processes.run(iter([job("a")]), 1, recorder)
    assert recorder.problems == {"a": "it was killed by SIGKILL, perhaps for want of memory. It printed a.log"}
    monkeypatch.setattr(processes, "_PROGRAM", "raise ValueError('no such thing')")
    processes.run(iter([job("a")]), 1, recorder)
    assert recorder.problems == {"a": "exit status 1: ValueError: no such thing. It printed a.log"}


LONG = ("spide-digits", "--trainer.batch_size", "2", "--trainer.limit_test", "20", "--threads", "1")


def is_free(run):
    try:
        Lock(run).release()
    except UserError:
        return False
    return True


@pytest.mark.parametrize("number, status, seeds", [(signal.SIGINT, 130, (1, 2)), (signal.SIGKILL, -signal.SIGKILL, (1,))])
def test_a_signal_ends_the_runs_too(tmp_path, number, status, seeds):
    """Runs of minutes. They save their place and end, whatever ends their parent."""
    out = tmp_path / "out"
    process = forked.start(forked.COMMAND, "reproduce", *LONG, "--seeds", len(seeds), "--parallel", 2, "--out", out)
    runs = [out / "spide-digits" / f"seed-{seed}" for seed in seeds]
    deadline = time.monotonic() + 200
    while not all((run / sessions.NAME).exists() for run in runs):
        assert not process.has_ended() and time.monotonic() < deadline, process.errors
        time.sleep(0.1)
    os.kill(process.pid, number)
    assert process.wait(120) == status, process.errors
    printed = process.printed + process.errors
    if status > 0:
        assert "stopping 2 runs: each saves its place" in printed and "The same command goes on in" in printed
        with open(out / "results.csv", newline="") as file:
            assert next(csv.DictReader(file))["seeds"] == "0"
        assert all(is_free(run) for run in runs)  # they have ended before their parent
    while not all(is_free(run) for run in runs):
        assert time.monotonic() < deadline, "a run goes on without its parent"
        time.sleep(0.1)
    for run in runs:
        content = checkpoint.load(run / "last.ckpt")
        assert content["epoch"] == 0 and content["config"]["trainer"]["checkpoint_minutes"] == 10
