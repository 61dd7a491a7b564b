"""What becomes of a table of `peers.py`: the report, the goals, and the one table in README."""

import re
from pathlib import Path

import pytest
import report

from measuring.results import LEFT_OUT, UNLIKE, VERSION, Table, load
from reports import peer_report, peer_summary
from reports.figures import Size
from reports.goals import goal

ROOT = Path(__file__).resolve().parents[2]
CPU, GPU = "Some CPU 2 cores", "Some GPU (driver 580)"


def table(opponents, op="lif:x", T=10, N=100_000, device=CPU):
    """provider -> milliseconds, forward and backward and forward alone."""
    made = Table("cpu")
    made.context["device"] = device
    for provider, (full, forward) in {"spikeops": (1.0, 0.5), **opponents}.items():
        name = op + (":compiled" if provider.endswith("+compile") else "")
        for mode, milliseconds in (("full", full), ("forward", forward)):
            made.add_times(name, provider, mode, T, N, "float32", seconds=[milliseconds / 1e3] * 3)
            if name != op:
                made.add_times(name, "spikeops", mode, T, N, "float32", seconds=[{"full": 1.0, "forward": 0.5}[mode] / 1e3] * 3)
        for metric, value in (("kept_bytes", 4e6), ("peak_bytes", 8e6)):
            made.add(name, provider, "full", T, N, "float32", metric, value * full, "B")
        made.add(name, provider, "full", T, N, "float32", "first_call_seconds", 0.25 * full, "s")
    return made


def lines(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]


def test_the_report():
    made = Table("cpu")
    for provider, seconds in (("spikeops", [1e-3] * 3), ("other+compile", [2e-3, 4e-3, 8e-3])):
        made.add_times("lif:x", provider, "full", 4, 1_000_000, "float32", seconds=seconds)
    made.add("lif:x", "other+compile", "full", 4, 1_000_000, "float32", "waited_for_host", 0.5, "1")
    made.add("lif:x", "other+compile", "full", 4, 1_000_000, "float32", "spikes_differ", 0.25, "1")
    made.add("lif:x", "other+compile", "full", 4, 1_000_000, "float32", UNLIKE, "it is detached", "")
    made.add("lif:x", "third", "all", 4, 1_000_000, "float32", LEFT_OUT, "ImportError: no third", "")
    made.add("versions", "other", "all", 0, 0, "float32", VERSION, "1.2.3", "")
    text = peer_report.markdown(made.rows)
    assert "| lif:x | 4 x 1M | spikeops | 1 | 1.00 |" in text
    assert "| lif:x | 4 x 1M | other+compile | ~4* | 4.00 |" in text and "| 0.25 |" in text
    assert "- ImportError: no third: third (lif:x, 4 x 1000000, float32, all)" in text
    assert "## Not the same gradient\n\n- it is detached: other+compile" in text
    assert "other 1.2.3" in text
    assert peer_report.markdown([]) == "Nothing was measured.\n"


@pytest.mark.parametrize("full, forward, marked", [(2.0, 0.6, False), (1.9, 0.6, True), (2.0, 0.4, True)])
def test_the_report_marks_what_misses_its_goal(full, forward, marked):
    text = peer_report.markdown(table({"spikingjelly-torch": (full, forward)}, "lif:spikingjelly").rows)
    assert f"| {full:.2f} | {'**2 missed**' if marked else '2'} | {forward:g} |" in text


def test_a_table_with_texts_can_be_read_again(tmp_path):
    made = table({})
    made.add("lif:x", "other", "full", 10, 100_000, "float32", UNLIKE, "it is detached", "")
    made.add("versions", "other", "all", 0, 0, "float32", VERSION, "1.2", "")
    made.save(tmp_path / "x.csv")
    assert {row.metric: row.value for row in load(tmp_path / "x.csv") if row.metric in (UNLIKE, VERSION)} == {
        UNLIKE: "it is detached",
        VERSION: "1.2",
    }


LAYER, SMALL = Size(10, 100_000, "float32"), Size(5, 1000, "float32")


