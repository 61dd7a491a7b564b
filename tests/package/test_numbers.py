"""Numbers are numbers, wherever a float or an int is taken: Python's, NumPy's, fractions. A bool is none. Decays lie in [0, 1]."""

import inspect
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import op_cases
import pytest
import torch
from op_tests.inputs import ROW as X

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import surrogate
from spikeops.functional import _other_words


def bump(kind, **options):
    return [kind(**options).derivative(X)]


# Call -> its numbers. Those of an op on spikes are made anew, so that results can be compared.
CALLS = {
    **{
        getattr(surrogate, name): (
            lambda kind=getattr(surrogate, name), **o: bump(kind, **o),
            {parameter: 2.0 for parameter in inspect.signature(getattr(surrogate, name)).parameters},
        )
        for name in surrogate.__all__ if name != "Surrogate"
    },
    **op_cases.NUMBERS,
}  # fmt: skip
KINDS = {
    "float32": np.float32, "float64": np.float64, "float16": np.float16, "longdouble": np.longdouble, "fraction": Fraction,
    "array": np.array, "int64": np.int64, "int32": np.int32, "uint8": np.uint8,
}  # fmt: skip
EACH = [pytest.param(call, id=call if isinstance(call, str) else call.__name__) for call in CALLS]
TORCHS_OWN = (snn.AvgPool2d, snn.SpikeConv2d, snn.SpikeLinear, snn.WSConv2d)
WINDOWS = (SF.avg_pool2d, SF.spike_conv2d)  # whose sizes torch checks
OF_EACH_NEURON = (SF.lif, snn.LIF, snn.IF, snn.ParametricLIF)  # which take numbers of each neuron


def numbers_of(call):
    """Parameters that are numbers, by their types."""
    function = call.__init__ if inspect.isclass(call) else call
    names = []
    for name, parameter in inspect.signature(function).parameters.items():
        kinds = re.findall(r"\w+", str(parameter.annotation))
        if ("float" in kinds or "int" in kinds) and "Optimizer" not in kinds:
            names.append(name)
    return names


def test_every_number_of_every_signature_is_tried():
    for module in (SF, snn, surrogate):
        for call in (getattr(module, name) for name in module.__all__):
            if call in TORCHS_OWN or not callable(call) or call is surrogate.Surrogate:
                continue
            wanted = set(numbers_of(call))
            tried = set(CALLS[call][1]) if call in CALLS else set()
            if call is snn.FeedbackRing:
                tried |= set(CALLS["spide"][1])
            if call in (snn.LocalClassifier, snn.ClassifierPool2d, snn.LocalLossBlock):
                tried |= {"shape"}
            if call is SF.lif:
                tried |= {"time_steps"}  # as in lif_rate
            assert wanted <= tried, f"{call.__name__}: {wanted - tried}"


@pytest.mark.parametrize("name", ["native", "reference"])
@pytest.mark.parametrize("call", EACH)
def test_numbers_of_any_kind(call, name):
    function, options = CALLS[call]
    with spikeops.backend(name):
        expected = function(**options)
        for option, value in options.items():
            for kind, make in KINDS.items():
                is_whole = float(value).is_integer()
                if (isinstance(value, int) and kind not in ("array", "int64", "int32", "uint8")) or (
                    isinstance(value, float) and make in (np.int64, np.int32, np.uint8) and not (is_whole and value >= 0)
                ):
                    continue
                actual = function(**options | {option: make(value)})
                for a, b in zip(actual, expected, strict=True):
                    assert torch.equal(a, b), f"{option} of kind {kind}"


@pytest.mark.parametrize("call", EACH)
def test_what_is_no_number_is_refused_by_name(call):
    function, options = CALLS[call]
    parameters = inspect.signature(call).parameters if callable(call) else {}
    for option in options:
        for value in (True, np.True_, "1", Decimal(1), torch.tensor(1.0), np.ones(2), 1j, [1.0]):
            takes_tensors = option.endswith("decay") or "Tensor" in str(parameters[option].annotation if option in parameters else "")
            if isinstance(value, torch.Tensor) and takes_tensors:
                continue
            if option == "dropout" and isinstance(value, list):
                continue
            if isinstance(value, torch.Tensor) and call in OF_EACH_NEURON and option in ("threshold", "input_scale", "reset_amount"):
                continue
            if call in WINDOWS and not (isinstance(value, (bool, np.bool_)) or option == "groups"):
                continue
            if option == "shape":  # of a parameter: torch says it
                continue
            with pytest.raises((TypeError, ValueError, RuntimeError)) as refused:
                function(**options | {option: value})
            known = option if call is snn.ClampedLIF else {"units": "shape", "side": "shape"}.get(option, option)
            if call not in WINDOWS:
                assert known in str(refused.value), f"{option} = {value!r}: {refused.value}"
                assert not isinstance(refused.value, RuntimeError), f"{option} = {value!r}: {refused.value}"


def test_modules_keep_pythons_own_numbers():
    """So that they show, save and compile like others."""
    for module in (snn.LIF(np.float32(0.5), np.int64(1)), snn.TSSLBP(np.float32(5), np.int32(3)), snn.SynapticFilter(np.float16(3))):
        assert "np." not in repr(module), module
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(X), module(X))


# --- decays -----------------------------------------------------------------------------------------------------------------

