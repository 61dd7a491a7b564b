"""The notation of networks."""

import pytest

from spiketrain.errors import UserError
from spiketrain.models.notation import ALL, Conv, Linear, Pool, Recurrent, Residual, parse, parse_ring


def test_layers_in_order():
    assert parse("15C5-P2-40C5-P2-300-10") == [Conv(15, 5), Pool(2), Conv(40, 5), Pool(2), Linear(300), Linear(10)]


def test_padding_for_all_or_for_each():
    assert [layer.padding for layer in parse("2C3-4C3-10", 1)[:2]] == [1, 1]
    assert [layer.padding for layer in parse("2C3-P2-4C3-10", [1, 0]) if isinstance(layer, Conv)] == [1, 0]


def test_recurrent_layers_where_there_may_be_some():
    layers = [Conv(15, 5), Recurrent(128), Recurrent(64, all_to_all=False), Linear(10)]
    assert parse("15C5-128R-64R1-10", allows=ALL) == layers
    with pytest.raises(UserError, match="'128R' in 128R-10 is a recurrent layer, which only networks of bptt have"):
        parse("128R-10")


def test_batch_norm_pooling_and_residual_blocks_where_there_may_be_some():
    assert parse("8C3-BN-MP2-AP3-P2-32-BN-16R-BN-10-BN", allows=ALL) == [
        Conv(8, 3, batch_norm=True), Pool(2, "maximum"), Pool(3, "average"), Pool(2), Linear(32, batch_norm=True), Recurrent(16, batch_norm=True),
        Linear(10, batch_norm=True),
    ]  # fmt: skip
    assert parse("(8C3s-BN-8C3)+-(9C1+)-(32-BN)+-10", [1, 2, 0], allows=ALL) == [
        Residual((Conv(8, 3, 1, 2, batch_norm=True), Conv(8, 3, 2)), "spikes"), Residual((Conv(9, 1),), "currents"),
        Residual((Linear(32, batch_norm=True),), "spikes"), Linear(10),
    ]  # fmt: skip


@pytest.mark.parametrize("layers, words", [
    ("8C3-BN-10", "'BN' in 8C3-BN-10 is batch norm"), ("8C3-AP2-10", "'AP2' in .* is pooling of its own kind"), ("8C3-MP2-10", "'MP2'"),
    ("(8C3)+-10", r"'\(8C3\)\+' in .* is a residual block"), ("128R1-10", "a recurrent layer"),
])  # fmt: skip
def test_other_networks_refuse_them_by_name(layers, words):
    with pytest.raises(UserError, match=f"{words}.*, which only networks of bptt have"):
        parse(layers)
    with pytest.raises(UserError, match=words):
        parse_ring(layers, "400")


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


@pytest.mark.parametrize("layers, words", [
    ("BN-8C3-10", "'BN' in .* must follow the weights that it normalises"), ("8C3-BN-BN-10", "must follow"), ("8C3-P2-BN-10", "must follow"),
    ("(8C3)+-BN-10", "must follow"), ("8C3BN-10", r"cannot read '8C3BN'.*, 64C3-BN \(batch norm\)$"), ("8C3-bn-10", "cannot read 'bn'"),
    ("AP0-10", "cannot read 'AP0'"), ("8C3-()+-10", "cannot read ''"), ("(8C3-P2)+-10", "expected convolutions alone, or units alone"),
    ("(8C3-32)+-10", "expected convolutions alone"), ("(32R)+-10", "expected convolutions alone"), ("(8C3)-10", r"cannot read '\(8C3\)'"),
    ("(8C3+)+-10", "cannot read"), ("((8C3)+)+-10", "cannot read"), ("(8C3-10", "cannot read"), ("8C3)+-10", "cannot read"), ("8C3+-10", r"cannot read '8C3\+'"),
    ("(32)+-8C3-10", "'8C3' cannot follow a fully connected layer"), ("32-(8C3)+-10", "cannot follow"), ("32-MP2-10", "cannot follow"),
    ("8C3-(10)+", "must end with the number of outputs"), ("8C3-AP2", "must end with the number of outputs"),
])  # fmt: skip
def test_what_cannot_be_read_of_networks_that_have_all(layers, words):
    with pytest.raises(UserError, match=words):
        parse(layers, allows=ALL)


def test_a_long_notation_is_refused_at_once():
    for text in ("-" * 4000, "(" * 4000, "()+-" * 1000, "(-" * 2000 + "8C3", "8C3-(" * 800):
        with pytest.raises(UserError):
            parse(text, allows=ALL)
