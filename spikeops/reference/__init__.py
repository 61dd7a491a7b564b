"""Every op again in a few lines of plain PyTorch: the definition that all backends are tested against.

Same signatures as :mod:`spikeops.functional`, no argument checks, slow. ``spikeops.set_backend("reference")`` runs it.

A file of this folder defines a family of ops. They are found by their place: what a file lists in ``__all__`` is in this package, too.
Files whose names begin with an underscore hold what several families need.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

__all__: list[str] = []

for _file in pkgutil.iter_modules(__path__):
    if _file.name.startswith("_"):
        continue
    _family = importlib.import_module(f"{__name__}.{_file.name}")
    globals().update({name: getattr(_family, name) for name in _family.__all__})
    __all__ += _family.__all__


def __getattr__(name: str) -> Callable[..., Any]:
    """For type checkers, which do not see what was found."""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}: it has {', '.join(sorted(__all__))}")
