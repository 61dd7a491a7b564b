"""From a command line to an exit status: errors that the user can mend end as one line."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings

from spiketrain import plugins, presets
from spiketrain.cli.arguments import make_parser, split_fields
from spiketrain.config.raw import split_options
from spiketrain.errors import UserError, printable
from spiketrain.training.interrupt import Stopped, stopping_at_once

EXIT_USER_ERROR = 2
_OF_SEVERAL_PROCESSES = ("train", "resume", "evaluate", "reproduce", "sweep")  # the last two say themselves how they start them


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for an error the user can mend, 130 after Ctrl-C, 143 after SIGTERM."""
    if argv is not None:
        return _run(argv, is_own_process=False)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # a file name that is no text, a terminal that knows no such letter
    try:
        with stopping_at_once():
            return _run(sys.argv[1:], is_own_process=True)
    except Stopped as stopped:  # on the way out
        return stopped.status


def _run(argv: list[str], is_own_process: bool) -> int:
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            own, fields = split_fields(argv)
            arguments, rest = make_parser().parse_known_args(own)
            if rest:
                raise UserError(f"unrecognized arguments: {' '.join(rest)}. See 'spiketrain --help'")
            arguments.is_own_process = is_own_process
            return _run_command(arguments, fields)
    except UserError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("spiketrain", "spikeops"):
            raise
        return _fail(f"the package '{error.name}' is missing. Install the extra: pip install 'spikeops[train]'")
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        reason = str(error).strip().split("\n")[0]
        return _fail(f"out of memory: {reason or 'Python can get no more'}. Try a smaller trainer.batch_size or trainer.eval_batch_size")
    except KeyboardInterrupt as error:
        print("spiketrain: interrupted", file=sys.stderr)
        return error.status if isinstance(error, Stopped) else Stopped().status
    except BrokenPipeError:  # whoever read our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_USER_ERROR


def _run_command(arguments: argparse.Namespace, fields: list[str]) -> int:
    """Run it where the code that its command line names, and no other, may be imported."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and arguments.run.__name__ not in _OF_SEVERAL_PROCESSES:
        raise UserError("of these commands, only train, resume and eval are for several processes: start it without torchrun")
    given = getattr(arguments, "plugin", [])
    named = plugins.named_modules(split_options(fields))
    with plugins.allowed([*given, *named]), presets.also_in(getattr(arguments, "presets_folder", None)):
        for module in given:
            plugins.import_module(module)
        return arguments.run(arguments, fields)


def _fail(message: str) -> int:
    print(f"spiketrain: error: {printable(message)}", file=sys.stderr)
    return EXIT_USER_ERROR


def _is_out_of_memory(error: Exception) -> bool:
    # torch.OutOfMemoryError is that of devices; the allocator of the CPU raises a plain RuntimeError.
    names = [cls.__name__ for cls in type(error).__mro__]
    text = str(error)
    return isinstance(error, MemoryError) or "OutOfMemoryError" in names or "can't allocate memory" in text or "not enough memory" in text


def _print_warning(message: Warning | str, *_) -> None:
    print(f"spiketrain: warning: {message}", file=sys.stderr)
