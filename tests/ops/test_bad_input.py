"""Bad arguments are refused before any kernel runs, by errors that name the argument, what was given and what is expected."""

import re

import pytest
import torch

import spikeops.functional as SF
from spikeops.surrogate import ATan

X = torch.zeros(4, 2, 3)
PACKED = torch.zeros(1, 3, dtype=torch.uint16)
NAN, INFINITY = float("nan"), float("inf")

# Every op with a tensor of floating data (T, ...), called with that tensor.
FLOATING = {
    "lif": lambda x: SF.lif(x),
    "lif_rate": lambda x: SF.lif_rate(x),
    "tssl_bp": lambda x: SF.tssl_bp(x),
    "synaptic_filter": lambda x: SF.synaptic_filter(x, 3.0),
}
SPIKES = {
    "spike_count": SF.spike_count,
    "pack_spikes": SF.pack_spikes,
    "unpack_spikes": lambda packed: SF.unpack_spikes(packed, 1),
}
ENCODED = {
    "poisson_encode": lambda p: SF.poisson_encode(p, 3),
    "latency_encode": lambda p: SF.latency_encode(p, 3),
}
NAMES = {"lif": "x", "lif_rate": "x", "tssl_bp": "x", "unpack_spikes": "packed", "poisson_encode": "p", "latency_encode": "p"}


