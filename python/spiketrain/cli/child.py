"""The command line in a process that another one started and that ends with it: when standard input does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading


def main() -> int:
    """Run the command of `sys.argv`; a parent that is gone is a polite kill. Returns the exit status."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    from spiketrain.cli.program import main

    return main()


def _stop_with_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
