"""No speed without correctness: an op is measured only if its tests are green, a provider only if it agrees with the reference."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

import spikeops

from measuring.outcomes import PYTEST_OPTIONS, Outcome, read_outcomes
from ops.providers import BACKENDS, CEILINGS, EAGER, FUSED, PUBLISHED, TRITON, Bench, time_last
from ops.registry import OPS, Case, Op

HERE = Path(__file__).resolve().parents[1]
REPOSITORY = HERE.parent
TESTS = REPOSITORY / "tests" / "ops"
SECONDS = 300  # in which the tests must end
# Tests of what all ops have in common: a failure there concerns the ops that its name mentions, all if it mentions none.
SHARED = ("test_gradcheck.py", "test_opcheck.py", "test_poisoned_memory.py", "test_saved_memory.py")


def run_tests(files: Iterable[str], options: Iterable[str] = ()) -> dict[str, Outcome]:
    """Runs files of tests/ops and returns their outcomes."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "outcomes.jsonl"
        paths = [TESTS / file for file in sorted(set(files)) if (TESTS / file).exists()]
        if not paths:
            return {}
        # Started from this folder, lest the source folder `spikeops` hide the installed package.
        command = [sys.executable, "-m", "pytest", *PYTEST_OPTIONS, "--outcomes", log, *options, *paths]
        try:
            done = subprocess.run(
                list(map(str, command)), cwd=HERE, timeout=SECONDS, capture_output=True, text=True, check=False
            )
            words = (done.stdout + done.stderr).strip().splitlines()[-1:] if done.returncode not in (0, 1, 2, 5) else []
        except subprocess.TimeoutExpired:
            words = [f"no end within {SECONDS} s"]
        if words:
            return {file: Outcome(failed=[f"pytest did not end: {' '.join(words)}"]) for file in files}
        return read_outcomes(log)


class Gate:
    """Which ops may be measured.

    Args:
        device: cpu or cuda
        outcomes: those of tests that have been run already, by provider; what is missing is run when it is first asked for
    """

    def __init__(self, device: str, outcomes: dict[str, dict[str, Outcome]] | None = None):
        self.device = device
        self.outcomes = dict(outcomes or {})
        self._run: dict[str, set[str]] = {}  # by provider: the files that this gate has run itself

    def reason(self, op: Op, provider: str, ops: Iterable[Op]) -> str:
        """Why `op` by `provider` must not be measured; empty if it may. The tests of all `ops` are run together, each file once."""
        proven_by = self._prover(provider)
        if proven_by not in self.outcomes or proven_by in self._run:
            self._run_missing(proven_by, {*SHARED, *(file for each in ops for file in each.tests)})
        outcomes = self.outcomes[proven_by]
        silent = []
        for file in op.tests:
            outcome = outcomes.get(file, Outcome())
            if outcome.failed:
                return f"its tests are red: tests/ops/{file}: {outcome}"
            if not outcome.passed:
                silent.append(f"tests/ops/{file}")
        # What holds on any device (that bad input is refused, say) is tested on the CPU alone.
        if silent and (self.device == "cpu" or len(silent) == len(op.tests)):
            return f"its tests did not run: {', '.join(silent)}"
        for file in SHARED:
            for test in outcomes.get(file, Outcome()).failed:
                if op.function in (named := _functions_in(test)) or not named:
                    return f"its tests are red: tests/ops/{file}: {test}"
        return ""

    def _run_missing(self, proven_by, files):
        already = self._run.setdefault(proven_by, set())
        if missing := files - already:
            already |= missing
            options = ["--backend", BACKENDS[proven_by], "-m", "gpu" if self.device == "cuda" else "not gpu"]
            self.outcomes[proven_by] = {**self.outcomes.get(proven_by, {}), **run_tests(missing, options)}

    def _prover(self, provider):
        """Whose tests count: our own kernels', and for the others those of the kernels that they are compared with."""
        if provider in BACKENDS:
            return provider
        return FUSED if spikeops.backends()[self.device]["available"] else TRITON


def _functions_in(test: str) -> set[str]:
    """The ops that the name of a test mentions."""
    words = test.removeprefix("test_")
    return {op.function for op in OPS.values() if re.search(rf"(?<![a-z_]){op.function}(?![a-z_])", words)}


def disagreement(case: Case, provider: str, device: str) -> str:
    """How the outputs and gradients of a provider differ from the reference's, on a few neurons; empty if they do not."""
    if provider in CEILINGS:
        return ""
    op = case.op
    few = Bench(replace(case, T=min(case.T, 20), N=131), device)  # no multiple of any block
    with spikeops.backend("reference"):
        wanted = _outcome(lambda x: op.fused(x, few.case.T, *op.make_state(few.input)), few.input, few.grad)
    spikeops.set_backend(BACKENDS.get(provider, "auto"))
    if provider == PUBLISHED:
        got = _outcome(op.published, time_last(few.input), time_last(few.grad))
        got = [tensor.flatten(1).t() for tensor in got]
    else:
        # The eager function uncompiled: compiling anew for each small check would take minutes.
        function = few.function(provider if provider in BACKENDS else EAGER)
        got = _outcome(function, few.input, few.grad)
    for name, ours, reference in zip(("output", "gradient"), got, wanted):
        ours, reference = ours.double(), reference.double()
        if op.is_random and provider not in BACKENDS:
            # Another generator: means of at least 131 draws differ by less than 6 standard deviations, 6 * 0.5 / sqrt(131).
            error, allowed = (ours.mean() - reference.mean()).abs(), 6 * 0.5 / 131**0.5
        else:
            # Sums over up to 20 time steps in another order; half types round at every step where state is not kept wide.
            error, allowed = (ours - reference).abs().max(), _tolerance(case.dtype) * max(1.0, reference.abs().max().item())
        if not error <= allowed:
            return f"its {name} differs from the reference's by {error:.1e}"
    return ""


def _tolerance(dtype: torch.dtype) -> float:
    return 1e-5 if dtype == torch.float32 else 2e-2


def _outcome(function, x, grad):
    x = x.detach().requires_grad_(grad is not None)
    torch.manual_seed(3)  # equal seeds give equal random spikes
    output = function(x)
    return [output.detach()] if grad is None else [output.detach(), *torch.autograd.grad(output, x, grad)]
