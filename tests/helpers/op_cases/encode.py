"""Numbers as spike trains."""

import torch
from op_tests import measured, transformed
from op_tests.inputs import ROW
from op_tests.kinds import Call
from op_tests.measured import Op
from op_tests.transformed import CONSTANT, STEP

import spikeops.functional as SF
from spikeops import reference
from spikeops._backend import namespace

RAW = {
    "poisson_encode": lambda i: ("poisson_encode", (i.probabilities(), i.T, i.seed())),
    "latency_encode": lambda i: ("latency_encode", (i.probabilities(), i.T)),
}


def _poisson(p, T, seed):
    """From a seed, which the public function draws."""
    return namespace("poisson_encode", p.device).poisson_encode(p, T, seed)


CALLS = (
    Call(name="poisson_encode", arguments=lambda i: {"p": i.probabilities(), "T": i.T, "seed": i.seed()}, run=_poisson,
         definition=reference.poisson_encode_from_seed),
    Call(name="latency_encode", arguments=lambda i: {"p": i.probabilities(), "T": i.T}),
)  # fmt: skip

NUMBERS = {
    SF.poisson_encode: (lambda T: [SF.poisson_encode(ROW, T, torch.Generator().manual_seed(1))], dict(T=3)),
    SF.latency_encode: (lambda T: [SF.latency_encode(ROW, T)], dict(T=3)),
}
_OF_STEP = dict(shapes=(STEP,), batched=(0,), steps_are_fixed=True, **CONSTANT)
TRANSFORMED = {
    "latency_encode": transformed.Call(lambda p: SF.latency_encode(p, 4), **_OF_STEP),
    "poisson_encode": transformed.Call(lambda p: SF.poisson_encode(p, 4), **_OF_STEP),
}

MEASURED = (
    Op(
        "poisson_encode",
        fused=lambda p, T: SF.poisson_encode(p, T),
        eager=lambda p, T: (torch.rand(T, *p.shape, dtype=p.dtype, device=p.device) < p).to(p.dtype),
        make_input=measured.probabilities,
        tests=("test_encode.py",),
        moves=lambda T, N: (4 * N + 4 * T * N, None),
        is_random=True,
    ),
    Op(
        "latency_encode",
        fused=lambda p, T: SF.latency_encode(p, T),
        eager=lambda p, T: reference.latency_encode(p, T),
        make_input=measured.probabilities,
        tests=("test_encode.py",),
        moves=lambda T, N: (4 * N + 4 * T * N, None),
    ),
)
