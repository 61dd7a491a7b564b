"""What the project's tests and benchmarks know of each op: a file for each family, found by its place in this folder.

A case file may hold (see the classes in op_tests/kinds.py and op_tests/measured.py):

    RAW                   calls of torch.ops.spikeops, forward and backward: {name: inputs -> (op, arguments)}
    CALLS                 of spikeops.functional, each beside its definition
    SMOOTH                functions whose gradients are compared with differences
    MODULES               of spikeops.nn
    ON_DEVICE             sequences of calls for the tests on a GPU, besides each of CALLS
    MEASURED              what the benchmarks measure
    TRANSFORMED           of both, for the tests of PyTorch's transforms: {name of the function or module: op_tests.transformed.Call}
    TESTED_ELSEWHERE      ops without a raw call here: {op: the file of tests/ops that tests it}
    NUMBERS               of both, for the tests of numbers: {function or class: (call, its numbers)}
    TOO_SMALL_TO_POISON   raw calls with so small an output that no test can tell which memory it came to lie in
    WITHOUT_TRITON        raw calls that the tests of Triton's twins leave out
"""

from __future__ import annotations

import importlib
import pkgutil

FAMILIES = {module.name: importlib.import_module(f"op_cases.{module.name}") for module in pkgutil.iter_modules(__path__)}


def _all(what: str) -> dict:
    """The entries of all families by their names, which must differ."""
    found: dict = {}
    for family, module in FAMILIES.items():
        entries = getattr(module, what, ())
        for name, entry in entries.items() if isinstance(entries, dict) else ((str(entry), entry) for entry in entries):
            assert name not in found, f"op_cases/{family}.py: {what} has {name}, which another entry is called already"
            found[name] = entry
    return found


KINDS = ("RAW", "CALLS", "SMOOTH", "MODULES", "ON_DEVICE", "MEASURED", "TESTED_ELSEWHERE", "TOO_SMALL_TO_POISON", "WITHOUT_TRITON",
         "TRANSFORMED", "NUMBERS")  # fmt: skip
RAW, CALLS, SMOOTH, MODULES, ON_DEVICE, MEASURED, TESTED_ELSEWHERE, TOO_SMALL_TO_POISON, WITHOUT_TRITON, TRANSFORMED, NUMBERS = map(_all, KINDS)


def first_calls() -> dict:
    """function of spikeops.functional -> the first of its calls; the one with its name alone, wherever its file stands."""
    found: dict = {}
    for call in sorted(CALLS.values(), key=lambda call: call.name != call.function):
        found.setdefault(call.function, call)
    return found
