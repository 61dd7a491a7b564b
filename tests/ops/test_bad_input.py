"""Bad arguments are refused before any kernel runs, by errors that name the argument, what was given and what is expected: every
argument of every function, by what its type says. The case files (op_cases) tell of valid calls."""

import inspect
import re
import typing

import op_cases
import pytest
import torch
from op_tests.inputs import Inputs

import spikeops.functional as SF
from spikeops.surrogate import ATan, Surrogate

X = torch.zeros(4, 2, 3)
PACKED = torch.zeros(1, 3, dtype=torch.uint16)
NAN, INFINITY = float("nan"), float("inf")
CALLS = op_cases.first_calls()
# Their tensors are checked as the arguments of public functions usually are; those of others in tests of their own.
USUAL = {name: call for name, call in CALLS.items() if not call.own_bad_input}


def refused(error, *words):
    """The error's text holds all the words, in this order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, words)))


def arguments(function):
    """Valid ones: (T, 2, 3) with T = 4."""
    return CALLS[function].make(Inputs(4, (2, 3)))


def call(function, **changed):
    given = {name: value for name, value in arguments(function).items() if name in inspect.signature(getattr(SF, function)).parameters}
    return getattr(SF, function)(**{**given, **changed})


def first(function):
    """(name, value) of the argument that holds the data."""
    return next(iter(arguments(function).items()))


def is_sequence(function):
    """Whether the time steps of the data are its first axis."""
    sizes = {next(iter(CALLS[function].make(Inputs(T, (2, 3))).values())).shape[0] for T in (16, 32)}
    return len(sizes) == 2


def types(function, name):
    """The types that an argument may have."""
    hint = typing.get_type_hints(getattr(SF, function))[name]
    return hint, *typing.get_args(hint)


def of_type(wanted, functions=CALLS):
    """(function, argument) of all arguments of functions that may be of a type."""
    return [(function, name) for function in functions for name in inspect.signature(getattr(SF, function)).parameters
            if wanted in types(function, name)]  # fmt: skip


@pytest.mark.parametrize("function", USUAL)
def test_not_a_strided_tensor(function):
    name, _ = first(function)
    with refused(TypeError, f"{function}: expected {name} to be a tensor, got list."):
        call(function, **{name: [[1.0], [0.0]]})
    with refused(TypeError, f"{function}: expected {name} to be a tensor, got NoneType."):
        call(function, **{name: None})
    sparse = torch.eye(3).to_sparse()
    with refused(TypeError, f"{function}: expected {name} to be a strided tensor, got layout torch.sparse_coo", f"{name}.to_dense()"):
        call(function, **{name: sparse})


@pytest.mark.parametrize("function", [function for function in USUAL if not USUAL[function].takes_integers])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.complex64])
def test_not_floating(function, dtype):
    name, got = first(function)[0], str(dtype).removeprefix("torch.")
    expected = f"{function}: expected {name} to be float32, float64, float16 or bfloat16, got {got}. Call {name}.float() first."
    with refused(TypeError, expected):
        call(function, **{name: torch.zeros(4, 3, dtype=dtype)})


@pytest.mark.parametrize("function", [function for function in USUAL if is_sequence(function)])
def test_no_time_steps(function):
    name, data = first(function)
    with refused(ValueError, f"{function}: expected {name} to have shape (T, ...) with the time steps first, got a 0-d tensor."):
        call(function, **{name: torch.zeros((), dtype=data.dtype)})
    with refused(ValueError, f"{function}: expected {name} to have at least one time step, got shape (0, 3) (T = 0)."):
        call(function, **{name: torch.zeros(0, 3, dtype=data.dtype)})


@pytest.mark.parametrize("function, name", of_type(float))
def test_numbers(function, name):
    for value in (NAN, INFINITY, -INFINITY):
        with refused(ValueError, f"{function}: expected {name} to be finite, got {value}."):
            call(function, **{name: value})
    for value in (True, "1", [1.0]):
        with refused(TypeError, f"{function}: expected {name} to be a number, got {type(value).__name__}."):
            call(function, **{name: value})
    if torch.Tensor not in types(function, name):
        with refused(TypeError, f"{function}: expected {name} to be a number, got Tensor. Call {name}.item() first."):
            call(function, **{name: torch.tensor(1.0)})


@pytest.mark.parametrize("function, name", [(function, name) for function in CALLS for name in CALLS[function].positive])
def test_numbers_above_0(function, name):
    for value in (0, 0.0, -1.0):
        with refused(ValueError, f"{function}: expected {name} to be above 0, got {value}."):
            call(function, **{name: value})


@pytest.mark.parametrize("function, name", [(function, name) for function in USUAL for name in USUAL[function].differentiable[1:]])
@pytest.mark.parametrize("value, error, words", [
    (torch.zeros(3, dtype=torch.int64), TypeError, "to be float32, float64, float16 or bfloat16, got int64. Call {name}.float()"),
    (torch.zeros(2, device="meta"), ValueError, "on the device of x, cpu, got meta. Call {name}.to(x.device) first."),
    (torch.zeros(2), ValueError, "broadcastable to one time step of x, shape (2, 3), got shape (2,)."),
    (torch.zeros(3, 2), ValueError, "broadcastable to one time step of x, shape (2, 3), got shape (3, 2)."),
    (torch.zeros(1, 2, 3), ValueError, "broadcastable to one time step of x, shape (2, 3), got shape (1, 2, 3)."),
    (torch.zeros(4, 2, 3), ValueError, "broadcastable to one time step of x, shape (2, 3), got shape (4, 2, 3)."),
    (torch.zeros(0), ValueError, "broadcastable to one time step of x, shape (2, 3), got shape (0,)."),
], ids=["integer", "device", "size", "transposed", "extra_axis", "with_time", "empty"])  # fmt: skip
def test_parameters_of_neurons(function, name, value, error, words):
    with refused(error, f"{function}: expected {name} ", words.format(name=name)):
        call(function, **{name: value})


@pytest.mark.parametrize("function, name", [
    (function, name) for function, name in of_type(torch.Tensor, USUAL) if name != first(function)[0] and float not in types(function, name)
])  # fmt: skip
def test_optional_tensors(function, name):
    with refused(TypeError, f"{function}: expected {name} to be a tensor, got float."):
        call(function, **{name: 0.5})


@pytest.mark.parametrize("function, name", [
    (function, name) for function in CALLS for name in inspect.signature(getattr(SF, function)).parameters
    if typing.get_origin(types(function, name)[0]) is typing.Literal
])  # fmt: skip
def test_choices(function, name):
    listed = ", ".join(map(repr, types(function, name)[1:]))
    for value in ("zero", None, 0, ["to"]):
        with refused(ValueError, f"{function}: expected {name} to be one of {listed}, got {value!r}."):
            call(function, **{name: value})


@pytest.mark.parametrize("function, name", of_type(bool))
def test_flags(function, name):
    for value in (1, "yes"):
        with refused(TypeError, f"{function}: expected {name} to be True or False, got {value!r}."):
            call(function, **{name: value})


@pytest.mark.parametrize("function, name", of_type(Surrogate))
def test_surrogates(function, name):
    for value in ("atan", ATan, None):
        with refused(TypeError, f"{function}: expected {name} to be one of spikeops.surrogate, such as ", f"got {value!r}."):
            call(function, **{name: value})


@pytest.mark.parametrize("function, name", [(function, name) for function, name in of_type(int, USUAL) if name != "max_spikes"])
def test_number_of_time_steps(function, name):
    data, optional = first(function), type(None) in types(function, name)
    for value in (0, -3):
        with refused(ValueError, f"{function}: expected {name}, the number of time steps, to be at least 1, got {value}."):
            call(function, **{name: value})
    for value in (1.0, True, "1", torch.tensor(1), *([] if optional else [None])):
        with refused(TypeError, f"{function}: expected {name}, the number of time steps, to be an int, got {type(value).__name__}."):
            call(function, **{name: value})
    if optional:  # then the data has no time axis
        for parameter in CALLS[function].differentiable[1:]:
            with refused(ValueError, f"{function}: expected {parameter} to be broadcastable to one time step of x, shape {tuple(data[1].shape)}, got"):
                call(function, **{name: 3, parameter: torch.zeros(7)})


@pytest.mark.parametrize("dtype", [torch.uint32, torch.complex64, torch.float8_e4m3fn])
def test_spike_count_dtype(dtype):
    with refused(TypeError, "spike_count: expected spikes to be float32, float64, float16 or bfloat16, got"):
        SF.spike_count(torch.zeros(2, 3).to(dtype))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.uint16, torch.complex64])
def test_packing_dtypes(dtype):
    expected = "one of bool, uint8, int32, int64, float32, float64, float16, bfloat16, got"
    with refused(TypeError, f"pack_spikes: expected spikes to be {expected} {dtype}."):
        SF.pack_spikes(torch.zeros(2, 3).to(dtype))
    with refused(TypeError, f"unpack_spikes: expected dtype to be {expected} {dtype}."):
        SF.unpack_spikes(PACKED, 4, dtype)


def test_unpack_spikes():
    with refused(TypeError, "unpack_spikes: expected packed to be uint16 words from pack_spikes, got torch.float32."):
        SF.unpack_spikes(X, 4)
    for T in (17, 100):
        with refused(ValueError, f"unpack_spikes: expected {-(-T // 16)} words along time for T = {T}, got shape (1, 3)."):
            SF.unpack_spikes(PACKED, T)


def test_poisson_generator():
    with refused(TypeError, "poisson_encode: expected generator to be a torch.Generator, got int."):
        SF.poisson_encode(X[0], 4, generator=3)


def test_nothing_falls_back_to_the_reference():
    """A device without kernels is refused with a way out."""
    from spikeops import _backend

    with refused(RuntimeError, "lif: there are kernels for cpu and cuda tensors, got one on xpu:0.", "set_backend('reference')"):
        _backend.namespace("lif", torch.device("xpu:0"))


def test_ops_check_what_protects_memory(native):
    """Below the Python functions: shapes that do not fit are refused by the ops themselves."""
    ops = torch.ops.spikeops
    gradient = torch.zeros(4, 2, 2)
    for call in (
        lambda: ops.tssl_bp_backward(gradient, X, 5.0, 3.0, 1.0),
        lambda: ops.unpack_spikes(PACKED, 40, torch.float32),
        lambda: ops.unpack_spikes(PACKED.to(torch.int32), 4, torch.float32),
        lambda: ops.synaptic_filter_forward(X.to(torch.int32), 3.0),
        lambda: ops.synaptic_filter_forward(torch.tensor(1.0), 3.0),
        lambda: ops.spike_count(X.to(torch.complex64)),
        lambda: ops.poisson_encode(X[0], 4, torch.zeros(1)),
        lambda: ops.row_sum(X),
        lambda: ops.row_sum(X[0].half()),
    ):
        with pytest.raises(RuntimeError, match="expected"):
            call()
