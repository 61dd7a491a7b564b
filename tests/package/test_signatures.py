"""Public signatures spell out every option, alike where they mean the same, with types that name the choices that the code takes."""

import inspect
import re
import typing

import pytest
import torch

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference, surrogate
from spikeops.functional._lif_options import RESETS, WEIGHTINGS, LIFOptions, Reset, Weighting

PUBLIC = [getattr(module, name) for module in (SF, snn, surrogate) for name in module.__all__] + [
    spikeops.backend, spikeops.backends, spikeops.set_backend,
]  # fmt: skip
X = torch.rand(3, 4, 8, generator=torch.Generator().manual_seed(1))
CONVEX = torch.ones(5, 2), -torch.ones(5, 5), torch.zeros(5)
LINEAR, CLASSIFIER = torch.nn.Linear(8, 6, bias=False), torch.nn.Linear(6, 3, bias=False)


def through(module):
    """Neurons look at their options when they get their input."""
    return lambda **options: module(**options)(X)


# Calls that can be made, but for the options that a test adds.
CALLS = {
    SF.lif: lambda **options: SF.lif(X, **options),
    SF.lif_rate: lambda **options: SF.lif_rate(X, **options),
    SF.convex_snn_trial: lambda **options: SF.convex_snn_trial(X[:, :, :2], *CONVEX, dt=0.01, leak=2.0, **options),
    snn.ConvexSNN: lambda **options: snn.ConvexSNN(2, 5, 1, **options),
    snn.LIF: through(snn.LIF),
    snn.IF: through(snn.IF),
    snn.ParametricLIF: through(snn.ParametricLIF),
    snn.LocalClassifier: lambda **options: snn.LocalClassifier((6,), 3, **options),
    snn.LocalBlock: lambda **options: snn.LocalBlock(LINEAR, CLASSIFIER, **options),
    snn.LocalLossBlock: lambda **options: snn.LocalLossBlock(LINEAR, (6,), 3, **options),
    snn.FeedbackRing: lambda **options: snn.FeedbackRing([], torch.nn.Linear(6, 6), LINEAR, **options),
    spikeops.set_backend: lambda name: spikeops.set_backend(name),
    spikeops.backend: lambda name: spikeops.backend(name).__enter__(),
}
TORCHS_OWN = (snn.SpikeConv2d, snn.WSConv2d)  # options of torch's convolution


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
        CALLS[function](**{name: value})


def test_numbers_of_the_choices():
    assert list(RESETS) == list(typing.get_args(Reset)) and list(WEIGHTINGS) == list(typing.get_args(Weighting))


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: function.__name__)
def test_no_public_signature_hides_options(function):
    functions = [function]
    if inspect.isclass(function):
        members = {name: f for c in reversed(function.__mro__) if c.__module__.startswith("spikeops") for name, f in vars(c).items()}
        unwrapped = {name: getattr(f, "__func__", f) for name, f in members.items() if name == "__init__" or name[0] != "_"}
        functions = [f for f in unwrapped.values() if inspect.isfunction(f)]
    for f in functions:
        kinds = {parameter.kind for parameter in inspect.signature(f).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, f.__qualname__
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
        assert function is reference.lif or hints(function)[name] == types[name], name


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_a_misspelt_option_is_an_error(function):
    with pytest.raises(TypeError, match="unexpected keyword argument 'misspelt'"):
        CALLS[function](misspelt=1)
