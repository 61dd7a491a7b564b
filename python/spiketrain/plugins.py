"""Code from outside the package: methods, networks and data sets that are named by an entry point, or as ``package.module:name``.

What is imported somebody has asked for: an entry point by installing its package, a module by naming it on the command line, as
``--method.name package.module:Class`` or ``--plugin package.module``, or, in a program, by `allowed`. A name in a file is no such wish: a
configuration, a preset or a run's checkpoint may come from somebody else.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from spiketrain.errors import UserError, message_of, shortened, unknown_name

# The field that names it -> the group of entry points, and what messages call it.
GROUPS = {
    "method.name": ("spiketrain.methods", "method"),
    "network.model": ("spiketrain.networks", "network"),
    "data.name": ("spiketrain.datasets", "data set"),
}
PRESETS = "spiketrain.presets"  # the group of entry points that name a package of YAML files
_HERE = str(Path(__file__).parent)
_INSTALLED = ("<", *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_allowed: ContextVar[tuple[str, ...]] = ContextVar("allowed_modules", default=())
_asked_for: ContextVar[set[str] | None] = ContextVar("packages_asked_for", default=None)  # those of the code that was asked for since `allowed`


@contextlib.contextmanager
def allowed(modules: Iterable[str]) -> Iterator[None]:
    """Inside, a configuration may name code in these modules: ``with plugins.allowed(["package.module"]): ...``.

    Raises:
        UserError: one is no name of a module.
    """
    modules = list(modules)
    for module in modules:
        if not _is_dotted(module):
            raise UserError(f"--plugin: expected the name of a module, such as package.module, got {shortened(module, 60)}")
    allowed_before, asked_for_before = _allowed.set(tuple(dict.fromkeys([*_allowed.get(), *modules]))), _asked_for.set(set())
    try:
        yield
    finally:
        _allowed.reset(allowed_before)
        _asked_for.reset(asked_for_before)


def allowed_modules() -> tuple[str, ...]:
    """The modules whose code a configuration may name here and now: for processes that go on with it."""
    return _allowed.get()


def named_modules(options: Iterable[tuple[str, str]]) -> list[str]:
    """The modules that options ``(name of a field, text)`` of a command line name."""
    modules = [text.partition(":")[0] for name, text in options if name in GROUPS and is_reference(text)]
    return [module for module in modules if _is_dotted(module)]


def import_module(module: str) -> Any:
    """A module that the user has asked for, installed or from the folder in which the command runs.

    Raises:
        UserError: there is none, or it cannot be imported; the message says where in it that failed.
    """
    _look_in_working_folder(module)
    _note(module)
    try:
        return importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever foreign code does, sys.exit included
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise UserError(f"there is no module {shortened(module, 100)}, neither installed nor in the folder {_folder()}") from None
        raise UserError(f"cannot import {shortened(module, 100)}: {described(error)}") from error


def _note(module: str) -> None:
    if (packages := _asked_for.get()) is not None:
        packages.add(module.partition(".")[0])


def is_reference(name: object) -> bool:
    """Whether a name is one in a module, ``package.module:name``."""
    return isinstance(name, str) and ":" in name


def installed(field: str) -> list[str]:
    """Names of what installed packages bring for a field. Nothing is imported."""
    return sorted({point.name for point in entry_points(GROUPS[field][0])})


def entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
    """The entry points of a group in the packages that are on the path. What lies in the working folder was not installed."""
    return _entry_points(group, tuple(sys.path), Path(_folder()).resolve())


@functools.lru_cache(maxsize=32)  # it reads a file of each package
def _entry_points(group: str, path: tuple[str, ...], working: Path) -> list[importlib.metadata.EntryPoint]:
    points = importlib.metadata.entry_points(group=group)
    return [point for point in points if point.dist is None or Path(str(point.dist.locate_file(""))).resolve() != working]


def load(field: str, name: str) -> Any:
    """What a field names: in a module, or by an entry point.

    Raises:
        UserError: a module that nobody has asked for but a file, one that cannot be imported or has no such name, or two installed
            packages with the same name.
    """
    if not is_reference(name):
        return _load_installed(field, name)
    module, _, path = name.partition(":")
    if not (_is_dotted(module) and _is_dotted(path)):
        raise UserError(f"{field}: expected package.module:name for code of one's own, got {shortened(name, 60)}")
    if module not in _allowed.get():
        raise UserError(
            f"{field}: {shortened(name, 80)} is code that a file names, not this command line, and is not imported. If you trust it, "
            f"add --plugin {shortened(module, 80)}"
        )
    found, where = import_module(module), module
    for part in path.split("."):
        try:
            inner = getattr(found, part)
        except AttributeError:
            names = vars(found) if hasattr(found, "__dict__") else ()
            public = [other for other in names if isinstance(other, str) and not other.startswith("_")]
            raise unknown_name(f"name in {shortened(where, 60)}", part, public) from None
        except Exception as error:  # a module may have a __getattr__ of its own
            raise UserError(f"{field}: {shortened(name, 80)}: {described(error)}") from error
        found, where = inner, f"{where}.{part}"
    return found


def _load_installed(field: str, name: str) -> Any:
    group, kind = GROUPS[field]
    points = sorted((point for point in entry_points(group) if point.name == name), key=lambda point: point.value)
    if len({point.value for point in points}) > 1:
        packages = " and ".join(sorted(point.dist.name if point.dist else "?" for point in points))
        raise UserError(f"{field}: the packages {packages} both have a {kind} {name}; write {points[0].value} or {points[1].value}")
    _note(points[0].module)
    try:
        return points[0].load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise UserError(f"{field}: cannot import {name}, the {kind} {points[0].value}: {described(error)}") from error


def described(error: BaseException) -> str:
    """What went wrong in foreign code, and where in it."""
    text = shortened(" ".join(message_of(error).split()), 120)
    said = f"{type(error).__name__}{f': {text}' if text else ''}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    own = [frame for frame in frames if f"{os.sep}site-packages{os.sep}" not in frame.filename] or frames
    return f"{said} ({shortened(Path(own[-1].filename).name, 40)}, line {own[-1].lineno})" if own else said


def is_at_fault(error: BaseException) -> bool:
    """Whether code that was asked for since `allowed` raised it, or called what did: in a network's forward, a batch, a hook."""
    packages = _asked_for.get()
    if not packages:
        return False
    beside = tuple({f"{folder}{os.sep}" for folder in map(_folder_of, packages) if folder})
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package, file = str(frame.f_globals.get("__name__")).partition(".")[0], frame.f_code.co_filename
        is_beside = package not in ("spiketrain", "spikeops") and file.startswith(beside) and not file.startswith(_INSTALLED)
        if package in packages or is_beside:  # a module that lies beside one that was asked for is imported by that one
            return True
    return False


def _folder_of(package: str) -> str:
    """Where a package or module lies; "" if that is not known."""
    file = getattr(sys.modules.get(package), "__file__", None)
    if not isinstance(file, str):
        return ""
    folder = os.path.dirname(os.path.abspath(file))
    return os.path.dirname(folder) if hasattr(sys.modules[package], "__path__") else folder


def _is_ours(file: str) -> bool:
    """Whether a frame is of this package or of Python's own machinery."""
    return file.startswith((_HERE, "<frozen")) or file == importlib.__file__


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _look_in_working_folder(module: str) -> None:
    """Let the folder in which the command runs be the last that modules are looked for in, if this one is there and nowhere else."""
    top = module.partition(".")[0]
    folder = _folder()
    with contextlib.suppress(ImportError, ValueError):  # of a module that is there, but half
        if top in sys.modules or folder in sys.path or importlib.util.find_spec(top) is not None:
            return
    importlib.invalidate_caches()
    if importlib.machinery.PathFinder.find_spec(top, [folder]) is not None:
        sys.path.append(folder)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return os.curdir
