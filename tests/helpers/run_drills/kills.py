"""Runs that are killed without warning at random moments, again and again, and are resumed: they end as if nothing had happened.

A server imports the pipeline once and forks a process for each command, which saves the seconds of importing it anew.
"""

import json
import os
import random
import subprocess
import time
from pathlib import Path

import python_code
import torch

from spiketrain.training import checkpoint

TIMES = ("train_seconds", "test_seconds")
COMMON = ["--trainer.limit_train=200", "--trainer.limit_test=40", "--trainer.batch_size=20", "--trainer.threads=1", "--trainer.progress=off",
          "--data.augment=true", "--trainer.epochs=3", "--trainer.checkpoint_minutes=0.0005"]  # fmt: skip
RUNS = {"bptt-digits": ["--network.dropout=0.2"], "spide-digits": ["--network.time_steps=4"], "bell-digits": [], "convex-digits": []}

SERVER = """
import json, os, signal, sys, time
from spiketrain.cli import main
from spiketrain.training.trainer import Trainer
import spiketrain.data.digits, sklearn.datasets, sklearn.model_selection, torch.utils.tensorboard
Trainer._draw = lambda *_: None
for line in sys.stdin:
    words, seconds = json.loads(line)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main(words))
    deadline = time.monotonic() + seconds
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.002)
    if done == (0, 0):
        os.kill(child, signal.SIGKILL)
        done = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(done[1]), flush=True)
"""


class Server:
    """Runs commands one after the other, each for so many seconds at most."""

    def __init__(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(python_code.command(SERVER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def run(self, *words, seconds=600.0):
        """The exit status, -9 where it was killed."""
        self.process.stdin.write(json.dumps([[str(word) for word in words], seconds]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def drill(count, seed, folder):
    """Yields (what was done, fault or None) of each run, until `count` kills are done."""
    draw = random.Random(seed)
    server = Server()
    straight, seconds = {}, {}
    try:
        kills = number = 0
        while kills < count:
            preset = list(RUNS)[number % len(RUNS)]
            train = ("train", preset, *RUNS[preset], *COMMON, "--trainer.out")
            if preset not in straight:
                assert server.run(*train, folder / preset) == 0
                straight[preset] = checkpoint.load(folder / preset / "last.ckpt")
                started = time.monotonic()  # once more: the first one also reads what the system has not in memory yet
                assert server.run(*train, folder / f"{preset}-again") == 0
                seconds[preset] = time.monotonic() - started
            out, mine, fault = folder / f"killed-{number}", 0, None
            status = -9
            while status == -9:
                words = ("resume", out) if out.exists() else (*train, out)
                limit = draw.uniform(0.0, 0.6 * seconds[preset]) if kills < count else 600.0
                status = server.run(*words, seconds=limit)
                mine, kills = mine + (status == -9), kills + (status == -9)
            if status != 0:
                fault = f"exit status {status}"
            else:
                fault = _difference(straight[preset], checkpoint.load(out / "last.ckpt")) or _leftovers(folder)
            yield f"{preset}, killed {mine} times", mine, fault
            number += 1
    finally:
        server.close()


def _leftovers(folder):
    left = [path for path in Path(folder).rglob(".*") if path.name.startswith((".unfinished", ".lock"))]
    return f"left behind: {left[0]}" if left else None


def _difference(expected, found, path=""):
    """Where two checkpoints differ, but for the clock's times and the place of the run."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return f"{path}: other names"
        parts = ((_difference(expected[key], found[key], f"{path}/{key}")) for key in expected if key not in (*TIMES, "out"))
        return next((part for part in parts if part), None)
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)) and len(expected) == len(found):
        parts = (_difference(a, b, f"{path}/{i}") for i, (a, b) in enumerate(zip(expected, found)))
        return next((part for part in parts if part), None)
    same = torch.equal(expected, found) if isinstance(expected, torch.Tensor) else expected == found
    return None if same else f"{path} differs"
