"""A module shows the call that makes one like it: arguments without a default, and all that differ from it."""

import inspect

import op_cases
import pytest
import torch
from op_tests.kinds import Module
from torch import nn

import spikeops.nn as snn
from spikeops import surrogate

# Modules of more than one family, or of none. Modules inside them are listed below, and tensors are in the state dict.
OTHERS = (
    Module(kind=snn.ClassifierPool2d, needed=dict(shape=(8, 14, 14), max_features=64)),
    Module(kind=snn.LocalLossBlock, needed=dict(encoder=nn.Linear(4, 6), shape=(6,), classes=3),
           options=dict(loss="sim", beta=0.5, neuron=snn.IF(), batch_norm=False, decoder_size=32, time_steps=3,
                        similarity_std=False)),
    Module(kind=snn.TimeDistributed, needed=dict(module=nn.Linear(2, 3))),
)  # fmt: skip
# Arguments without a default, and another value for each option, in one go as far as they go together.
CASES = {module.kind: (module.needed, module.options) for module in (*op_cases.MODULES.values(), *OTHERS)}
SAMPLES = [
    (module.kind, module.needed, options) for module in (*op_cases.MODULES.values(), *OTHERS) for options in ({}, module.options, *module.samples)
]
# Torch shows their options in its own way.
CONVOLUTIONS = (snn.SpikeConv2d, snn.WSConv2d)
MODULES = [getattr(snn, name) for name in snn.__all__ if inspect.isclass(getattr(snn, name))]


def is_shown_elsewhere(value):
    return isinstance(value, (torch.Tensor, nn.Module)) or value == []


@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_every_argument_is_looked_at(kind):
    if kind not in (*CONVOLUTIONS, snn.SpikeLinear, snn.AvgPool2d):
        assert kind in CASES, f"{kind.__name__} has no case: add a Module to MODULES of its file in tests/helpers/op_cases"
        needed, options = CASES[kind]
        apart = {name for of, _, sample in SAMPLES if of is kind for name in sample}
        assert set(inspect.signature(kind).parameters) == {*needed, *options, *apart}


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_defaults_are_left_out(kind):
    needed, _ = CASES[kind]
    expected = [f"{name}={value!r}" for name, value in needed.items() if not is_shown_elsewhere(value)]
    assert kind(**needed).extra_repr() == ", ".join(expected)


@pytest.mark.parametrize("kind, needed, options", SAMPLES)
def test_what_differs_from_its_default_is_shown(kind, needed, options):
    parameters = inspect.signature(kind).parameters
    order = list(parameters)
    differing = {name: value for name, value in options.items() if value != parameters[name].default}
    arguments = sorted({**needed, **differing}.items(), key=lambda item: order.index(item[0]))
    expected = [f"{name}={value!r}" for name, value in arguments if not is_shown_elsewhere(value)]
    assert kind(**{**needed, **options}).extra_repr() == ", ".join(expected)


@pytest.mark.parametrize(
    "kind, needed, options", [sample for sample in SAMPLES if not any(map(is_shown_elsewhere, sample[1].values()))]
)  # fmt: skip
def test_what_is_shown_makes_a_module_like_it(kind, needed, options):
    module = kind(**{**needed, **options})
    twin = eval(repr(module), {**vars(snn), **{name: getattr(surrogate, name) for name in surrogate.__all__}})
    assert type(twin) is kind and repr(twin) == repr(module)
    assert {name: value.shape for name, value in twin.state_dict().items()} == {
        name: value.shape for name, value in module.state_dict().items()
    }


@pytest.mark.parametrize("kind", CONVOLUTIONS, ids=lambda kind: kind.__name__)
def test_convolutions(kind):
    assert "padding_mode=reflect" in repr(kind(4, 8, 3, padding_mode="reflect"))
    module = kind(4, 8, (3, 2), stride=2, padding=1, dilation=2, groups=2, bias=False)
    twin = eval(repr(module), {kind.__name__: kind})
    assert repr(twin) == repr(module) and twin.weight.shape == module.weight.shape and twin.bias is None


def test_pooling():
    assert repr(snn.AvgPool2d((2, 3), stride=1)) == "AvgPool2d(kernel_size=(2, 3), stride=1, padding=0)"


def test_linear_layers():
    assert repr(snn.SpikeLinear(4, 8, bias=False)) == "SpikeLinear(in_features=4, out_features=8, bias=False)"


def test_a_change_is_shown():
    neurons = snn.LIF(0.9)
    neurons.threshold = 0.5
    assert repr(neurons) == "LIF(decay=0.9, threshold=0.5)"


def test_a_subclass_shows_what_its_parent_does():
    class Mine(snn.LIF):
        def __init__(self):
            super().__init__(0.9, reset="none")

    assert repr(Mine()) == "Mine(decay=0.9, reset='none')"


@pytest.mark.parametrize("restricted, shown", [
    (lambda: snn.restrict_spectral_norm(nn.Linear(3, 3), 0.5), "SpectralNormRestriction(norm_range=0.5)"),
    (lambda: snn.restrict_frobenius_norm(nn.Linear(3, 3), 0.5, samples=None), "FrobeniusNormRestriction(norm_range=0.5, samples=None)"),
], ids=["spectral", "frobenius"])  # fmt: skip
def test_norm_restrictions(restricted, shown):
    assert shown in repr(restricted())