def refused(error, *words):
    """The error's text holds all the words, in this order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, words)))


@pytest.mark.parametrize("op", [*FLOATING, *SPIKES, *ENCODED])
def test_not_a_strided_tensor(op):
    function, name = {**FLOATING, **SPIKES, **ENCODED}[op], NAMES.get(op, "spikes")
    with refused(TypeError, f"{op}: expected {name} to be a tensor, got list."):
        function([[1.0], [0.0]])
    with refused(TypeError, f"{op}: expected {name} to be a tensor, got NoneType."):
        function(None)
    sparse = torch.eye(3).to_sparse()
    with refused(TypeError, f"{op}: expected {name} to be a strided tensor, got layout torch.sparse_coo", f"{name}.to_dense()"):
        function(sparse)


@pytest.mark.parametrize("op", [*FLOATING, *ENCODED])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.complex64])
def test_not_floating(op, dtype):
    function, name, got = {**FLOATING, **ENCODED}[op], NAMES.get(op, "spikes"), str(dtype).removeprefix("torch.")
    expected = f"{op}: expected {name} to be float32, float64, float16 or bfloat16, got {got}. Call {name}.float() first."
    with refused(TypeError, expected):
        function(torch.zeros(4, 3, dtype=dtype))


@pytest.mark.parametrize("op, function", [*FLOATING.items(), *SPIKES.items()])
def test_no_time_steps(op, function):
    name, dtype = NAMES.get(op, "spikes"), torch.uint16 if op == "unpack_spikes" else torch.float32
    with refused(ValueError, f"{op}: expected {name} to have shape (T, ...) with the time steps first, got a 0-d tensor."):
        function(torch.zeros((), dtype=dtype))
    with refused(ValueError, f"{op}: expected {name} to have at least one time step, got shape (0, 3) (T = 0)."):
        function(torch.zeros(0, 3, dtype=dtype))


@pytest.mark.parametrize("op, function", [("lif", SF.lif), ("lif_rate", SF.lif_rate)])
@pytest.mark.parametrize("name", ["decay", "threshold", "input_scale", "reset_amount", "v_reset", "v_rest"])
def test_lif_numbers(op, function, name):
    for value in (NAN, INFINITY, -INFINITY):
        with refused(ValueError, f"{op}: expected {name} to be finite, got {value}."):
            function(X, **{name: value})
    for value in (True, "1", [1.0]):
        with refused(TypeError, f"{op}: expected {name} to be a number, got {type(value).__name__}."):
            function(X, **{name: value})
    if name != "decay":
        with refused(TypeError, f"{op}: expected {name} to be a number, got Tensor. Call {name}.item() first."):
            function(X, **{name: torch.tensor(1.0)})


@pytest.mark.parametrize("op, function", [("lif", SF.lif), ("lif_rate", SF.lif_rate)])
@pytest.mark.parametrize("name", ["decay", "v_init"])
@pytest.mark.parametrize("value, error, words", [
    (torch.zeros(3, dtype=torch.int64), TypeError, "to be float32, float64, float16 or bfloat16, got int64. Call {name}.float()"),
    (torch.zeros(2, device="meta"), ValueError, "on the device of x, cpu, got meta. Call {name}.to(x.device) first."),
    (torch.zeros(2), ValueError, "broadcastable to one time step of x, shape (2, 3), got shape (2,)."),
    (torch.zeros(3, 2), ValueError, "broadcastable to one time step of x, shape (2, 3), got shape (3, 2)."),
    (torch.zeros(1, 2, 3), ValueError, "broadcastable to one time step of x, shape (2, 3), got shape (1, 2, 3)."),
    (torch.zeros(4, 2, 3), ValueError, "broadcastable to one time step of x, shape (2, 3), got shape (4, 2, 3)."),
    (torch.zeros(0), ValueError, "broadcastable to one time step of x, shape (2, 3), got shape (0,)."),
], ids=["integer", "device", "size", "transposed", "extra_axis", "with_time", "empty"])  # fmt: skip
def test_lif_parameters(op, function, name, value, error, words):
    with refused(error, f"{op}: expected {name} ", words.format(name=name)):
        function(X, **{name: value})


@pytest.mark.parametrize("op, function", [("lif", SF.lif), ("lif_rate", SF.lif_rate)])
def test_lif_choices(op, function):
    with refused(ValueError, f"{op}: expected reset to be one of 'subtract', 'to', 'none', got 'zero'."):
        function(X, reset="zero")
    for value in (None, 0, ["to"]):
        with refused(ValueError, f"{op}: expected reset to be one of 'subtract', 'to', 'none', got {value!r}."):
            function(X, reset=value)
    for name in ("strict", "detach_reset"):
        with refused(TypeError, f"{op}: expected {name} to be True or False, got 1."):
            function(X, **{name: 1})
    for value in ("atan", ATan, None):
        with refused(TypeError, f"{op}: expected surrogate to be one of spikeops.surrogate, such as ATan(2.0), got {value!r}."):
            function(X, surrogate=value)
    with refused(TypeError, f"{op}: expected v_init to be a tensor, got float."):
        function(X, v_init=0.5)


@pytest.mark.parametrize("op, function", [("lif", SF.lif), ("lif_rate", SF.lif_rate)])
def test_lif_of_a_constant_current(op, function):
    for value in (0, -3):
        with refused(ValueError, f"{op}: expected time_steps, the number of time steps, to be at least 1, got {value}."):
            function(X, time_steps=value)
    for value in (True, 2.0, "5"):
        with refused(TypeError, f"{op}: expected time_steps, the number of time steps, to be an int, got {type(value).__name__}."):
            function(X, time_steps=value)
    with refused(ValueError, f"{op}: expected v_init to be broadcastable to one time step of x, shape {tuple(X.shape)}, got"):
        function(X, time_steps=3, v_init=torch.zeros(7))


def test_lif_rate_weighting():
    with refused(ValueError, "lif_rate: expected weighting to be one of 'mean', 'decay', got 'exp'."):
        SF.lif_rate(X, weighting="exp")


TIME_CONSTANTS = [
    ("tssl_bp", "tau_m", lambda value: SF.tssl_bp(X, tau_m=value)),
    ("tssl_bp", "tau_s", lambda value: SF.tssl_bp(X, tau_s=value)),
    ("synaptic_filter", "tau_s", lambda value: SF.synaptic_filter(X, value)),
]


@pytest.mark.parametrize("op, name, function", TIME_CONSTANTS, ids=lambda value: value if isinstance(value, str) else "")
def test_time_constants(op, name, function):
    for value in (0, 0.0, -1.0):
        with refused(ValueError, f"{op}: expected {name} to be above 0, got {value}."):
            function(value)
    for value in (NAN, INFINITY):
        with refused(ValueError, f"{op}: expected {name} to be finite, got {value}."):
            function(value)
    with refused(TypeError, f"{op}: expected {name} to be a number, got Tensor. Call {name}.item() first."):
        function(torch.tensor(3.0))
    with refused(TypeError, f"{op}: expected {name} to be a number, got bool."):
        function(True)


def test_tssl_bp():
    with refused(ValueError, "tssl_bp: expected threshold to be finite, got nan."):
        SF.tssl_bp(X, threshold=NAN)
    with refused(TypeError, "tssl_bp: expected return_spikes to be True or False, got 'yes'."):
        SF.tssl_bp(X, return_spikes="yes")


NUMBERS_OF_STEPS = {
    "unpack_spikes": lambda T: SF.unpack_spikes(PACKED, T),
    "poisson_encode": lambda T: SF.poisson_encode(X[0], T),
    "latency_encode": lambda T: SF.latency_encode(X[0], T),
}


@pytest.mark.parametrize("op, function", NUMBERS_OF_STEPS.items())
def test_number_of_time_steps(op, function):
    for value in (0, -3):
        with refused(ValueError, f"{op}: expected T, the number of time steps, to be at least 1, got {value}."):
            function(value)
    for value in (1.0, True, "1", None, torch.tensor(1)):
        with refused(TypeError, f"{op}: expected T, the number of time steps, to be an int, got {type(value).__name__}."):
            function(value)


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
