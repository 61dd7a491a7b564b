"""Ops that work in place on the state of neurons, beside their reference."""

import torch

import spikeops.functional as SF
from op_tests.compare import assert_identical
from op_tests.layouts import dense_copy, lay_out
from op_tests.neurons import state_dtype
from spikeops import reference

WRITTEN = ("membrane", "spikes", "rate", "count", "fired")
FACTORS = {"feedback_step_": "mask", "ternary_step_": "gate"}


def eighths(draw, low, high, shape, dtype):
    """Multiples of 1/8, so that many membrane potentials lie exactly at a threshold, in every dtype."""
    return (torch.randint(low, high + 1, shape, generator=draw) / 8).to(dtype)


def step_tensors(draw, op, K, shape, dtype, given=(), order="contiguous", layout="contiguous", device="cpu", current="constant"):
    """Arguments of a step op by name, with those optional ones that are `given`. What is only written holds nonsense.

    Args:
        order: memory order of what is written
        layout: that of what is only read
        current: "constant" or "per_step"
    """
    state = state_dtype(dtype)

    def neurons(values, where=order):
        return lay_out(values[None], where, device)[0]

    tensors = {
        "membrane": neurons(eighths(draw, -4, 7, shape, state)),
        "spikes": lay_out(torch.full((K, *shape), torch.nan, dtype=dtype), order, device),
        "rate": neurons(torch.rand(shape, generator=draw).to(state)),
    }
    optional = {
        "drive": lambda: lay_out(eighths(draw, -8, 12, (K, *shape), dtype), layout, device),
        "current": lambda: lay_out(eighths(draw, -3, 5, (K, *shape), dtype), layout, device) if current == "per_step"
                           else neurons(eighths(draw, -3, 5, shape, dtype), layout),
        FACTORS[op]: lambda: neurons(1.25 * (torch.rand(shape, generator=draw) < 0.7).to(dtype), layout),
        "count": lambda: neurons(torch.randint(0, 9, shape, generator=draw).to(state)),
        "fired": lambda: torch.full((K,), 7, dtype=torch.int32, device=device),
    }  # fmt: skip
    return tensors | {name: make() for name, make in optional.items() if name in given}


def run_beside_reference(op, tensors, **options):
    """Runs the op on copies of the tensors and its reference on contiguous ones, on the CPU; asserts that they agree in every bit,
    and that nothing was written but what should be. Returns what the op has written."""
    actual = {name: tensor.clone() if name in WRITTEN else tensor for name, tensor in tensors.items()}
    expected = {name: dense_copy(tensor).clone() for name, tensor in tensors.items()}
    before = {name: dense_copy(tensor).clone() for name, tensor in tensors.items() if name not in WRITTEN}
    addresses = {name: tensor.data_ptr() for name, tensor in actual.items()}
    assert getattr(SF, op)(**actual, **options) is actual["spikes"]
    getattr(reference, op)(**expected, **options)
    for name, tensor in actual.items():
        assert_identical(tensor, before.get(name, expected[name]), name)
        assert tensor.data_ptr() == addresses[name]
    return {name: actual[name] for name in WRITTEN if name in actual}
