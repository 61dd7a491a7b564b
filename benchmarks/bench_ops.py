"""Every op in every mode, by every provider, on the CPU: rounds of pytest-benchmark, with the providers taking turns."""

from __future__ import annotations

import gc
from dataclasses import replace
from functools import cache

import pytest

from ops.gate import disagreement
from ops.providers import COMPILED, EAGER, FUSED, PUBLISHED, Bench, LeftOut, providers_of, saved_bytes
from ops.registry import FORWARD_GRAD, cases
from ops.schedule import rounds_for, turns

KEEPS_FOR_BACKWARD = (FUSED, EAGER, PUBLISHED)  # whose saved tensors PyTorch lets us see


def _turns(trial: bool, names: str | None):
    listed = [case for case in cases("cpu") if names is None or case.op.name in names.split(",")]
    if not trial:
        return turns(listed, lambda case: providers_of(case, "cpu"))
    small = dict.fromkeys(replace(case, T=min(case.T, 10), N=min(case.N, 2000)) for case in listed)
    return turns(small, lambda case: [p for p in providers_of(case, "cpu") if p != COMPILED], passes=1)


def pytest_generate_tests(metafunc):
    if "turn" in metafunc.fixturenames:
        options = metafunc.config.option
        metafunc.parametrize("turn", list(_turns(options.trial, options.ops)), ids=str)


class Benches:
    """Makes the calls, and forgets those of a case or mode when the next one begins, to give their memory back."""

    def __init__(self):
        self.case = self.mode = self.bench = None
        self.calls = {}

    def call(self, turn):
        if turn.case != self.case or turn.mode != self.mode:
            self.calls = {}
            self.mode = turn.mode
        if turn.case != self.case:
            self.bench = None
            gc.collect()
            self.case, self.bench = turn.case, Bench(turn.case, "cpu")
        if turn.provider not in self.calls:
            self.calls[turn.provider] = self.bench.call(turn.provider, turn.mode)
        return self.calls[turn.provider]


@pytest.fixture(scope="module")
def benches():
    return Benches()


@pytest.fixture(scope="module")
def wanted_ops(request):
    """All ops of this run."""
    return {item.callspec.params["turn"].case.op.name: item.callspec.params["turn"].case.op for item in request.node.session.items
            if item.module is request.module}.values()  # fmt: skip


_disagreement = cache(disagreement)


def test_op(turn, benchmark, benches, measured, wanted_ops):
    where = turn.where
    if where in measured.left_out:
        pytest.skip(measured.left_out[where])
    if reason := measured.gate.reason(turn.case.op, turn.provider, wanted_ops) or _disagreement(turn.case, turn.provider, "cpu"):
        measured.leave_out(where, reason)
    try:
        call = benches.call(turn)
    except LeftOut as reason:
        measured.leave_out(where, str(reason))

    rounds, iterations = rounds_for(call.seconds, measured.budget)
    with call.select(), measured.counting_page_faults(where, rounds * iterations):
        benchmark.pedantic(call.run, rounds=rounds, iterations=iterations)
    measured.add_seconds(where, benchmark.stats.stats.data, call.minimum_bytes)

    if turn.number == 0:
        if turn.provider == COMPILED:
            measured.table.add(*where, "compile_seconds", max(call.first_seconds - call.seconds, 0.0), "s")
        if turn.mode == FORWARD_GRAD and turn.provider in KEEPS_FOR_BACKWARD:
            measured.table.add(*where, "saved_bytes", saved_bytes(benches.bench, turn.provider), "B")
