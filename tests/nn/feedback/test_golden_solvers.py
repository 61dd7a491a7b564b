"""The Broyden solver against numbers made by the published code.

Reads broyden_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden). All cases, problems and limits come from the file.
"""

import pytest
import torch
from feedback_tests.golden import Golden, golden_files, relative_error

from spikeops.nn.feedback.solvers import broyden, damped_fixed_point


def cases():
    paths = golden_files("broyden_*.npz")
    if not hasattr(paths[0], "stem"):
        return paths
    return [
        pytest.param((path, name.removesuffix("__x0")), id=name.removesuffix("__x0"))
        for path in paths
        for name in Golden(path).arrays
        if name.endswith("__x0")
    ]


def problem(golden, case):
    """Residual function on (B, n), and the start."""
    x0 = golden[f"{case}__x0"].squeeze(-1)
    name = case.split("_")[0]
    if "_div_" in case:  # the file says what its function gave, not how
        given = iter(golden[f"{case}__residuals"].squeeze(-1))
        return (lambda x: next(given)), x0
    if f"{name}_J" in golden:
        matrix, offset = golden[f"{name}_J"].to(x0), golden[f"{name}_b"].squeeze(-1).to(x0)
        return (lambda x: x @ matrix.T - x + offset), x0
    matrix, offset = golden[f"{name}_W"].to(x0), golden[f"{name}_c"].squeeze(-1).to(x0)
    return (lambda x: torch.tanh(x @ matrix.T + offset) - x), x0


@pytest.mark.parametrize("case", cases())
def test_broyden(case):
    path, name = case
    golden = Golden(path)
    residual, x0 = problem(golden, name)
    evaluated = []
    solution = broyden(lambda x: evaluated.append(x) or residual(x), x0, golden.arrays[f"{name}__hp_threshold"].item(),
                       golden.arrays[f"{name}__hp_eps"].item())  # fmt: skip
    expected, trace = golden[f"{name}__result"].squeeze(-1), golden[f"{name}__trace"]
    if x0.dtype == torch.float64:
        assert solution.steps == golden[f"{name}__nstep"]
        assert solution.best_step == golden[f"{name}__lowest_step"]
        assert solution.diverged == golden[f"{name}__prot_break"]
        # Quasi-Newton steps double the rounding error again and again: in 40 steps from 1e-16 to 1e-10.
        assert relative_error(torch.stack(evaluated), golden[f"{name}__iterates"].squeeze(-1)) < 1e-9
        torch.testing.assert_close(torch.tensor(solution.trace, dtype=trace.dtype), trace, rtol=1e-5, atol=1e-12)
        torch.testing.assert_close(solution.residual, golden[f"{name}__diff"].item(), rtol=1e-4, atol=1e-12)
        assert relative_error(solution.value, expected) < 1e-9
    else:
        # Near its own rounding the iteration goes where rounding sends it; the best iterate does not.
        assert relative_error(solution.value, expected) < 1e-5
        assert solution.residual <= 10 * max(golden[f"{name}__diff"].item(), golden.arrays[f"{name}__hp_eps"].item())
    if name.startswith("linear_zero"):
        assert relative_error(solution.value, golden["linear_exact"].squeeze(-1)) < 1e-5


@pytest.mark.parametrize("case", [case for case in cases() if "linear_zero" in str(case.id)])
def test_damped_fixed_point_finds_the_same_root(case):
    path, name = case
    golden = Golden(path)
    residual, x0 = problem(golden, name)
    solution = damped_fixed_point(residual, x0, 500)
    assert relative_error(solution.value, golden["linear_exact"].squeeze(-1)) < 1e-5
