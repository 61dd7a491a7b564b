"""Spikes packed into words of 16 time steps, and unpacked."""

from op_tests import measured
from op_tests.kinds import Call
from op_tests.measured import Op

import spikeops.functional as SF
from spikeops import reference

RAW = {
    "pack_spikes": lambda i: ("pack_spikes", (i.spikes(),)),
    "unpack_spikes": lambda i: ("unpack_spikes", (i.packed(), i.T, i.dtype)),
}

CALLS = (
    Call(name="pack_spikes", arguments=lambda i: {"spikes": i.spikes()}),
    Call(name="unpack_spikes", arguments=lambda i: {"packed": i.packed(), "T": i.T, "dtype": i.dtype}),
)

MEASURED = (
    Op(
        "pack_spikes",
        fused=lambda s, T: SF.pack_spikes(s),
        eager=lambda s, T: reference.pack_spikes(s),
        make_input=measured.spikes,
        tests=("test_pack.py",),
        moves=lambda T, N: (4 * T * N + 2 * measured.words(T) * N, None),
    ),
    Op(
        "unpack_spikes",
        fused=lambda words, T: SF.unpack_spikes(words, T),
        eager=lambda words, T: reference.unpack_spikes(words, T),
        make_input=measured.packed,
        tests=("test_pack.py",),
        moves=lambda T, N: (2 * measured.words(T) * N + 4 * T * N, None),
        is_packed=True,
    ),
)
