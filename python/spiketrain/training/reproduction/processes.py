"""Commands of spiketrain in processes of their own, some at a time, that end with their parent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spiketrain.errors import UserError, shortened
from spiketrain.training.interrupt import Stopped, StopRequests

POLL_SECONDS = 0.3
_PATIENCE = 10  # seconds for a process to end after it was told to for the second time
_END_OF_LOG = 64 * 1024  # bytes in which its error is looked for

# The packages of this process, wherever they were found; not those of the working folder, which Python would put first.
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from spiketrain.cli.child import main; sys.exit(main())"


@dataclass(frozen=True)
class Job:
    """A command to run.

    Attributes:
        name: what it is called
        words: of its command line, without `spiketrain`
        log: the file to which what it prints is added
    """

    name: str
    words: tuple[str, ...]
    log: Path


class _Process:
    """A job that runs. It has a session of its own, so that Ctrl-C reaches it by its parent alone, and ends when its stdin does."""

    def __init__(self, job: Job) -> None:
        self.job = job
        try:
            job.log.parent.mkdir(parents=True, exist_ok=True)
            with open(job.log, "ab") as log:
                self._begin = log.tell()
                command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), *job.words]
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
        except OSError as error:
            raise UserError(f"cannot start {job.name}: {error}") from None

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def tell(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def close(self) -> None:
        self._process.wait()
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def problem(self) -> str:
        """Why it ended as it did, "" if it was through: the error it printed, else what the system says."""
        status = self._process.returncode
        if status == 0:
            return ""
        if status < 0:
            try:
                name = signal.Signals(-status).name
            except ValueError:
                name = f"signal {-status}"
            return f"it was killed by {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}. It printed {self.job.log}"
        lines = self._printed()
        errors = [line.partition("spiketrain: error: ")[2] for line in lines if line.startswith("spiketrain: error: ")]
        if errors:
            return errors[-1]
        if status in (130, 143):
            return "it was told to stop by somebody else"
        return f"exit status {status}{': ' + shortened(lines[-1], 200) if lines else ''}. It printed {self.job.log}"

    def _printed(self) -> list[str]:
        try:
            with open(self.job.log, "rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._begin, end - _END_OF_LOG))
                return [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        except OSError:
            return []


class Watcher(Protocol):
    """What is told of the jobs."""

    def begun(self, job: Job) -> None:
        """It begins to run."""

    def runs(self, job: Job) -> None:
        """It still runs: said a few times a second."""

    def ended(self, job: Job, problem: str) -> None:
        """It has ended, or could not begin; `problem` is "" if it was through."""

    def stopping(self, running: int) -> None:
        """So many jobs are told to stop."""


def run(jobs: Iterator[Job], parallel: int, watcher: Watcher) -> None:
    """Run all jobs, at most `parallel` at a time. None of them ends the others.

    Args:
        jobs: the next one is asked for when there is room

    Raises:
        Stopped: a signal was met. All that ran were told so, and have ended; at a second signal they end at once.
    """
    running: list[_Process] = []
    with StopRequests() as stop:
        try:
            is_through = False
            while running or not is_through:
                stop.check()
                while not is_through and len(running) < parallel:
                    job = next(jobs, None)
                    if job is None:
                        is_through = True
                        break
                    stop.check()
                    try:
                        running.append(_Process(job))
                    except UserError as error:
                        watcher.ended(job, str(error))
                    else:
                        watcher.begun(job)
                for process in [process for process in running if process.has_ended()]:
                    process.close()
                    running.remove(process)
                    watcher.ended(process.job, process.problem())
                for process in running:
                    watcher.runs(process.job)
                if running:
                    time.sleep(POLL_SECONDS)
        except Stopped:
            watcher.stopping(len(running))
            raise
        finally:
            _end(running)


def _end(running: list[_Process]) -> None:
    """Tell all to stop, which saves their place; a second time if that is asked for or takes too long; then end them."""
    for patience in (None, _PATIENCE):
        with contextlib.suppress(Stopped):
            for process in running:
                process.tell(signal.SIGTERM)
            until = None if patience is None else time.monotonic() + patience
            while any(not process.has_ended() for process in running) and (until is None or time.monotonic() < until):
                time.sleep(0.05)
    for process in running:
        process.tell(signal.SIGKILL)
        process.close()
