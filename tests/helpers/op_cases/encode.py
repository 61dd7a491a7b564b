"""Numbers as spike trains."""

import torch
from op_tests import measured
from op_tests.kinds import Call
from op_tests.measured import Op

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
