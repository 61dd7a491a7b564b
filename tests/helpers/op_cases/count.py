"""Counts of spikes."""

import torch
from op_tests import measured
from op_tests.kinds import Call
from op_tests.measured import Op
from op_tests.transformed import CONSTANT, LINEAR, of_x

import spikeops.functional as SF
from spikeops import reference

RAW = {
    "spike_count": lambda i: ("spike_count", (i.x(),)),
    "spike_count/int": lambda i: ("spike_count", (i.spikes(torch.int32),)),
    "spike_count/packed": lambda i: ("spike_count", (i.packed(),)),
}

CALLS = (
    Call(name="spike_count", takes_integers=True, arguments=lambda i: {"spikes": i.x()}, differentiable=("spikes",), is_linear=True),
    Call(name="spike_count/int", takes_integers=True, arguments=lambda i: {"spikes": i.spikes(torch.int32)}, on_device=False),
    Call(name="spike_count/packed", takes_integers=True, arguments=lambda i: {"spikes": i.packed()}, on_device=False),
)

TRANSFORMED = {
    "spike_count": of_x(lambda x: SF.spike_count(x), **LINEAR),
    "spike_count/integers": of_x(lambda x: SF.spike_count((x > 1).int()), **CONSTANT),
    "spike_count/packed": of_x(lambda x: SF.spike_count(SF.pack_spikes(x - 1 > 0)), **CONSTANT),
}

MEASURED = (
    Op(
        "spike_count",
        fused=lambda s, T: SF.spike_count(s),
        eager=lambda s, T: reference.spike_count(s),
        make_input=measured.spikes,
        tests=("test_count.py",),
        moves=lambda T, N: (4 * T * N + 4 * N, None),
    ),
    Op(
        "spike_count_packed",
        fused=lambda words, T: SF.spike_count(words),
        eager=lambda words, T: reference.spike_count(words),
        make_input=measured.packed,
        tests=("test_count.py", "test_pack.py"),
        moves=lambda T, N: (2 * measured.words(T) * N + 4 * N, None),
        of="spike_count",
        is_packed=True,
    ),
)
