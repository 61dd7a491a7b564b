"""Configurations that are wrong in their text or in a value."""

import random

import yaml
from run_drills.outcome import Outcome, of_command

from spiketrain import presets
from spiketrain.methods import load_config

PRESETS = ("bptt-digits", "tsslbp-digits", "spide-digits", "ide-digits", "bell-digits", "convex-digits")
VALUES = ("", "~", "[]", "{}", "[[1]]", "{a: 1}", "true", ".nan", "nan", "inf", "-1", "1e400", "9" * 400, "x" * 5000, "[1, [2]]", "*a", "&a [*a]",
          "!!python/name:os.system", "{class_path: payload.X}", "'\\0'", "\"\\0\"", "|", ">", "@", "`", "%", "2.5.1", "--", "? a", "[" * 500)  # fmt: skip
SIGNS = ":[]{}&*!|>%@`\"'#?-,~\t\0 \n\x85\ud7ff"


def drill(count, seed, folder):
    """Yields (what was done, `Outcome`) of `count` configurations, each tried by ``train``."""
    draw = random.Random(seed)
    for number in range(count):
        preset = draw.choice(PRESETS)
        config = load_config(presets.load(preset), ["--trainer.limit_train=40", "--trainer.limit_test=20", "--trainer.batch_size=20"])
        text, what = _damaged(yaml.safe_dump(config.to_dict(), sort_keys=False), draw)
        path = folder / "a.yaml"
        path.write_bytes(text.encode(errors="replace") if isinstance(text, str) else text)
        # A data set that is not there ends the command where the configuration is good: nothing is trained.
        words = ("train", "--config", path, "--data.name", "mnist", "--data.root", folder / "nowhere")
        outcome = of_command(*words, longest=len("spiketrain: error: ") + 300)
        if outcome.fault is None and outcome.status != 2:
            outcome = Outcome(outcome.status, outcome.line, "trained without data")
        yield f"{number}: {preset}, {what}", outcome


def _damaged(text, draw):
    lines = text.splitlines()
    way = draw.choice(("value", "value", "value", "signs", "line twice", "line gone", "indent", "cut", "bytes", "section"))
    if way == "value":
        at = draw.choice([i for i, line in enumerate(lines) if ": " in line])
        value = draw.choice(VALUES)
        lines[at] = f"{lines[at].partition(': ')[0]}: {value}"
        return "\n".join(lines), f"{lines[at].strip()[:60]}"
    if way == "section":
        at = draw.choice([i for i, line in enumerate(lines) if line.endswith(":")])
        lines[at] += f" {draw.choice(VALUES)}"
        return "\n".join(lines), f"{lines[at][:60]}"
    if way == "signs":
        for _ in range(draw.randint(1, 5)):
            at = draw.randrange(len(text))
            text = text[:at] + draw.choice(SIGNS) + text[at + draw.randint(0, 1) :]
        return text, way
    if way in ("line twice", "line gone", "indent"):
        at = draw.randrange(len(lines))
        lines[at : at + 1] = {"line twice": [lines[at]] * 2, "line gone": [], "indent": [draw.choice(" \t") + lines[at]]}[way]
        return "\n".join(lines), f"{way} {at}"
    if way == "cut":
        return text[: draw.randrange(len(text))], way
    raw = bytearray(text.encode())
    for _ in range(draw.randint(1, 20)):
        raw[draw.randrange(len(raw))] = draw.randrange(256)
    return bytes(raw), way
