"""From a command line to an exit status: errors that the user can mend end as one line."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings

from spiketrain import launcher, plugins, presets
from spiketrain.cli.arguments import make_parser, split_fields
from spiketrain.config.raw import split_options
from spiketrain.errors import UserError, message_of, printable, shortened
from spiketrain.training.interrupt import Stopped, stopping_at_once

EXIT_USER_ERROR = 2
# What CUDA says of a device that is gone, broken or taken by others. An illegal access or a failed assertion is a fault of a program, whose
# traceback is wanted.
LOST_DEVICE = (
    "no CUDA-capable device", "No CUDA GPUs are available", "invalid device ordinal", "busy or unavailable", "uncorrectable ECC error",
    "uncorrectable NVLink error", "unknown error", "unspecified launch failure", "launch timed out",
    "system not yet initialized", "external device", "driver shutting down", "is lost",
)  # fmt: skip
_OF_SEVERAL_PROCESSES = ("train", "resume", "evaluate")


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
            try:
                arguments, rest = make_parser().parse_known_args(own)
            except SystemExit:  # of --help and --version, which have printed
                _flush()
                raise
            if rest:
                raise UserError(f"unrecognized arguments: {' '.join(rest)}. See 'spiketrain --help'")
            arguments.is_own_process = is_own_process
            status = _run_command(arguments, fields)
            _flush()
            return status
    except UserError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("spiketrain", "spikeops"):
            raise
        return _fail(f"the package '{error.name}' is missing. Install the extra: pip install 'spikeops[train]'")
    except (MemoryError, RuntimeError) as error:
        reason = message_of(error).strip().split("\n")[0].rstrip(".")
        if _is_out_of_memory(error):
            return _fail(f"out of memory: {reason or 'Python can get no more'}. Try a smaller trainer.batch_size or trainer.eval_batch_size")
        if _is_lost_device(error):
            return _fail(f"the GPU failed: {reason}. Look for it with nvidia-smi; 'spiketrain resume RUN' goes on from the last checkpoint")
        raise
    except KeyboardInterrupt as error:
        print("spiketrain: interrupted", file=sys.stderr)
        return error.status if isinstance(error, Stopped) else Stopped().status
    except BrokenPipeError:  # whoever read our output, such as head, has seen enough
        _print_no_more()
        return EXIT_USER_ERROR
    except OSError as error:  # what no command has expected, such as standard output on a full disk
        _print_no_more()
        return _fail(shortened(f"cannot read or write: {error}"))


def _run_command(arguments: argparse.Namespace, fields: list[str]) -> int:
    """Run it where the code that its command line names, and no other, may be imported."""
    if launcher.processes() > 1 and arguments.run.__name__ not in _OF_SEVERAL_PROCESSES:
        starts = "this command starts its processes itself (--parallel N)" if hasattr(arguments, "parallel") else ""
        raise UserError(f"{starts or 'only train, resume and eval are for several processes'}: start it without torchrun")
    given = getattr(arguments, "plugin", [])
    named = plugins.named_modules(split_options(fields))
    with plugins.allowed([*given, *named]), presets.also_in(getattr(arguments, "presets_folder", None)):
        for module in given:
            plugins.import_module(module)
        try:
            return arguments.run(arguments, fields)
        except (UserError, KeyboardInterrupt, BrokenPipeError):
            raise
        except BaseException as error:  # foreign code can raise anything, at any moment; sys.exit would pass for an end of ours
            ours = _is_out_of_memory(error) or _is_lost_device(error)
            if ours or not plugins.is_at_fault(error):
                raise
            raise UserError(f"code that the command line names has failed: {plugins.described(error)}") from error


def _print_no_more() -> None:
    """Let what is still to be written to a broken standard output go nowhere."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _flush() -> None:
    with contextlib.suppress(AttributeError, ValueError):  # there is none, or it is closed
        sys.stdout.flush()


def _fail(message: str) -> int:
    print(f"spiketrain: error: {printable(message)}", file=sys.stderr)
    return EXIT_USER_ERROR


def _is_out_of_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError is that of devices; the allocator of the CPU raises a plain RuntimeError.
    names = [cls.__name__ for cls in type(error).__mro__]
    # CUDA's own allocations, as of a kernel that is loaded, and those of cuBLAS are beside PyTorch's.
    texts = (
        *("can't allocate memory", "not enough memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"),
        "the CUDA kernel could not be launched: out of memory",
    )
    return isinstance(error, MemoryError) or "OutOfMemoryError" in names or any(text in message_of(error) for text in texts)


def _is_lost_device(error: BaseException) -> bool:
    """Whether CUDA, asked by PyTorch or by our kernels, says so."""
    text = message_of(error).strip().split("\n")[0]
    return any(word in text for word in ("CUDA", "CUBLAS", "cuDNN", "CUDNN")) and any(words in text for words in LOST_DEVICE)


def _print_warning(message: Warning | str, *_) -> None:
    print(f"spiketrain: warning: {message}", file=sys.stderr)
