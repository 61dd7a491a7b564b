"""The command that writes a run's network in another format."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from spiketrain.errors import UserError, printable

OPTIONS = ("--format", "--out", "--check", "--dialect", "--dt", "--resize")
FORMATS = "state_dict, pt2, onnx or nir"


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add it by the function that adds a command to the parser."""
    text = (
        f"Write the network of a run as {FORMATS}. Its data set is not needed. What was written is read again, and computes the run's scores, "
        "before it is put in its place."
    )
    added = command("export", export, text)
    added.add_argument("run_dir", metavar="RUN_DIR", help="run directory, or one of its checkpoints")
    about = "state_dict: weights, and a Python file that rebuilds the network with torch and spikeops; pt2: torch.export; onnx; nir"
    added.add_argument("--format", required=True, metavar="FORMAT", help=about)
    added.add_argument("--out", required=True, metavar="FILE", help="the file to write")
    added.add_argument("--check", nargs="+", default=[], metavar="FILE", help="pictures or recordings to compare; default drawn inputs")
    added.add_argument("--resize", action="store_true", help="resize them to the size of the data set's")
    added.add_argument("--dialect", default="nir", metavar="READER", help="of nir: who is to read it, see docs/nir.md; default nir")
    added.add_argument("--dt", default="1e-4", metavar="SECONDS", help="of nir: how long a time step is; default 1e-4")
    added.add_argument("-h", "--help", action="help", help="show this help")


def export(arguments: argparse.Namespace, fields: list[str]) -> int:
    dt = _seconds(arguments.dt)
    given = [f"--{name}" for name, default in (("dialect", "nir"), ("dt", "1e-4")) if getattr(arguments, name) != default]
    if given and arguments.format != "nir":
        raise UserError(f"option {given[0]}: is for --format nir, not for {arguments.format[:60]}")
    if arguments.resize and not arguments.check:
        raise UserError("option --resize: is for the pictures of --check, of which there are none")
    if any(word.partition("=")[0] == "--trainer.device" for word in fields):
        raise UserError("field trainer.device: exports are made on the CPU, and run where their reader puts them")
    from spiketrain.deployment import exporting
    from spiketrain.deployment.model import load_in_own_process

    model = load_in_own_process(arguments.run_dir, fields, device="cpu")
    done = exporting.export(
        model, arguments.format, arguments.out, check=arguments.check, dialect=arguments.dialect, dt=dt, resize=arguments.resize
    )
    for note in model.notes:
        print(f"spiketrain: note: {printable(note)}", file=sys.stderr)
    print(printable(f"wrote {', '.join(map(str, done.files))}: {done.agreement}"))
    for note in done.notes:
        print(printable(note))
    return 0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1e-12 <= seconds <= 1e3:
        raise UserError(f"option --dt: expected seconds, such as 1e-4, got '{text[:60]}'")
    return seconds
