"""From a command line to an exit status: errors that the user can mend end as one line."""

from __future__ import annotations

import os
import sys
import warnings

from spiketrain.cli.arguments import join_fields, make_parser
from spiketrain.cli.commands import EXIT_INTERRUPTED
from spiketrain.errors import UserError
from spiketrain.memory import keep_freed_memory

EXIT_USER_ERROR = 2


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for an error the user can mend, 130 when interrupted."""
    if argv is None:  # this process is ours
        keep_freed_memory()
    parser = make_parser()
    arguments, rest = parser.parse_known_args(join_fields(sys.argv[1:] if argv is None else argv))
    if rest and not arguments.takes_fields:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            return arguments.run(arguments, rest)
    except UserError as error:
        print(f"spiketrain: error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("spiketrain", "spikeops"):
            raise
        print(
            f"spiketrain: error: the package '{error.name}' is missing. Install the extra: pip install 'spikeops[train]'",
            file=sys.stderr,
        )
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("spiketrain: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_USER_ERROR


def _print_warning(message: Warning | str, *_) -> None:
    print(f"spiketrain: warning: {message}", file=sys.stderr)