@pytest.mark.parametrize(
    "op, provider, size, mode, wanted",
    [
        ("lif:spikingjelly", "spikingjelly-torch", LAYER, "full", 2.0),
        ("cuba_lif:norse", "norse", LAYER, "full", 4.0),
        ("lif:spikingjelly:compiled", "spikingjelly-torch+compile", LAYER, "full", 1.3),
        ("lif:norse:compiled", "norse+compile", LAYER, "full", 1.3),
        ("lif:norse", "norse", LAYER, "forward", 1.0),
        ("lif:norse", "norse", SMALL, "full", 1.0),
        ("lif:norse", "norse", Size(10, 100_000, "float16"), "full", 1.0),
        ("conv-net:spikingjelly", "spikingjelly-torch", Size(5, 50, "float32"), "full", 2.0),
        ("conv-net:sinabs", "sinabs", Size(20, 50, "float32"), "full", 2.5),
        ("conv-net:sinabs", "sinabs", Size(8, 50, "float32"), "full", 1.0),
        ("conv-net:sinabs", "sinabs, channels last", Size(20, 50, "float32"), "full", 1.0),
        ("conv-net:sinabs:compiled", "sinabs+compile", Size(5, 50, "float32"), "full", 1.0),
        ("recurrent-net:norse", "norse", Size(100, 32, "float32"), "full", 1.0),
        ("lif:norse", "spikeops", LAYER, "full", None),
        ("conv-net:norse", "spikeops.convert", Size(5, 50, "float32"), "full", None),
    ],
)
def test_goals(op, provider, size, mode, wanted):
    assert goal(op, provider, size, mode, CPU) == wanted
    assert goal(op, provider, size, mode, GPU) is None


def test_the_summary_has_eager_and_compiled_side_by_side():
    text = peer_summary.summary(table({"norse": (5.0, 4.0), "norse+compile": (1.2, 0.6)}, "lif:norse").rows)
    assert lines(text) == [["`lif`", "10 x 100k", "1", "5.0 / **1.2**"]]
    assert "Goals reached: 3 of 4" in text


def test_the_summary_of_what_was_compiled_alone():
    """As where the time was up before its turn, or it is of another size."""
    rows = [row for row in table({"norse+compile": (2.0, 1.0)}, "lif:norse").rows if row.op.endswith(":compiled")]
    assert lines(peer_summary.summary(rows)) == [["`lif`", "10 x 100k", "1", "- / 2.0"]]


def test_the_summary_has_a_column_for_each_library():
    """In one order, the quickest of the ways that a library has; a goal that another of them misses is missed."""
    made = table({"sinabs": (5.0, 4.0), "sinabs-exodus": (3.0, 4.0)}, "lif:sinabs")
    rows = made.rows + table({"norse": (4.5, 4.0)}, "lif:norse").rows + table({"norse": (0.9, 4.0)}, "if:norse").rows
    made.add("versions", "norse", "all", 0, 0, "float32", VERSION, "1.1.0", "")
    text = peer_summary.summary([*rows, made.rows[-1]])
    assert "| Norse | sinabs |" in text and "Norse 1.1.0" in text
    assert lines(text) == [["`lif`", "10 x 100k", "1", "4.5", "**3.0**"], ["`if`", "10 x 100k", "1", "**0.9**", ""]]
    assert peer_summary.summary([]) == "Nothing was measured.\n"


def test_converted_networks_are_no_opponents():
    rows = table({"norse": (5.0, 4.0), "spikeops.convert": (1.1, 1.0)}, "conv-net:norse").rows
    assert lines(peer_summary.summary(rows))[0][-1] == "5.0"


def test_the_summary_on_a_gpu_has_no_goals():
    text = peer_summary.summary(table({"norse": (0.5, 0.4)}, "lif:norse", device=GPU).rows)
    assert lines(text) == [["`lif`", "10 x 100k", "1", "0.5"]] and "Goals reached" not in text


BLOCK = "# Title\n\nbefore\n\n<!-- peers: old.csv -->\nold figures\n<!-- end of peers -->\n\nafter\n"


def test_the_table_goes_into_its_place_in_readme(tmp_path, monkeypatch, capsys):
    readme, results = tmp_path / "README.md", tmp_path / "x-peers.csv"
    table({"norse": (5.0, 4.0)}, "lif:norse").save(results)
    readme.write_text(BLOCK)
    monkeypatch.setattr(report, "README", readme)
    for _ in range(2):  # and replaces the one that is there
        report.main([str(results), "--readme"])
        text = readme.read_text()
        assert text.startswith("# Title\n\nbefore\n\n<!-- peers: x-peers.csv -->\n") and text.endswith(
            "<!-- end of peers -->\n\nafter\n"
        )
        assert len(lines(text)) == 1 and "old figures" not in text
    readme.write_text("no such place")
    with pytest.raises(ValueError, match="expected one block"):
        report.main([str(results), "--readme"])
    with pytest.raises(SystemExit, match="takes a table of peers.py"):
        report.main([str(tmp_path / "x.csv"), "--readme"])


def test_readme_has_the_table_of_the_results_that_it_names():
    """`python benchmarks/report.py benchmarks/results/NAME-peers.csv --readme` writes it."""
    blocks = re.findall(f"{peer_summary.BEGIN}\n(.*?){peer_summary.END}", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1, "README has no one place for the table of other libraries"
    ((name, text),) = blocks
    if name == "none yet":
        assert not lines(text), "figures without the results that they come from"
    else:
        assert text == peer_summary.summary(load(ROOT / "benchmarks" / "results" / name))
