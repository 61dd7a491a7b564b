"""Random sizes, numbers and options (hypothesis), compared with the reference."""

import op_cases
import pytest
import torch
from op_tests.compare import assert_identical, assert_same_results, run_call
from op_tests.inputs import Inputs
from op_tests.layouts import INPUTS, UPSTREAM
from op_tests.neurons import DTYPES

import spikeops.functional as SF

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, pytest.importorskip("hypothesis.strategies")

SIZES = dict(
    T=st.integers(1, 40),
    shape=st.one_of(st.tuples(), st.tuples(st.integers(0, 3000)), st.tuples(*[st.integers(1, 9)] * 3)),
    layout=st.sampled_from(list(INPUTS)),
    seed=st.integers(0, 2**32 - 1),
)
WILD = st.floats(-(2.0**100), 2.0**100, width=32)


def values(of):
    """Of an option, by the case file."""
    return st.sampled_from(of) if isinstance(of, list) else st.floats(*of)


def drawn(options):
    return st.fixed_dictionaries({name: values(of) for name, of in options.items()})


def spreads(call):
    return st.fixed_dictionaries({name: st.sampled_from(of) for name, of in call.spreads.items()})


@pytest.mark.parametrize("call", [call for call in op_cases.CALLS.values() if not call.own_test], ids=str)
def test_any_size_and_options(call):
    @settings(max_examples=50 if call.ranges and call.differentiable else 15)
    @given(st.fixed_dictionaries(SIZES), st.sampled_from(call.dtypes), spreads(call), drawn(call.ranges), st.sampled_from(list(UPSTREAM)))
    def check(size, dtype, spread, options, upstream):
        arguments = call.make(Inputs(dtype=dtype, **size), **spread) | options
        assert_same_results(*run_call(call, arguments, upstream))

    check()


@pytest.mark.parametrize("call", [call for call in op_cases.CALLS.values() if call.any_number], ids=str)
def test_any_numbers_forward(call):
    """Infinite, tiny and huge numbers and NaN go through the same operations as in the reference."""

    @settings(max_examples=100)
    @given(
        st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=8),
        st.sampled_from(DTYPES),
        drawn({name: of for name, of in call.ranges.items() if isinstance(of, list)}),
        st.fixed_dictionaries({name: WILD for name in call.any_number}),
    )
    def check(rows, dtype, choices, numbers):
        arguments = call.make(Inputs(len(rows), (3,), dtype)) | choices | numbers
        arguments[next(iter(arguments))] = torch.tensor(rows, dtype=torch.float32).to(dtype)
        for i, (actual, expected) in enumerate(zip(call(arguments), call.define(arguments), strict=True)):
            assert_identical(actual, expected, f"output {i}")

    check()


@pytest.mark.parametrize("reset", ["subtract", "to", "none"])
def test_infinity_fires_and_nan_does_not(device, reset):
    x = torch.tensor([[float("inf"), float("-inf"), float("nan")]], device=device)
    assert SF.lif(x, reset=reset)[0].tolist() == [[1, 0, 0]]
