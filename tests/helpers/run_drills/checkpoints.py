"""Checkpoints that are damaged: in their bytes, or in their contents with sound checksums."""

import copy
import random
import shutil

import torch
from run_drills.outcome import Outcome, of_command

from spiketrain.training import checkpoint
from spiketrain.training.trainer import Trainer

METHODS = {"bptt-digits": ["--network.layers=8-10"], "bell-digits": ["--network.layers=8-10"], "spide-digits": ["--network.time_steps=3"]}
FREE = ("about", "preset", "published", "history", "random", "config")  # where another value may be as good
WRONG = (None, "x", -1, 10**30, 1.5, float("nan"), [], {}, [1], {"class_path": "payload.X"}, True, torch.zeros(0), torch.zeros(3, 2), torch.tensor(7),
         torch.full((2,), float("nan")))  # fmt: skip


def drill(count, seed, folder):
    """Yields (what was done, `Outcome`) of `count` damaged checkpoints, each tried by ``resume`` or ``eval``."""
    draw = random.Random(seed)
    Trainer._draw = lambda *_: None  # pictures take longer than all the rest
    runs = {preset: _trained(preset, options, folder) for preset, options in METHODS.items()}
    for number in range(count):
        preset = draw.choice(list(METHODS))
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(runs[preset], run)
        command, name = draw.choice([(("resume", run, "--trainer.epochs", 2), "last.ckpt"), (("eval", run), "best.ckpt")])
        path = run / name
        in_bytes = draw.random() < 0.5
        what = _damage_bytes(path, draw) if in_bytes else _damage_contents(path, draw)
        before = {path.name: path.read_bytes() for path in run.iterdir()}
        outcome = of_command(*command)
        after = {path.name: path.read_bytes() for path in run.iterdir()}
        if outcome.fault is None and outcome.status == 2 and after != before:
            outcome = Outcome(2, outcome.line, f"changed {sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))}")
        if outcome.fault is None and outcome.status == 0 and in_bytes and not _is_the_same(before[name], runs[preset] / name):
            outcome = Outcome(0, outcome.line, "went on from other numbers")
        yield f"{number}: {preset}, {command[0]}, {what}", outcome


def _trained(preset, options, folder):
    small = ["--trainer.limit_train=40", "--trainer.limit_test=20", "--trainer.batch_size=20", "--trainer.epochs=1", "--trainer.threads=1"]
    outcome = of_command("train", preset, *options, *small, "--trainer.out", folder / preset)
    assert outcome.status == 0, outcome
    return folder / preset


def _damage_bytes(path, draw):
    raw = bytearray(path.read_bytes())
    way = draw.choice(("bit", "bits", "cut", "zeros", "swap", "more", "other"))
    at = draw.randrange(len(raw))
    if way in ("bit", "bits"):
        for _ in range(1 if way == "bit" else 20):
            at = draw.randrange(len(raw))
            raw[at] ^= 1 << draw.randrange(8)
    elif way == "cut":
        raw = raw[:at]
    elif way == "zeros":
        raw[at : at + 512] = bytes(len(raw[at : at + 512]))
    elif way == "swap":
        half = len(raw) // 2
        raw = raw[half:] + raw[:half]
    elif way == "more":
        raw += bytes(draw.randrange(256) for _ in range(100))
    else:
        raw = bytearray(draw.choice((b"", b"PK\x05\x06" + bytes(18), b"\x80\x02}.", b"x" * 1000)))
    path.write_bytes(raw)
    return f"{way} at {at}"


def _is_the_same(raw, sound):
    """Whether a file that was read in spite of the damage holds what it held: a zip archive has some bytes that nobody reads."""
    other = sound.parent / "other.ckpt"
    other.write_bytes(raw)
    try:
        return str(checkpoint.load(other)) == str(checkpoint.load(sound))
    finally:
        other.unlink()


def _damage_contents(path, draw):
    content = torch.load(path, weights_only=True)
    way, place = [], content
    while isinstance(place, (dict, list)) and len(place) and (not way or draw.random() < 0.85):
        key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        way.append((place, key))
        place = place[key]
    place, key = way[-1]
    name = "/".join(str(key) for _, key in way)
    if draw.random() < 0.2:
        del place[key]
        what = "gone"
    else:
        value = copy.deepcopy(draw.choice(WRONG))
        place[key] = value
        what = f"{value!r:.40}".replace("\n", " ")
    torch.save(content, path)
    return f"{name} {what}"
