"""Spikes packed into words of 16 time steps, and unpacked."""

import torch
from op_tests import measured
from op_tests.inputs import ROW
from op_tests.kinds import Call, Sequence
from op_tests.measured import Op
from op_tests.transformed import CONSTANT, of_x

import spikeops.functional as SF
from spikeops import reference

RAW = {
    "pack_spikes": lambda i: ("pack_spikes", (i.spikes(),)),
    "unpack_spikes": lambda i: ("unpack_spikes", (i.packed(), i.T, i.dtype)),
}

CALLS = (
    Call(name="pack_spikes", takes_integers=True, arguments=lambda i: {"spikes": i.spikes()}, on_device=False),
    Call(name="unpack_spikes", takes_integers=True, arguments=lambda i: {"packed": i.packed(), "T": i.T, "dtype": i.dtype}, on_device=False),
)


def _there_and_back(spikes):
    packed = SF.pack_spikes(spikes)
    return [packed, SF.unpack_spikes(packed, len(spikes), spikes.dtype), SF.spike_count(packed)]


# Few of torch's own functions take words of 16 bits on a device: there they are packed.
ON_DEVICE = (
    Sequence(name="pack_spikes", function=_there_and_back,
             tensors=lambda draw, T, N, dtype: [(torch.rand(T, N, generator=draw) < 0.3).to(dtype)]),
)  # fmt: skip

NUMBERS = {SF.unpack_spikes: (lambda T: [SF.unpack_spikes(SF.pack_spikes(ROW), T)], dict(T=4))}
TRANSFORMED = {
    "pack_spikes": of_x(lambda x: SF.pack_spikes((x - 1).relu()).int(), **CONSTANT),
    "unpack_spikes": of_x(lambda x: SF.unpack_spikes(SF.pack_spikes((x - 1).relu()), 4), steps_are_fixed=True, **CONSTANT),
}

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
