"""`deep_networks.py`: what is compared computes the same, who does not is left out, and the figures are what they say."""

import deep_networks
import pytest
import torch

from measuring import results
from reports import deep_networks as report
from steps import deep_networks as steps
from steps.deep_networks import PLAIN, WAYS, Different, Size, Way

TINY = Size(2, 2, width=4, depth=1, side=8)
SIZES = ["--width", "4", "--depth", "1", "--side", "8", "--rounds", "1"]
SIZES += ["--times", "2", "--block-times", "2", "--block-rounds", "1", "--growth-times", "2", "4", "--growth-width", "2"]


@pytest.mark.parametrize("name", WAYS)
def test_every_way_computes_what_the_plain_one_does(name):
    """Bit for bit, or up to rounding, and with every gradient other than 0 in a network this wide."""
    words = steps.compare(name, TINY, "cpu")
    if WAYS[name].is_exact:
        assert words == ("what the others are compared with" if name == PLAIN else "the same bits")
    else:
        assert float(words.split()[0]) < 1e-8


def test_ways_differ_in_what_they_keep():
    timer = deep_networks.timers.make_timer("cpu")
    size = Size(8, 2, width=8, depth=1, side=16)
    kept = {}
    for name in WAYS:
        step = steps.make(name, size, "cpu")
        step.run()
        kept[name] = timer.kept_bytes(step.forward)
    assert kept["all"] < kept["packed, bits"] < min(kept["packed"], kept["bits"]) < kept[PLAIN]
    parts = [kept[f"packed, bits, {part} checkpointed"] for part in ("three quarters", "half", "an eighth")]
    assert kept["all"] < parts[0] < parts[1] < parts[2] < kept["packed, bits"]


def test_a_way_that_computes_something_else_is_left_out(monkeypatch, capsys):
    def halved(net):
        with torch.no_grad():
            net.head.linear.weight.mul_(0.5)
        return net

    monkeypatch.setitem(WAYS, "halved", Way(change=halved))
    monkeypatch.setitem(WAYS, "halved, not exact", Way(change=halved, is_exact=False))
    for name, words in (("halved", "not bit for bit"), ("halved, not exact", "in float64")):
        with pytest.raises(Different, match=words):
            steps.compare(name, TINY, "cpu")
    table = results.Table("cpu")
    deep_networks.measure(table, report.NETWORK, [PLAIN, "halved"], TINY, "cpu", rounds=1)
    assert [m.way for m in report.measured(table.rows)] == [PLAIN]
    assert "left out: halved with T 2" in capsys.readouterr().out
    assert "- halved, T 2: its loss or a gradient is not bit for bit" in report.markdown(table.rows, "")


@pytest.mark.parametrize("name", steps.PEERS)
def test_peers_compute_what_we_compute(name):
    """Their whole network, of which nothing but the images and the depth is small: 64 channels and more."""
    pytest.importorskip("spikingjelly.activation_based.model.sew_resnet")
    words = steps.compare(name, Size(2, 2, depth=1, side=8), "cpu")
    assert float(words.split()[0]) < 1e-8
    step = steps.make(name, Size(2, 2, depth=1, side=8), "cpu")
    assert step.run().isfinite() and step.run().isfinite()


@pytest.mark.parametrize("has_convolution", [True, False])
def test_blocks_compute_the_same_apart_and_as_one(has_convolution):
    apart, one = (steps.block(Size(4, 2, width=8, side=8), 1, is_one, has_convolution)() for is_one in (False, True))
    for a, o in zip(apart, one, strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(o, a, rtol=1e-3, atol=1e-3 * a.abs().max().item())


def test_tables_and_a_picture_are_written(tmp_path, capsys):
    """The second call adds to the table of the first."""
    out = tmp_path / "deep.csv"
    assert deep_networks.main([*SIZES, "--ways", "all", "packed", "--out", str(out)]) == 0
    assert deep_networks.main([*SIZES, "--ways", "fused", "--block-times", "--growth-times", "--out", str(out)]) == 0
    text = out.with_suffix(".md").read_text()
    assert "| all | 2 |" in text and "| packed | 2 |" in text and "| fused | 2 |" in text and "| bits | 2 |" not in text
    assert "- fused: `spikeops.fuse(net)`" in text and "- all: checkpoint and bits" in text
    assert "exponents over T 2 to 4" in text and text.count("| plain |") == 3
    assert text.count("| batch norm and neurons |") == 4 and "| 8 x 4 x 4 | 2 | 2 |" in text
    picture = out.with_suffix(".png")
    assert picture.read_bytes().startswith(b"\x89PNG") and f"({picture.name})" in text
    assert deep_networks.main(["--ways", "no such"]) == 2
    assert "no such way: no such" in capsys.readouterr().out


def a_step(way, T, kept, seconds, run="now"):
    return report.Measured(report.NETWORK, "", way, T, 1, 1, run, kept, 200 * T, seconds)


def test_exponents_and_goals():
    times = [4, 8, 16, 32]
    assert report.exponent(times, [3 * T**1.3 for T in times]) == pytest.approx(1.3)
    rows = [a_step(PLAIN, T, 100 * T, 1.0 * T) for T in times]
    rows += [a_step("packed", T, 12 * T, 1.05 * T) for T in times]
    first, second = report.goals(rows)
    assert first.endswith("1.1 x its time: packed") and second.endswith("1.4 x its time: packed")
    rows += [a_step("all", T, 10 * T, (1.2 if T < 32 else 1.5) * T) for T in times]
    assert report.goals(rows)[1].endswith("1.4 x its time: packed")
    assert report.goals([row for row in rows if row.way != "packed"])[1].endswith("missed")
    table = report.growth([a_step("square", T, T**2, 1.0) for T in times])
    assert "| square | 2.00 (goal missed), 2.00 | 1.00, 1.00 | 0.00, 0.00 |" in table


def test_a_way_is_held_against_the_plain_step_of_its_run():
    rows = [a_step(PLAIN, 4, 100, 1.0), a_step(PLAIN, 4, 100, 3.0, "later"), a_step("packed", 4, 30, 3.0, "later")]
    assert "| packed | 4 | 1 | 0.0 | 0.300 | 0.0 | 1.00 | 3000 | 1.00 |" in report.ways(rows)
