"""Whole training steps on the CPU, by every provider in turns."""

from __future__ import annotations

import gc
import time

import pytest
import training_step
from providers import PUBLISHED, TRITON
from registry import OPS
from schedule import PASSES, rounds_for

import spikeops

_PROVIDERS = [provider for provider in training_step.PROVIDERS if provider not in (TRITON, training_step.PLAIN_LAUNCHES)]


class Steps:
    """Makes the steps of a setting, and forgets them when the next one begins."""

    def __init__(self):
        self.problem, self.steps = None, {}

    def of(self, name, provider):
        if self.problem is None or self.problem.name != name:
            self.problem, self.steps = None, {}
            gc.collect()
            self.problem = training_step.make(name, "cpu")
        if provider not in self.steps:
            self.steps[provider] = self.problem.step(provider)
        return self.steps[provider]


@pytest.fixture(scope="module")
def steps():
    pytest.importorskip("spiketrain", reason="the training pipeline is not installed")
    return Steps()


@pytest.mark.parametrize("provider", _PROVIDERS)
@pytest.mark.parametrize("number", range(PASSES))
@pytest.mark.parametrize("name", training_step.settings())  # the outer loop
def test_training_step(name, provider, number, benchmark, steps, measured):
    step = steps.of(name, provider)
    where = steps.problem.where(provider)
    ops = [OPS[op] for op in steps.problem.proven_by]
    for op in ops:
        if reason := measured.gate.reason(op, provider, ops):
            measured.leave_out(where, reason)
    if provider == PUBLISHED and (reason := training_step.disagreement(name, "cpu")):
        measured.leave_out(where, reason)

    with spikeops.backend(training_step.backend(provider)):
        if number == 0:
            step()
        started = time.perf_counter()
        step()
        rounds, iterations = rounds_for(time.perf_counter() - started, 10 * measured.budget)
        benchmark.pedantic(step, rounds=rounds, iterations=iterations)
    measured.add_seconds(where, benchmark.stats.stats.data)
