"""A process that has imported what all tests import, but nothing of the project, and forks itself for each run of pytest: importing
PyTorch takes longer than most of these tests.

Reads a line of JSON for each run, {"arguments": of pytest, "environment": variables, "output": file, "seconds": at most}, and answers
with a line, the exit status: negative for the signal that ended it, null where it took longer.
"""

import importlib
import json
import os
import signal
import sys
import time

# Not triton, which has to be told before that it is to interpret its kernels.
IMPORTED = ("torch", "numpy", "yaml", "pytest", "hypothesis", "sklearn.datasets", "sklearn.model_selection", "scipy.io", "matplotlib.figure",
            "PIL.Image", "rich.progress", "torch.utils.tensorboard", "torch.testing", "torch.distributed")  # fmt: skip


def main() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    assert not sys.modules.keys() & {"spikeops", "spiketrain", "triton"}
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


def run(order: dict) -> int | None:
    child = os.fork()
    if child == 0:
        os.setsid()  # so that what the tests start can be ended with them
        status = 3
        try:
            status = test(order)
        finally:
            sys.stdout.flush()
            os._exit(status)
    deadline = time.monotonic() + order["seconds"]
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def test(order: dict) -> int:
    """In the new process."""
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.environ.update(order["environment"])
    sys.path[:0] = order["environment"]["PYTHONPATH"].split(os.pathsep)
    sys.dont_write_bytecode = True  # a change within the same second and of the same length would not be seen
    import pytest

    return int(pytest.main(order["arguments"]))


if __name__ == "__main__":
    main()
