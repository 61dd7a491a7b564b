"""`deep_networks.py`: what is compared computes the same, who does not is left out, and the figures are what they say."""

import deep_networks
import pytest
import torch

from reports import deep_networks as report
from steps import deep_networks as steps
from steps.deep_networks import PLAIN, WAYS, Different, Size, Way

TINY = Size(2, 2, width=4, depth=1, side=8)
SIZES = ["--width", "4", "--depth", "1", "--side", "8", "--times", "2", "--growth-times", "2", "4", "--growth-width", "2", "--rounds", "1"]


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
    assert kept["packed, bits, first stage checkpointed"] < kept["packed, bits"]


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
    rows = deep_networks.measure([PLAIN, "halved"], TINY, "cpu", rounds=1)
    assert [row.way for row in rows] == [PLAIN]
    assert "left out: halved with T 2" in capsys.readouterr().out


@pytest.mark.parametrize("name", steps.PEERS)
def test_peers_compute_what_we_compute(name):
    """Their whole network, of which nothing but the images and the depth is small: 64 channels and more."""
    pytest.importorskip("spikingjelly.activation_based.model.sew_resnet")
    words = steps.compare(name, Size(2, 2, depth=1, side=8), "cpu")
    assert float(words.split()[0]) < 1e-8
    step = steps.make(name, Size(2, 2, depth=1, side=8), "cpu")
    assert step.run().isfinite() and step.run().isfinite()


def test_tables_and_a_picture_are_written(tmp_path, capsys):
    out = tmp_path / "deep.md"
    assert deep_networks.main([*SIZES, "--ways", "all", "packed", "--note", "A trial.", "--out", str(out)]) == 0
    text = out.read_text()
    assert "A trial." in text and "| all | 2 |" in text and "| packed | 2 |" in text and "| bits | 2 |" not in text
    assert "exponents over T 2 to 4" in text and text.count("| plain |") == 2
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG") and out.with_suffix(".png").name in text
    assert deep_networks.main(["--ways", "no such"]) == 2
    assert "no such way: no such" in capsys.readouterr().out


def test_exponents_and_goals():
    times = [4, 8, 16, 32]
    assert report.exponent(times, [3 * T**1.3 for T in times]) == pytest.approx(1.3)
    rows = [report.Measured(PLAIN, T, 100 * T, 200 * T, 1.0 * T) for T in times]
    rows += [report.Measured("good", T, 12 * T, 50 * T, 1.05 * T) for T in times]
    rows += [report.Measured("slow", T, 10 * T, 50 * T, (1.2 if T < 32 else 1.5) * T) for T in times]
    first, second = report.goals(rows, PLAIN, ("good", "slow"))
    assert first.endswith("1.1 x its time: good") and second.endswith("1.4 x its time: good")
    assert report.goals(rows, PLAIN, ("slow",))[1].endswith("missed")
    table = report.growth([report.Measured("square", T, T**2, T, 1.0) for T in times])
    assert "| square | 2.00 (goal missed), 2.00 | 1.00, 1.00 | 0.00, 0.00 |" in table
