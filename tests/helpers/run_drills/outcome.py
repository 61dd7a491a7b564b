"""What a command made of something that is wrong."""

import contextlib
import io
import time
import traceback
from typing import NamedTuple

from spiketrain.cli import main

SLOWEST = 10.0  # seconds of work of a command


class Outcome(NamedTuple):
    """`fault` is None where the command did well: status 0, or 2 with one line."""

    status: int | None
    line: str
    fault: str | None


def of_command(*words, longest=1000):
    """Run a command in this process. An error may have `longest` characters."""
    out, err = io.StringIO(), io.StringIO()
    started = time.process_time()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([str(word) for word in words])
    except BaseException:
        return Outcome(None, "", f"a traceback: {traceback.format_exc()}")
    seconds, lines = time.process_time() - started, err.getvalue().splitlines()
    fault = None
    if status not in (0, 2):
        fault = f"exit status {status}"
    elif status == 2 and (len(lines) != 1 or not lines[0].startswith("spiketrain: error: ") or len(lines[0]) > longest):
        fault = f"not one short line: {lines}"
    elif seconds > SLOWEST:
        fault = f"took {seconds:.1f} s"
    return Outcome(status, lines[-1] if lines else "", fault)
