"""Runs that are killed without warning at random moments, again and again, and are resumed: they end as if nothing had happened."""

import random
import time
from pathlib import Path

import torch
from trained_runs import OF_THE_MACHINE

from run_drills.server import Server
from spiketrain.training import checkpoint

COMMON = ["--trainer.limit_train=200", "--trainer.limit_test=40", "--trainer.batch_size=20", "--trainer.threads=1", "--trainer.progress=off",
          "--data.augment=true", "--trainer.epochs=3", "--trainer.checkpoint_minutes=0.0005"]  # fmt: skip
# What is run, in how many processes.
RUNS = [
    ("bptt-digits", ["--network.dropout=0.2"], 1),
    ("spide-digits", ["--network.time_steps=4"], 1),
    ("ide-digits", ["--network.time_steps=4", "--network.dropout=0.2"], 2),
    ("bell-digits", [], 1),
    ("convex-digits", [], 1),
]


def drill(count, seed, folder):
    """Yields (what was done, kills, fault or None) of each run, until `count` kills are done. A group of processes is killed as one."""
    draw = random.Random(seed)
    server = Server()
    straight, seconds = {}, {}
    try:
        kills = number = 0
        while kills < count:
            preset, options, processes = RUNS[number % len(RUNS)]
            train = ("train", preset, *options, *COMMON, "--trainer.out")

            def run(*words, processes=processes, **limits):
                return server.run(*words, processes=processes if processes > 1 else None, **limits)

            if preset not in straight:
                assert run(*train, folder / preset) == 0, server.errors
                straight[preset] = checkpoint.load(folder / preset / "last.ckpt")
                started = time.monotonic()  # once more: the first one also reads what the system has not in memory yet
                assert run(*train, folder / f"{preset}-again") == 0, server.errors
                seconds[preset] = time.monotonic() - started
            out, mine, fault = folder / f"killed-{number}", 0, None
            status = -9
            while status == -9:
                words = ("resume", out) if out.exists() else (*train, out)
                # Longer from time to time: a machine that has become busier must not keep a run from getting anywhere.
                longest = (0.6 + 0.1 * mine) * seconds[preset]
                limit = draw.uniform(0.0, longest) if kills < count else 600.0
                started = time.monotonic()
                status = run(*words, seconds=limit)
                if status == 0 and mine == 0:  # nor must one that has become idle let all of them through
                    seconds[preset] = min(seconds[preset], time.monotonic() - started)
                mine, kills = mine + (status == -9), kills + (status == -9)
            if status != 0:
                fault = f"exit status {status}: {server.errors}"
            else:
                fault = difference(straight[preset], checkpoint.load(out / "last.ckpt")) or leftovers(folder)
            yield f"{preset}, {processes} processes, killed {mine} times", mine, fault
            number += 1
    finally:
        server.close()


def leftovers(folder):
    left = [path for path in Path(folder).rglob(".*") if path.name.startswith((".unfinished", ".lock"))]
    return f"left behind: {left[0]}" if left else None


def difference(expected, found, path=""):
    """Where two checkpoints differ, but for the clock's times and the place of the run."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return f"{path}: other names"
        parts = ((difference(expected[key], found[key], f"{path}/{key}")) for key in expected if key not in (*OF_THE_MACHINE, "out"))
        return next((part for part in parts if part), None)
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)) and len(expected) == len(found):
        parts = (difference(a, b, f"{path}/{i}") for i, (a, b) in enumerate(zip(expected, found)))
        return next((part for part in parts if part), None)
    same = torch.equal(expected, found) if isinstance(expected, torch.Tensor) else expected == found
    return None if same else f"{path} differs"
