"""Programs of a few lines in processes of their own, without the seconds that importing PyTorch and the pipeline takes: a process that has
done so, and nothing else, forks them. It is started with the first program, and ends with the tests.

A program is the main module of its process, and what it raises is its end. Three things are other than usual: runs draw no pictures, OpenMP
has one thread unless the program asks for more, and Python is not taken apart at the end, which would take longer than most programs.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO

# The command line of spiketrain.
COMMAND = "import sys; from spiketrain.cli import main; sys.exit(main())"
# Optimizers import Dynamo when they are made.
_IMPORTED = (
    "torch._dynamo", "torch.distributed", "torch.utils.tensorboard", "sklearn.datasets", "sklearn.model_selection", "spiketrain.cli.commands",
)  # fmt: skip


class Running:
    """A program that runs, or has ended.

    Attributes:
        pid: of its process
    """

    def __init__(self, pid: int, output: IO[bytes] | None, errors: IO[bytes]) -> None:
        self.pid, self._output, self._errors = pid, output, errors
        self._status: int | None = None

    @property
    def errors(self) -> str:
        """What it has written to standard error so far."""
        return _text(self._errors)

    @property
    def printed(self) -> str:
        """And to standard output, where `start` was given no file for it."""
        assert self._output is not None
        return _text(self._output)

    def has_ended(self) -> bool:
        if self._status is None:
            self._status = _server().ask({"ended": self.pid})
        return self._status is not None

    def wait(self, seconds: float = 300.0) -> int:
        """The exit status; of a process that a signal ended the signal, negative. It is killed when its time is over."""
        deadline = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() >= deadline:
                self.kill()
            time.sleep(0.002)
        return self._status

    def kill(self) -> None:
        """At once, if it still runs. Its process number is its own until somebody has asked whether it has ended."""
        if not self.has_ended():
            os.kill(self.pid, signal.SIGKILL)
            while not self.has_ended():
                time.sleep(0.002)


def start(
    program: str,
    *arguments: object,
    environment: Mapping[str, str] = MappingProxyType({}),
    output: int | None = None,
    largest: int | None = None,
) -> Running:
    """Start a program in the working folder of the test.

    Args:
        arguments: its ``sys.argv[1:]``
        environment: variables beside those of the test
        output: a file in the place of what `printed` reads
        largest: bytes of a file; what would be longer cannot be written
    """
    printed, errors = (tempfile.TemporaryFile() if wanted else None for wanted in (output is None, True))  # noqa: SIM115, `Running` keeps them
    order = {
        "program": program, "arguments": [str(word) for word in arguments], "environment": {**os.environ, **environment},
        "folder": os.getcwd(), "largest": largest,
    }  # fmt: skip
    return Running(_server().ask(order, [printed.fileno() if printed else output, errors.fileno()]), printed, errors)


def start_group(program: str, *arguments: object, count: int = 2, largest: int | None = None) -> list[Running]:
    """Start a program in each of `count` processes that find each other as if torchrun had started them, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    places = [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    return [start(program, *arguments, environment=place, largest=largest) for place in places]


def wait_all(group: list[Running], seconds: float = 300.0) -> list[int]:
    """The exit status of each, all of which are killed when the time is over, or the wait is."""
    deadline = time.monotonic() + seconds
    try:
        return [running.wait(max(0.0, deadline - time.monotonic())) for running in group]
    finally:
        for running in group:
            running.kill()


def _text(file: IO[bytes]) -> str:
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


class _Server:
    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        command, environment = [sys.executable, __file__, str(theirs.fileno())], {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, cwd=Path(__file__).parent)
        theirs.close()

    def ask(self, order: dict, files: Sequence[int] = ()) -> int | None:
        message = json.dumps(order).encode() + b"\n"
        sent = socket.send_fds(self._channel, [message], files)
        self._channel.sendall(message[sent:])
        answer, _ = _receive(self._channel)
        assert answer, f"the process that forks others has ended: {self._process.wait()}"
        return json.loads(answer)

    def close(self) -> None:
        self._channel.close()
        self._process.wait(600)  # on a busy machine Python takes its time to end


@functools.cache
def _server() -> _Server:
    server = _Server()
    atexit.register(server.close)
    return server


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """A line, and the files that came with it. Nothing, where nobody is there any more."""
    line, files = b"", []
    while not line.endswith(b"\n"):
        part, more, _, _ = socket.recv_fds(channel, 1 << 16, 2)
        files += more
        line += part
        if not part:
            return b"", files
    return line, files


def _serve(channel: socket.socket) -> tuple[dict, list[int]] | None:
    """Fork a process for each order. Returns in them, with their order and files, and once nobody is there to ask."""
    running = set()
    while (message := _receive(channel))[0]:
        order, files = json.loads(message[0]), message[1]
        if "ended" in order:
            done, status = os.waitpid(order["ended"], os.WNOHANG)
            running.discard(done)
            answer = os.waitstatus_to_exitcode(status) if done else None
        else:
            answer = os.fork()
            if answer == 0:
                channel.close()
                return order, files
            running.add(answer)
            for file in files:
                os.close(file)
        channel.sendall(json.dumps(answer).encode() + b"\n")
    for child in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return None


def _become(order: dict, files: list[int]) -> None:
    """What the new process is before its program begins."""
    import resource

    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate([nothing, *files]):
        os.dup2(file, number)
        os.close(file)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a script it is ignored, and under nohup
    if order["largest"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"], order["largest"]))
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.argv[1:] = order["arguments"]


def _run(program: str) -> int:
    """The exit status."""
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    del sys.path[0]  # this folder, whose files are no packages of a user's
    for name in _IMPORTED:
        importlib.import_module(name)
    from spiketrain.training.trainer import Trainer

    Trainer._draw = lambda trainer, run: None  # pictures take longer than all the rest
    gc.freeze()  # or the first collection in a new process would copy all objects
    if order := _serve(socket.socket(fileno=int(sys.argv[1]))):
        _become(*order)
        status = _run(order[0]["program"])
        atexit._run_exitfuncs()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)
