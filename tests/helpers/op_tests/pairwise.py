"""Few rows of a large grid that still hold every pair of values of every two factors."""

import itertools
import random

import pytest


def pairwise(**factors):
    """Rows (dicts) so that each pair of levels of each two factors appears in some row. Deterministic."""
    names = list(factors)
    missing = {
        ((a, i), (b, j))
        for a, b in itertools.combinations(names, 2)
        for i, j in itertools.product(range(len(factors[a])), range(len(factors[b])))
    }
    draw = random.Random(0)
    rows = []
    while missing:
        # Start from a missing pair, then give each other factor the level that covers most of what is missing.
        row = dict(min(missing))
        for name in sorted((name for name in names if name not in row), key=lambda name: -len(factors[name])):
            levels = list(range(len(factors[name])))
            draw.shuffle(levels)
            row[name] = max(levels, key=lambda level: _covered(row | {name: level}, names, missing))
        missing -= set(_pairs(row, names))
        rows.append({name: factors[name][row[name]] for name in names})
    return rows


def parametrize(**factors):
    """``@parametrize(dtype=[...], T=[...])``: the test runs on pairwise rows."""
    rows = pairwise(**factors)
    names = list(factors)
    return pytest.mark.parametrize(names, [pytest.param(*(row[n] for n in names), id=_id(row)) for row in rows])


def _pairs(row, names):
    present = [(name, row[name]) for name in names if name in row]
    return itertools.combinations(present, 2)


def _covered(row, names, missing):
    return sum(pair in missing for pair in _pairs(row, names))


def _id(row):
    return "-".join(_word(name, value) for name, value in row.items())


def _word(name, value):
    if isinstance(value, bool):
        return name if value else f"no_{name}"
    if isinstance(value, int):
        return f"{name}{value}"
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "scalar"
    return str(value).removeprefix("torch.")
