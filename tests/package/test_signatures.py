"""Public signatures spell out every option, alike where they mean the same, with types that name the choices that the code takes."""

import inspect
import re
import typing

import op_cases
import pytest
import torch
from op_tests.inputs import Inputs

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference, surrogate
from spikeops.functional._general_lif import RESET_TIMINGS, ROUNDINGS, GeneralOptions, ResetTiming, Rounding
from spikeops.functional._lif_options import RESETS, WEIGHTINGS, LIFOptions, Reset, Weighting

PUBLIC = [getattr(module, name) for module in (SF, snn, surrogate) for name in module.__all__] + [
    spikeops.backend, spikeops.backends, spikeops.pack_saved_spikes, spikeops.set_backend,
]  # fmt: skip
X = torch.rand(3, 4, 8, generator=torch.Generator().manual_seed(1))
LINEAR = torch.nn.Linear(8, 6, bias=False)


def of_function(call):
    """The public function with the arguments of a call of the case files, but for options that a test adds."""
    function = getattr(SF, call.function)
    names = inspect.signature(function).parameters
    given = {name: value for name, value in call.make(Inputs(3, (4, 8))).items() if name in names}
    return lambda **options: function(**{**given, **options})


def of_module(case):
    """Neurons look at their options when they get their input."""

    def make(**options):
        module = case.kind(**{**case.needed, **options})
        return module(X) if case.function else module

    return make


# Calls that can be made, but for the options that a test adds.
CALLS = {
    **{getattr(SF, name): of_function(call) for name, call in op_cases.first_calls().items()},
    **{case.kind: of_module(case) for case in op_cases.MODULES.values()},
    snn.LocalLossBlock: lambda **options: snn.LocalLossBlock(LINEAR, (6,), 3, **options),
    spikeops.set_backend: lambda name: spikeops.set_backend(name),
    spikeops.backend: lambda name: spikeops.backend(name).__enter__(),
}
# Options with which alone a choice can be made.
NEEDED = {("save", "bits"): {"surrogate": surrogate.Rectangle(1.0)}}
PASSES_ON = (snn.checkpoint,)  # what else it is given, to the block
TORCHS_OWN = (snn.SpikeConv2d, snn.SpikeLinear, snn.WSConv2d)  # options of torch's layers


def choices(hint):
    """The strings in a hint's `Literal`s."""
    if typing.get_origin(hint) is typing.Literal:
        return [value for value in typing.get_args(hint) if isinstance(value, str)]
    return [value for part in typing.get_args(hint) for value in choices(part)]


def hints(function):
    return typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)


WITH_CHOICES = [
    pytest.param(function, name, choices(hint), id=f"{function.__name__}-{name}")
    for function in PUBLIC if function not in TORCHS_OWN for name, hint in hints(function).items() if choices(hint)
]  # fmt: skip


@pytest.mark.parametrize("function, name, values", WITH_CHOICES)
def test_choices_are_those_that_the_code_takes(function, name, values):
    with pytest.raises(ValueError) as refused:
        CALLS[function](**{name: "nonsense"})
    listed = re.search("one of (.*), got 'nonsense'", str(refused.value))[1].replace("'", "").split(", ")
    assert [value for value in listed if value not in ("True", "False")] == values


@pytest.mark.parametrize("function, name, values", WITH_CHOICES)
def test_every_choice_is_taken(function, name, values):
    if function in (spikeops.backend, spikeops.set_backend):
        pytest.skip("which backends there are depends on the machine")
    for value in values:
        CALLS[function](**{name: value}, **NEEDED.get((name, value), {}))


def test_numbers_of_the_choices():
    assert list(RESETS) == list(typing.get_args(Reset)) and list(WEIGHTINGS) == list(typing.get_args(Weighting))
    assert typing.get_args(ResetTiming) == RESET_TIMINGS and typing.get_args(Rounding) == ROUNDINGS


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: function.__name__)
def test_no_public_signature_hides_options(function):
    functions = [function]
    if inspect.isclass(function):
        members = {name: f for c in reversed(function.__mro__) if c.__module__.startswith("spikeops") for name, f in vars(c).items()}
        unwrapped = {name: getattr(f, "__func__", f) for name, f in members.items() if name == "__init__" or name[0] != "_"}
        functions = [f for f in unwrapped.values() if inspect.isfunction(f)]
    for f in functions:
        kinds = {parameter.kind for parameter in inspect.signature(f).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds or f in PASSES_ON, f.__qualname__
        names = [*inspect.signature(f).parameters, *(["return"] if inspect.isfunction(f) and f.__name__ != "__init__" else [])]
        untyped = [name for name in names if name not in ("self", "cls", *f.__annotations__)]
        assert not untyped, f"{f.__qualname__} has no types for {untyped}"


@pytest.mark.parametrize("function", [SF.lif, SF.lif_rate, snn.LIF, snn.IF, snn.ParametricLIF, reference.lif],
                         ids=lambda function: f"{function.__module__}.{function.__name__}")  # fmt: skip
def test_lif_options_are_the_same_everywhere(function):
    parameters, types = inspect.signature(function).parameters, typing.get_type_hints(LIFOptions)
    shared = [name for name in parameters if name in types]
    assert shared == list(types)
    for name in shared:
        assert parameters[name].default == LIFOptions._field_defaults[name], name
        # Numbers of each neuron are for lif and its modules.
        wanted = {float} if function is SF.lif_rate and torch.Tensor in typing.get_args(types[name]) else {types[name]}
        wanted |= {float | None} if function is SF.lif_rate and name == "reset_amount" else set()
        assert function is reference.lif or hints(function)[name] in wanted, name


@pytest.mark.parametrize("function", [SF.lif, snn.LIF, snn.IF, snn.ParametricLIF, reference.lif],
                         ids=lambda function: f"{function.__module__}.{function.__name__}")  # fmt: skip
def test_general_lif_options_are_the_same_everywhere(function):
    parameters, types = inspect.signature(function).parameters, typing.get_type_hints(GeneralOptions)
    assert [name for name in parameters if name in types] == list(types)
    for name in types:
        assert parameters[name].default == GeneralOptions._field_defaults[name], name
        assert function is reference.lif or hints(function)[name] == types[name], name


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_a_misspelt_option_is_an_error(function):
    with pytest.raises(TypeError, match="unexpected keyword argument 'misspelt'"):
        CALLS[function](misspelt=1)
