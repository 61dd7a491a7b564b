"""Every number of every method's configuration has bounds, and what is beyond them is refused by the field's name in one line."""

import math
import typing
from typing import Annotated

import pytest

from spiketrain import methods
from spiketrain.config import NetworkConfig
from spiketrain.config.bounds import LARGEST_FLOAT, LARGEST_INT, Bounds
from spiketrain.config.parser import schema
from spiketrain.errors import UserError
from spiketrain.methods import load_config

# Numbers that may have either sign, and why.
EITHER_SIGN = {
    "data.mean": "is subtracted",
    "method.u_rest": "is below the threshold, which the network looks at",
    "method.backward_u_rest": "is below the threshold, which the network looks at",
    "method.threshold_drift of clamped neurons": "is added to a gradient",
    "method.feedforward_mean": "is a mean",
    "method.threshold of convex": "is that of a boundary, on either side of 0",
}
NEVER = ("nan", "inf", "-inf", "1e300", "-1e300", "1e-40", "-1e-40", "1e400")


def numbers(kind):
    """(int or float, its bounds, whether it stands in a list) of each number that a type has."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated and arguments[0] in (int, float):
        return [(arguments[0], next(bound for bound in arguments[1:] if isinstance(bound, Bounds)), False)]
    if kind in (int, float):
        return [(kind, None, False)]
    return [(number, bounds, in_list or origin in (list, tuple)) for part in arguments for number, bounds, in_list in numbers(part)]


def fields_with_numbers():
    """(method, field, kind of number, bounds, whether in a list), each field once."""
    seen = {}
    for method in methods.names():
        for name, field in schema(methods.get(method).Options).items():
            for kind, bounds, in_list in numbers(field.kind):
                key = (method if name.startswith("method.") else "bptt", name, in_list)
                seen.setdefault(key, (*key[:2], kind, bounds, in_list, isinstance(field.default, tuple) or "tuple" in str(field.kind)))
    return list(seen.values())


FIELDS = fields_with_numbers()


def is_excused(method, name):
    names = (name, f"{name} of {method}", *([f"{name} of clamped neurons"] if method.startswith("local_") else []))
    return any(key in EITHER_SIGN for key in names)


@pytest.mark.parametrize("method, name, kind, bounds, in_list, is_pair", FIELDS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_number_out_of_bounds_is_refused_by_name(method, name, kind, bounds, in_list, is_pair):
    assert bounds is not None or is_excused(method, name), f"{name} of {method} has no bounds"
    wrong = [word for word in NEVER if not (kind is int and word in ("1e-40", "-1e-40"))]
    if bounds is None:
        wrong += [str(2 * LARGEST_FLOAT), str(-2 * LARGEST_FLOAT)]
    else:
        lowest = bounds.at_least if bounds.at_least is not None else bounds.above
        assert lowest is not None and lowest >= 0, f"{name} of {method} has no lower bound"
        wrong += ["-1", str(-LARGEST_INT), *(["0"] if bounds.above == 0 else [])]
        highest = bounds.at_most if bounds.at_most is not None else bounds.below
        largest = highest if highest is not None else LARGEST_INT if kind is int else LARGEST_FLOAT
        wrong += [repr(type(largest)(2 * largest)), *([str(bounds.below)] if bounds.below is not None else [])]
    for word in wrong:
        given = f"[{word}, {word}]" if is_pair else f"[{word}]" if in_list else word
        with pytest.raises(UserError) as refused:
            load_config({"method": {"name": method}}, [f"--{name}", given])
        line = str(refused.value)
        assert line.startswith(f"field {name}: expected ") and len(line) <= 300 and "\n" not in line, line


@pytest.mark.parametrize("method, name, kind, bounds, in_list, is_pair", FIELDS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_ends_of_an_interval_are_taken(method, name, kind, bounds, in_list, is_pair):
    for end in (bounds.at_least, bounds.at_most) if bounds else (-1.0, 0.0, 1.0):
        if end is not None:
            word = repr(kind(end))
            given = f"[{word}, {word}]" if is_pair else f"[{word}]" if in_list else word
            is_of_models = name.removeprefix("network.") in NetworkConfig.of_models
            raw = {"method": {"name": method}, "network": {"model": "sew_resnet18"} if is_of_models else {}}
            config = load_config(raw, [f"--{name}", given])
            for part in name.split("."):
                config = getattr(config, part)
            assert all(math.isclose(value, end) for value in (config if in_list else [config]))


# What no field can tell alone: preset, option, the field that the line names.
TOGETHER = [
    ("tsslbp-digits", "--method.threshold=[1, 1, 1, 1]", "method.threshold"),
    ("tsslbp-digits", "--method.threshold=[1]", "method.threshold"),
    ("tsslbp-digits", "--method.threshold=[]", "method.threshold"),
    ("convex-digits", "--method.buffer_steps=100000", "method.buffer_steps"),
    ("convex-digits", "--method.onset=100000", "method.onset"),
    ("convex-digits", "--method.readout_steps=100000", "method.readout_steps"),
    ("convex-digits", "--method.leak=1e6", "method.leak"),
    ("convex-digits", "--method.dt=1", "method.leak"),
    ("localce-digits", "--method.dt=1", "method.leak"),
    ("spide-digits", "--method.u_rest=5", "u_rest"),
    ("spide-digits", "--method.backward_u_rest=0.5", "backward_u_rest"),
    ("bptt-digits", "--data.mean=[0.5]", "data.mean, data.std"),
    ("ell-digits", "--method.decoder_size=1", "decoder_size"),
    ("bell-digits", "--trainer.pipeline=100000", "trainer.pipeline"),
]


@pytest.mark.parametrize("preset, option, words", TOGETHER)
def test_numbers_that_do_not_go_together(assert_error, preset, option, words):
    assert_error([words, "expected"], "train", preset, option, "--trainer.limit_train", 40, "--trainer.limit_test", 20)
