"""The notation of networks."""

import pytest

from spiketrain.errors import UserError
from spiketrain.models.notation import Conv, Linear, Pool, Recurrent, parse


def test_layers_in_order():
    assert parse("15C5-P2-40C5-P2-300-10") == [Conv(15, 5), Pool(2), Conv(40, 5), Pool(2), Linear(300), Linear(10)]


def test_padding_for_all_or_for_each():
    assert [layer.padding for layer in parse("2C3-4C3-10", 1)[:2]] == [1, 1]
    assert [layer.padding for layer in parse("2C3-P2-4C3-10", [1, 0]) if isinstance(layer, Conv)] == [1, 0]


def test_recurrent_layers_where_there_may_be_some():
    layers = [Conv(15, 5), Recurrent(128), Recurrent(64, all_to_all=False), Linear(10)]
    assert parse("15C5-128R-64R1-10", may_recur=True) == layers
    with pytest.raises(UserError, match="'128R' in 128R-10 is a recurrent layer, which only networks of bptt have"):
        parse("128R-10")


@pytest.mark.parametrize(
    "layers, padding, word",
    [
        ("15C5-Q2-10", 0, "'Q2'"),
        ("15C5--10", 0, "''"),
        ("0C5-10", 0, "'0C5'"),
        ("", 0, "''"),
        ("15C5-P2", 0, "number of outputs"),
        ("300-15C5-10", 0, "cannot follow"),
        ("15C5-20C5-10", [1], "2 numbers"),
        ("15C5-10", -1, "0 or more"),
    ],
)
def test_what_cannot_be_read(layers, padding, word):
    with pytest.raises(UserError, match=word):
        parse(layers, padding)
