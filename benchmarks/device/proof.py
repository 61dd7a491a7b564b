"""Runs commands within a total time, side by side where they do not disturb each other, and loses nothing of what has run."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measuring import markdown

HERE = Path(__file__).resolve().parents[1]  # the folder of the commands
PASS, PART, FAIL, SKIPPED = "PASS", "PART", "FAIL", "SKIPPED"
"""PART: it had to end before it was through, and what had run was right."""
SECONDS_TO_END = 10  # between the request to end and the end
SECONDS_TO_BEGIN = 5  # with less left, a step does not begin


@dataclass
class Result:
    """How a step ended."""

    name: str
    status: str
    detail: str
    seconds: float = 0.0


@dataclass
class Done:
    """A command that has run: its exit status (None: it was stopped) and what it printed."""

    status: int | None
    output: str

    @property
    def last_line(self) -> str:
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1][:200] if lines else "no output"

    @property
    def how(self) -> str:
        """How it ended that should have ended otherwise."""
        errors = [line.strip() for line in self.output.splitlines() if re.search(r"error|Error|hazard|SUMMARY", line)]
        how = "stopped: it took too long" if self.status is None else f"exit status {self.status}"
        return f"{how}: {errors[-1][:200] if errors else self.last_line}"


Step = Callable[[], "tuple[str, str]"]


class Proof:
    """Runs the steps within a total time and remembers how they ended.

    Args:
        minutes: time for all steps
        logs: folder for what commands print
        reserved: seconds of the time that are left alone until `release` is called
        ended: called after each step, with all results so far
    """

    def __init__(self, minutes: float, logs: Path, reserved: float = 0.0, ended: Callable[[list[Result]], None] = lambda _: None):
        self.deadline = time.monotonic() + 60 * minutes
        self.logs = logs
        self.reserved = reserved
        self.results: list[Result] = []
        self._ended = ended
        self._one_at_a_time = threading.Lock()
        # Where an interrupt is ignored (in the background of a script), programs started from here would ignore it too.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def release(self) -> None:
        """Lets the next steps use the reserved time."""
        self.reserved = 0.0

    @property
    def seconds_left(self) -> float:
        return self.deadline - self.reserved - time.monotonic()

    def step(self, name: str, run: Step) -> None:
        """``run()`` returns a status and a detail. An exception is a failure too."""
        print(f"{name} ...", flush=True)
        started = time.monotonic()
        try:
            status, detail = (SKIPPED, "no time left") if self.seconds_left < SECONDS_TO_BEGIN else run()
        except Exception as error:  # whatever happens in a step, the next one gets its chance
            status, detail = FAIL, f"{type(error).__name__}: {error}"
        result = Result(name, status, detail, time.monotonic() - started)
        with self._one_at_a_time:
            self.results.append(result)
            print(f"{name}: {result.status} in {result.seconds:.0f} s: {result.detail}\n", flush=True)
            self._ended(self.results)

    def side_by_side(self, steps: dict[str, Step]) -> None:
        """Steps that run at the same time."""
        threads = [threading.Thread(target=self.step, args=(name, run)) for name, run in steps.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def command(self, name: str, words: list, seconds: float, **environment: str) -> Done:
        """Runs a command of at most `seconds`, with its output in <logs>/<name>.log and its end on the screen.

        A command that takes longer is interrupted, as by Ctrl-C, and ended for good if it does not heed that.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        # Started from this folder, lest the source folder `spikeops` hide the installed package.
        with open(log, "w") as file:
            process = subprocess.Popen(
                [str(word) for word in words], cwd=HERE, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            )  # fmt: skip
            try:
                status = process.wait(max(min(seconds, self.seconds_left), 0))
            except subprocess.TimeoutExpired:
                status = None
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(SECONDS_TO_END)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started
                process.wait()
        done = Done(status, log.read_text(errors="replace"))
        with self._one_at_a_time:
            print(f"--- {name}", *done.output.splitlines()[-12:], sep="\n", flush=True)
        return done


def pack_logs(logs: Path, archive: Path) -> Path | None:
    """All files below a folder in one archive."""
    if not logs.is_dir():
        return None
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        for file in sorted(logs.iterdir()):
            tar.add(file, file.name)
    return archive


def unpack_logs(archive: Path, logs: Path) -> None:
    """The files of an archive that `pack_logs` wrote."""
    logs.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if member.isfile() and Path(member.name).name == member.name:
                (logs / member.name).write_bytes(tar.extractfile(member).read())


def table_of(results: list[Result]) -> str:
    """The steps as a Markdown table."""
    lines = [(r.name, r.status, f"{r.seconds:.0f}", r.detail.replace("|", "/")) for r in results]
    return markdown.table(("step", "result", "seconds", "detail"), lines) + "\n"


def python(*words) -> list:
    """A command of the interpreter that runs this."""
    return [sys.executable, *words]
