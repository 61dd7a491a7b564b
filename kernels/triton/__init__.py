"""The ops in Triton: for GPUs that the native CUDA library was not built for, and a second opinion on its numbers.

Every function takes the positional arguments of its schema in csrc/<family>.cpp, already checked, and returns what the schema says.
The arithmetic mirrors kernels/math operation by operation, so that float32 spikes equal the native ones bit for bit.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator


def _ops() -> Iterator[tuple[str, Callable]]:
    """By name: the functions of each family's module. What is no op begins with an underscore."""
    for family in pkgutil.iter_modules(__path__):
        if not family.name.startswith("_"):
            module = importlib.import_module(f"{__name__}.{family.name}")
            for name, function in inspect.getmembers(module, inspect.isfunction):
                if function.__module__ == module.__name__ and not name.startswith("_"):
                    yield name, function


IMPLEMENTATIONS = dict(_ops())
