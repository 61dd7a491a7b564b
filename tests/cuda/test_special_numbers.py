"""Inputs that hold numbers which are not ordinary: the CUDA kernels' source, run on the host, against the CPU kernels, bit for bit."""

import dataclasses

import numpy as np
import pytest
import torch
from host_cuda import convex, ops
from host_cuda.arrays import FLOATING, Case, from_storage, place, to_storage
from op_tests.special_numbers import MODES, SHARES, strew


@dataclasses.dataclass(frozen=True)
class Strewn(Case):
    """A case whose inputs are strewn with special numbers."""

    share: float = 0.0

    def data(self, values):
        special = strew(torch.as_tensor(values).to(getattr(torch, self.dtype)), self._places(), self.share)
        # Through float64, which holds the numbers of every dtype.
        return place(to_storage(special.double().numpy(), self.dtype), self.misaligned)

    def state(self, values):
        values = super().state(values)
        return place(strew(torch.from_numpy(values), self._places(), self.share).numpy(), self.misaligned)

    def _places(self):
        return torch.Generator().manual_seed(self.seed + self.T)


def assert_same(kernels, op, case, *args, **options):
    (_, actual), (_, expected) = (op(backend, case, *args, **options) for backend in (kernels.cuda, kernels.cpu))
    for name, e in expected.items():
        a = actual[name]
        if e.dtype == np.uint16 and case.dtype == "bfloat16" and name != "packed":
            a, e = (from_storage(array, "bfloat16") for array in (a, e))
        same = (a == e) & (np.signbit(a) == np.signbit(e)) | (a != a) & (e != e)
        assert same.all(), f"{op.__name__} {case}: {np.size(same) - same.sum()} numbers of {name} differ"


def cases(dtypes=FLOATING, T=6, neurons=(129, 264)):
    """One neuron a thread, and 16 bytes a thread."""
    return [Strewn(dtype, T, N, share=share) for dtype in dtypes for N in neurons for share in SHARES]


@pytest.mark.parametrize("op", (*ops.OF_FLOATS, ops.spike_count, ops.pack_spikes), ids=lambda op: op.__name__)
def test_every_op(host_kernels, op):
    for case in cases():
        assert_same(host_kernels, op, case)
    for case in cases(neurons=(136,), T=50):  # two segments of a backward pass
        assert_same(host_kernels, op, case)


@pytest.mark.parametrize(("reset", "surrogate"), MODES, ids=str)
def test_every_mode(host_kernels, reset, surrogate):
    for case in cases(("float32", "bfloat16"), neurons=(69, 136)):
        for strict, detach_reset in ((False, True), (True, False)):
            chosen = {"reset": ops_reset(reset), "strict": strict, "detach_reset": detach_reset}
            for options in (ops.LIF | chosen, ops.ROUND | chosen | {"is_constant": strict}):
                assert_same(host_kernels, ops.lif_forward, case, options, True)
                assert_same(host_kernels, ops.lif_backward, case, options, True, surrogate.coefficients, grad_v_last=strict)
                assert_same(host_kernels, ops.lif_rate_forward, case, options, True, int(strict))
                assert_same(host_kernels, ops.lif_rate_backward, case, options, True, surrogate.coefficients, int(strict))
        assert_same(host_kernels, ops.local_learning_step, case, surrogate=surrogate.coefficients, optional=reset == "to")


def ops_reset(name):
    return ("subtract", "to", "none").index(name)


@pytest.mark.parametrize("op", [ops.feedback_step, ops.ternary_step], ids=lambda op: op.__name__)
def test_feedback_steps(host_kernels, op):
    for case in cases():
        for given in ((), ("drive",), ("current",), ("drive", "factor", "fired")):
            assert_same(host_kernels, op, case, given=given, current_per_step=True)
        negative = {"drive_scale": -0.5} if op is ops.ternary_step else {}
        assert_same(host_kernels, op, case, **negative, given=("current", "count"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_trials(host_kernels, dtype, monkeypatch):
    """Of the network that solves an optimisation problem: its spikes, readouts and weights."""
    drawn = convex.draw_inputs
    for share in (1e-3, *SHARES):

        def strewn(*case, share=share, **options):
            draw = torch.Generator().manual_seed(6)
            return {name: strew(torch.from_numpy(array), draw, share).numpy() for name, array in drawn(*case, **options).items()}

        monkeypatch.setattr(convex, "draw_inputs", strewn)
        for noise, learns in (("none", False), ("given", False), ("drawn", True)):
            case = convex.Trials(dtype, 12, 3, 67)
            assert_same(host_kernels, convex.trials, case, noise, learns, decodes=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_row_sum(host_kernels, dtype):
    draw = torch.Generator().manual_seed(6)
    for share in (1e-4, *SHARES):
        x = strew(torch.randn(40, 5000, generator=draw, dtype=getattr(torch, dtype)), draw, share).numpy()
        sums = []
        for backend in (host_kernels.cuda, host_kernels.cpu):
            sums.append(np.empty(len(x), dtype))
            backend.row_sum(place(x, False), sums[-1])
        np.testing.assert_array_equal(*sums)
