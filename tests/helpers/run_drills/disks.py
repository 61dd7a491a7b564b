"""Disks that are full or read-only when something is to be written: one line, nothing lost, and the run goes on where there is room again."""

import random
import shutil
import subprocess
from pathlib import Path

from run_drills.kills import difference, leftovers
from run_drills.server import Server
from spiketrain.training import checkpoint

COMMON = ["--trainer.limit_train=60", "--trainer.limit_test=20", "--trainer.batch_size=20", "--trainer.threads=1", "--trainer.progress=off",
          "--trainer.epochs=2", "--trainer.checkpoint_minutes=0.0001"]  # fmt: skip
RUNS = {"bptt-digits": [], "bell-digits": ["--network.layers=40-10"]}
LONGEST_LINE = 600
ROOM = 64 << 20


def can_mount(folder: Path) -> bool:
    """Whether this process may mount file systems: that of root, or of a user's own namespace (unshare -rm)."""
    place = folder / "probe"
    place.mkdir()
    done = _mount("-t", "tmpfs", "tmpfs", place)
    if done:
        subprocess.run(["umount", place], check=True)
    place.rmdir()
    return done


def drill(count, seed, folder, mounts):
    """Yields (what was done, exit status, fault or None) of `count` runs. Without `mounts` files have a largest size instead."""
    draw = random.Random(seed)
    server = Server()
    straight, sizes = {}, {}
    try:
        for preset, options in RUNS.items():
            assert server.run("train", preset, *options, *COMMON, "--trainer.out", folder / preset) == 0, server.errors
            straight[preset] = checkpoint.load(folder / preset / "last.ckpt")
            sizes[preset] = [path.stat().st_size for path in (folder / preset).iterdir()]
        for number in range(count):
            preset = draw.choice(list(RUNS))
            ways = (_full, _full, _large, _read_only) if mounts else (_large,)
            disk = folder / f"disk-{number}"
            disk.mkdir()
            train = ("train", preset, *RUNS[preset], *COMMON, "--trainer.out", disk / "run")
            try:
                what, status, fault = draw.choice(ways)(server, train, disk, sizes[preset], draw)
                if fault is None:
                    fault = _ends_as(straight[preset], server, train, disk / "run")
            finally:
                subprocess.run(["umount", disk], stderr=subprocess.DEVNULL)  # fails where none was mounted
            shutil.rmtree(disk)
            yield f"{number}: {preset}, {what}", status, fault
    finally:
        server.close()


def _full(server, train, disk, sizes, draw):
    room = int(draw.uniform(0.02, 3.0) * sum(sizes))
    assert _mount("-t", "tmpfs", "-o", f"size={room}", "tmpfs", disk)
    status = server.run(*train)
    fault = _of_refusal(server, status, disk)
    assert _mount("-o", f"remount,size={ROOM}", disk)
    return f"a disk of {room} bytes", status, fault


def _large(server, train, disk, sizes, draw):
    largest = int(draw.uniform(0.0, 1.1) * max(sizes))
    status = server.run(*train, largest=largest)
    return f"no file above {largest} bytes", status, _of_refusal(server, status, disk)


def _read_only(server, train, disk, sizes, draw):
    """From the start, or after a run that was killed."""
    assert _mount("-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", disk)
    if draw.random() < 0.7:
        server.run(*train, seconds=draw.uniform(0.3, 2.0))
    assert _mount("-o", "remount,ro", disk)
    run = train[-1]
    is_there, has_best = (run / "last.ckpt").exists(), (run / "best.ckpt").exists()
    commands = [("resume", run, "--trainer.epochs", 3), ("plot", run), ("rates", run), ("eval", run)] if is_there else [train]
    command = draw.choice(commands)
    status = server.run(*command)
    if command[0] == "eval" and has_best:  # what it draws beside is not worth its result
        lines = server.errors.splitlines()
        fault = None if status == 0 and len(lines) <= 1 else f"eval: exit status {status}: {lines}"
    else:
        fault = "written on a read-only disk" if status == 0 else _of_refusal(server, status, None)
    assert _mount("-o", "remount,rw", disk)
    return f"read-only, {command[0]}", status, fault


def _of_refusal(server, status, disk):
    """Status 0, or one line and nothing half-written."""
    if status == 0:
        return None
    lines = server.errors.splitlines()
    if status != 2 or len(lines) != 1 or not lines[0].startswith("spiketrain: error: ") or len(lines[0]) > LONGEST_LINE:
        return f"exit status {status}, not one short line: {lines}"
    return leftovers(disk) if disk is not None else None


def _ends_as(straight, server, train, run):
    """Where there is room again, the run goes on, or begins, and ends as it would have ended."""
    words = ("resume", run) if (run / "last.ckpt").exists() else train
    status = server.run(*words)
    if status == 2 and "epochs are complete" in server.errors:
        status = 0
    if status != 0:
        return f"{words[0]} with room: exit status {status}: {server.errors}"
    return difference(straight, checkpoint.load(run / "last.ckpt")) or leftovers(run.parent)


def _mount(*words):
    return subprocess.run(["mount", *map(str, words)], stderr=subprocess.DEVNULL).returncode == 0
