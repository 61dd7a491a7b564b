"""Inputs that hold numbers which are not ordinary (op_tests/special_numbers.py): the ops do with them what the reference does."""

import op_cases
import pytest
import torch
from op_tests.inputs import Inputs
from op_tests.neurons import DTYPES, split_arguments
from op_tests.pairwise import pairwise
from op_tests.special_numbers import SHARES, check_special, strew

import spikeops

CALLS = [call for call in op_cases.CALLS.values() if not call.own_test]
BEYOND = 3.4028235677973366e38  # what float32 rounds to infinity


def ways(call):
    """Every pair of dtype, share, spread of arguments and choices. Numbers are the call's own, or drawn from their ranges, but for a
    threshold: some of the special numbers are its neighbours."""
    choices = {name: of for name, of in call.ranges.items() if isinstance(of, list)}
    numbers = {name: of for name, of in call.ranges.items() if name not in choices and name != "threshold"}
    # The gradient of one number for all neurons is a sum of what is not finite.
    spreads = {name: [value for value in of if value != "one"] for name, of in call.spreads.items()}
    for row in pairwise(dtype=call.dtypes, share=SHARES, **spreads, **choices, drawn=range(4) if numbers else [0]):
        draw = torch.Generator().manual_seed(row["drawn"])
        options = {name: row[name] for name in choices}
        if row["drawn"]:
            options |= {name: low + (high - low) * torch.rand((), generator=draw).item() for name, (low, high) in numbers.items()}
        words = [str(call), *(f"{name}={value}" for name, value in row.items())]
        yield pytest.param(call, row["dtype"], row["share"], {name: row[name] for name in spreads}, options, id="-".join(words))


@pytest.mark.parametrize("call, dtype, share, spread, options", [way for call in CALLS for way in ways(call)])
def test_as_the_reference(device, call, dtype, share, spread, options):
    # A seed by which no membrane potential lies 87 to 104 above a threshold under an infinite gradient: kernels take exp(-87) and less
    # for 0, where PyTorch still has denormal numbers (kernels/math/exp.h).
    draw = torch.Generator().manual_seed(21)
    # What is written in place only adds and compares: on a grid many membrane potentials lie exactly at a threshold.
    inputs = Inputs(6, (300,), dtype, on_grid=bool(call.written))
    tensors, numbers = split_arguments(**call.make(inputs, **spread) | options)
    tensors = {name: strew(tensor, draw, share) for name, tensor in tensors.items()}
    for name in call.not_negative:
        if name in tensors:
            tensors[name] = tensors[name].abs()
    check_special(call, {name: tensor.to(device) for name, tensor in tensors.items()} | numbers, share)


@pytest.mark.parametrize("backend_name", ["native", "reference"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("call", [call for call in op_cases.CALLS.values() if call.float32], ids=str)
def test_numbers_that_overflow_the_state_are_refused(backend_name, dtype, call):
    """An infinite threshold or reset would make NaN of every neuron. What float32 can hold is taken, and in float64 everything."""
    arguments = call.make(Inputs(2, (3, 2), dtype))
    with spikeops.backend(backend_name):
        for name in call.float32:
            for number in (BEYOND, -BEYOND, 1e300)[:: 2 if name == "threshold" else 1]:
                if dtype == torch.float64:
                    call(arguments | {name: number})
                    continue
                with pytest.raises(ValueError, match=f"{call.function}: expected {name} to be a float32, at most 3.4e38"):
                    call(arguments | {name: number})
            call(arguments | {name: 3.4028235e38})
