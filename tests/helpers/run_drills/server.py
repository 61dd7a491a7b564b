"""Commands in processes of their own, without the seconds that importing the pipeline takes: one that has done so forks them."""

import json
import os
import subprocess
import tempfile

import python_code

_PROGRAM = """
import json, os, resource, signal, sys, time
from spiketrain.cli import main
from spiketrain.training.trainer import Trainer
import spiketrain.data.digits, torch.utils.tensorboard
Trainer._draw = lambda *_: None  # pictures take longer than all the rest
running, ended = set(), {}

def start(order, rank):
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(order["errors"], os.O_WRONLY | os.O_APPEND), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a script it is ignored, and under nohup
    signal.signal(signal.SIGTERM, signal.SIG_DFL), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if order["largest"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"], order["largest"]))
    if ports := order["ports"]:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(ports[0]), WORLD_SIZE=str(len(ports)), RANK=str(rank), LOCAL_RANK=str(rank))
    status = 3
    try:
        status = main(order["words"])
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)

def have_ended(children, late=False):
    for child in children & running:
        if late:
            os.kill(child, signal.SIGKILL)
        done, status = os.waitpid(child, 0 if late else os.WNOHANG)
        if done:
            running.discard(child)
            ended[child] = os.waitstatus_to_exitcode(status)
    return not children & running

for line in sys.stdin:
    order = json.loads(line)
    children = order.get("children") or [start(order, rank) for rank, _ in enumerate(order["ports"] or [0])]
    running |= set(children) - ended.keys()
    if order["seconds"] is None:
        answer = {"children": children, "ended": have_ended(set(children))}
    else:
        deadline = time.monotonic() + order["seconds"]
        while not have_ended(set(children), time.monotonic() >= deadline):
            time.sleep(0.002)
        answer = [ended.pop(child) for child in children]
    print(json.dumps(answer), flush=True)
have_ended(running.copy(), late=True)
"""


class Server:
    """Runs commands one after the other, or starts one that goes on by itself.

    Attributes:
        errors: what the latest command wrote to stderr
    """

    def __init__(self):
        handle, self._file = tempfile.mkstemp()
        os.close(handle)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(python_code.command(_PROGRAM), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def run(self, *words, seconds=600.0, largest=None, ports=()):
        """The exit status, -9 where it was killed.

        Args:
            seconds: for which it may run
            largest: bytes of a file; what would be longer cannot be written
            ports: a free one, once for each process of a group; they are killed together
        """
        statuses = self._order(words=words, seconds=seconds, largest=largest, ports=ports)
        return -9 if -9 in statuses else max(statuses, key=abs)

    def start(self, *words):
        """A command that runs beside whoever called: a :class:`Running`. One at a time."""
        return Running(self, self._order(words=words, seconds=None, largest=None, ports=())["children"])

    @property
    def errors(self):
        with open(self._file, errors="replace") as file:
            return file.read()

    def _order(self, words=(), **order):
        if words:
            with open(self._file, "w"):
                pass
        self.process.stdin.write(json.dumps({"words": [str(word) for word in words], "errors": self._file, **order}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(600)  # on a busy machine Python takes its time to end
        os.unlink(self._file)


class Running:
    """A command that goes on until it ends, or its server is closed."""

    def __init__(self, server, children):
        self._server, self._children = server, children
        (self.pid,) = children

    def has_ended(self):
        return self._server._order(children=self._children, seconds=None)["ended"]

    def wait(self, seconds=300.0):
        """The exit status: negative, that of the signal that ended it. It is killed when its time is over."""
        (status,) = self._server._order(children=self._children, seconds=seconds)
        return status
