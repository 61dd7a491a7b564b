"""A whole TSSL-BP training step on the CPU, by every provider in turns."""

from __future__ import annotations

import time

import pytest
import training_step
from providers import PUBLISHED, TRITON
from registry import OPS
from schedule import PASSES, rounds_for

import spikeops

_PROVIDERS = [provider for provider in training_step.PROVIDERS if provider != TRITON]


@pytest.fixture(scope="module")
def problem():
    pytest.importorskip("spiketrain", reason="the training pipeline is not installed")
    return training_step.Problem("cpu")


@pytest.fixture(scope="module")
def steps():
    return {}


@pytest.mark.parametrize("provider", _PROVIDERS)
@pytest.mark.parametrize("number", range(PASSES))  # the outer loop
def test_training_step(provider, number, benchmark, problem, steps, measured):
    where = training_step.where(provider, problem)
    ops = [OPS[name] for name in training_step.PROVEN_BY]
    for op in ops:
        if reason := measured.gate.reason(op, provider, ops):
            measured.leave_out(where, reason)
    if provider == PUBLISHED and (reason := training_step.disagreement("cpu")):
        measured.leave_out(where, reason)

    with spikeops.backend(training_step.backend(provider)):
        if provider not in steps:
            steps[provider] = problem.step(provider)
            steps[provider]()
        step = steps[provider]
        started = time.perf_counter()
        step()
        rounds, iterations = rounds_for(time.perf_counter() - started, 10 * measured.budget)
        benchmark.pedantic(step, rounds=rounds, iterations=iterations)
    measured.add_seconds(where, benchmark.stats.stats.data)
