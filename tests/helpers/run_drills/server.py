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
import spiketrain.data.digits, sklearn.datasets, sklearn.model_selection, torch.utils.tensorboard
Trainer._draw = lambda *_: None  # pictures take longer than all the rest
for line in sys.stdin:
    words, seconds, largest, errors, ports = json.loads(line)
    children = {}
    for rank, _ in enumerate(ports or [0]):
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(os.open(errors, os.O_WRONLY | os.O_APPEND), 2)
            if largest is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
            if ports:
                os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(ports[0]), WORLD_SIZE=str(len(ports)), RANK=str(rank), LOCAL_RANK=str(rank))
            status = main(words)
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
        children[child] = None
    deadline = time.monotonic() + seconds
    while None in children.values():
        late = time.monotonic() >= deadline
        for child in [child for child, status in children.items() if status is None]:
            if late:
                os.kill(child, signal.SIGKILL)
            done, status = os.waitpid(child, 0 if late else os.WNOHANG)
            if done:
                children[child] = os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    print(json.dumps(list(children.values())), flush=True)
"""


class Server:
    """Runs commands one after the other.

    Attributes:
        errors: what the latest command wrote to stderr
    """

    def __init__(self):
        handle, self._file = tempfile.mkstemp()
        os.close(handle)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(python_code.command(_PROGRAM), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.errors = ""

    def run(self, *words, seconds=600.0, largest=None, ports=()):
        """The exit status, -9 where it was killed.

        Args:
            seconds: for which it may run
            largest: bytes of a file; what would be longer cannot be written
            ports: a free one, once for each process of a group; they are killed together
        """
        with open(self._file, "w"):
            pass
        self.process.stdin.write(json.dumps([[str(word) for word in words], seconds, largest, self._file, list(ports)]) + "\n")
        self.process.stdin.flush()
        statuses = json.loads(self.process.stdout.readline())
        with open(self._file, errors="replace") as file:
            self.errors = file.read()
        return -9 if -9 in statuses else max(statuses, key=abs)

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        os.unlink(self._file)