DECAYS = [(call, name) for call, (_, options) in CALLS.items() for name in ("decay", "leak") if name in options and (
    call not in (SF.clamped_lif, snn.ClampedLIF, SF.convex_snn_trial, snn.ConvexSNN))]  # there leak is a rate in 1/s  # fmt: skip


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("call, name", DECAYS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_decay_outside_0_and_1_is_refused(call, name, backend):
    function, options = CALLS[call]
    with spikeops.backend(backend):
        for value in (2.0, 1.001, -0.1, 20, np.float32(5)):
            with pytest.raises(ValueError, match=rf"expected {name}.*for a time constant use {name}=1 - 1/tau or exp\(-1/tau\)"):
                function(**options | {name: value})
        for value in (1, 1.0, *(() if name == "leak" or call is snn.ParametricLIF else (0, 0.0, -0.0))):
            if call is not snn.ParametricLIF:
                function(**options | {name: value})


def test_a_decay_tensor_outside_0_and_1():
    for op in (SF.lif, SF.lif_rate):
        with pytest.raises(ValueError, match="decay.* to be between 0 and 1, got 2. Hint: for a time constant"):
            op(X, torch.tensor(2.0))
        op(X, torch.tensor([0.0, 0.5, 1.0]))
    with pytest.raises(ValueError, match="LIF: expected decay.* got values from 0.5 to 2. Hint: for a time constant"):
        snn.LIF(torch.tensor([0.5, 2.0, 1.0]))
    assert torch.equal(snn.LIF(torch.tensor([0.5, 1.0, 0.0]))(X), SF.lif(X, torch.tensor([0.5, 1.0, 0.0]))[0])


# --- words of other libraries -------------------------------------------------------------------------------------------------

WORDS = [
    *((call, word, hint) for call in (SF.lif, SF.lif_rate, snn.LIF, snn.ParametricLIF) for word, hint in (
        ("tau", "decay=1 - 1/tau or exp(-1/tau)"), ("beta", "decay=beta"), ("v_threshold", "threshold="), ("alpha", "surrogate="),
        ("surrogate_function", "surrogate="), ("spike_grad", "surrogate="), ("step_mode", "(T, ...)"), ("thresh", "threshold="),
        ("reset_mechanism", 'reset="subtract"'), ("decay_input", "input_scale=1/tau"), ("learn_beta", "ParametricLIF"),
    ) if (call, word) != (snn.ParametricLIF, "decay_input")),
    (SF.tssl_bp, "tau", "tau_m="), (snn.TSSLBP, "v_threshold", "threshold="), (SF.synaptic_filter, "tau", "tau_s="),
    (snn.SynapticFilter, "alpha", "tau_s=1/(1 - alpha)"), (SF.poisson_encode, "num_steps", "T="), (SF.latency_encode, "num_steps", "T="),
    (SF.lif, "reset_delay", 'reset_timing="late"'), (snn.LIF, "min_v_mem", "v_min="), (SF.alif, "learn_threshold", "not learned"),
    (SF.feedback_step_, "tau", "leak=1 - 1/tau or exp(-1/tau)"), (SF.ternary_step_, "decay", "leak="), (snn.LocalBlock, "decay", "tau="),
    (SF.local_learning_step_, "tau", "decay=1 - 1/tau"), (SF.local_gradient_in_time, "beta", "decay=beta"),
    (snn.FeedbackRing, "v_threshold", "threshold="), (SF.clamped_lif, "tau", "leak=1/tau"), (snn.ClampedLIF, "num_steps", "time_steps="),
]  # fmt: skip


@pytest.mark.parametrize("call, word, hint", WORDS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_words_of_other_libraries_get_a_hint(call, word, hint):
    with pytest.raises(TypeError, match=rf"got an unexpected keyword argument '{word}'. Hint: .*{re.escape(hint)}"):
        call(X, **{word: 1.0}) if not inspect.isclass(call) else call(**{word: 1.0})


def test_no_potential_to_reset_to_is_a_reset_by_subtraction():
    for call in (lambda: SF.lif(X, v_reset=None), lambda: SF.lif_rate(X, v_reset=None), lambda: snn.LIF(v_reset=None)):
        with pytest.raises(TypeError, match='v_reset to be a number, got NoneType.*reset="subtract"'):
            call()


def test_hints_name_options_that_there_are():
    """And no word is one of ours."""
    ours = {"NEURON": SF.lif_rate, "LIF": SF.lif, "TSSL": SF.tssl_bp, "FILTER": SF.synaptic_filter, "ENCODER": SF.poisson_encode, "LOCAL": snn.LocalBlock,
            "CLAMPED": SF.clamped_lif}
    for table, call in ours.items():
        parameters = inspect.signature(call).parameters if callable(call) else {}
        for word, hint in getattr(_other_words, table).items():
            assert word not in parameters, f"{table}: {word}"
            for option in re.findall(r"(\w+)=(?=\d|\w|,|$| )", hint.split("spikeops.nn")[0]):
                assert option in {*parameters, "True", "return_state", "decay_input"}, f"{table}: {word}: {option}"


def test_signatures_are_as_they_are_written():
    for call in (SF.lif, SF.tssl_bp, SF.feedback_step_, snn.LIF.__init__, snn.LocalBlock.__init__):
        assert call.__wrapped__.__doc__ == call.__doc__ and call.__name__ == call.__wrapped__.__name__
        assert inspect.signature(call) == inspect.signature(call.__wrapped__)
        assert call.__code__ is not SF.lif_rate.__code__, "Dynamo keeps what it compiles with the code"
