"""Order and length of the measurement, the table, the report and the plots."""

import platform

import pytest

from measuring import freed_memory, results
from measuring.results import LEFT_OUT, Row, Table, load, quantile
from ops.registry import MODES, OPS, Case, cases
from ops.schedule import rounds_for, turns
from reports import report
from reports.figures import Figures, Size


def test_providers_take_turns():
    case = Case(OPS["spike_count"], 5, 10)
    assert [(turn.number, turn.provider) for turn in turns([case], lambda _: ["a", "b"], passes=2)] == [
        (0, "a"),
        (0, "b"),
        (1, "a"),
        (1, "b"),
    ]


def test_what_is_compared_is_measured_next_to_each_other():
    listed = [(turn.case, turn.mode) for turn in turns(cases("cpu"), lambda _: ["a", "b"], passes=2)]
    starts = [pair for pair, before in zip(listed, [None, *listed]) if pair != before]
    assert len(starts) == len(set(starts))


@pytest.mark.parametrize("call_seconds, expected", [(0.0, (20, 10_000)), (1e-5, (20, 100)), (0.02, (5, 1)), (3.0, (1, 1))])
def test_rounds_fit_the_budget(call_seconds, expected):
    assert rounds_for(call_seconds, budget=0.1) == expected


def test_quantiles():
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2
    assert quantile([1.0, 2.0], 0.2) == pytest.approx(1.2)
    assert quantile([7.0], 0.8) == 7


@pytest.fixture
def table():
    """lif: 2 ms, a copy 1 ms, the loop 20 ms (and noisy); tssl_bp left out."""
    table = Table("cpu")
    for provider, seconds in (("spikeops", [2e-3] * 5), ("copy", [1e-3] * 5), ("eager", [1e-2, 1e-2, 2e-2, 3e-2, 3e-2])):
        table.add_times("lif", provider, "full", 5, 40_000, "float32", seconds=seconds, minimum_bytes=4_000_000)
    table.add("lif", "spikeops", "forward_grad", 5, 40_000, "float32", "saved_bytes", 800_000, "B")
    table.add("tssl_bp", "spikeops", "full", 5, 40_000, "float32", LEFT_OUT, "its tests are red", "")
    return table


def test_the_table_survives_a_file(table, tmp_path):
    path = tmp_path / "new" / "table.csv"
    table.save(path)
    assert load(path) == table.rows
    assert path.read_text().splitlines()[0] == "op,provider,mode,T,N,dtype,metric,value,unit,device,threads,torch,commit,date"
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]


def test_a_file_that_is_no_table(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="expected the columns op, provider"):
        load(path)


def test_the_path_names_the_device_and_the_day_but_not_the_machine(table):
    table.context["device"] = "NVIDIA H200 (driver 580.1)"
    table.context["date"] = "2026-05-04T10:11:12Z"
    assert table.path == results.FOLDER / "nvidia-h200-2026-05-04.csv"
    assert platform.node() not in results.device_name("cpu")


def test_figures(table):
    figures = Figures(table.rows)
    where = "lif", "spikeops", "full", Size(5, 40_000, "float32")
    assert figures.gigabytes_per_second(*where).value == pytest.approx(2.0)
    assert figures.speedup(*where, "copy").value == pytest.approx(0.5)
    assert figures.speedup(*where, "eager").value == pytest.approx(10)
    assert figures.speedup(*where, "eager").is_noisy and not figures.speedup(*where, "copy").is_noisy
    assert figures.speedup(*where, "compiled") is None


def test_report(table, tmp_path):
    path = tmp_path / "table.csv"
    table.save(path)
    text = report.markdown(Figures(load(path)))
    assert "| lif | 5 x 40k | full | spikeops | 2 | 4 | 2 | 50 % |  | ~10 |  |  |  |  |" in text
    assert "- its tests are red: tssl_bp by spikeops" in text
    assert "0.8 MB = 1.00 x" in text
    assert "lif  5 x 40k  spikeops  2   ~10" in report.summary(load(path))


def test_plots(table, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "table.csv"
    table.save(path)
    written = report.write(path)
    assert [file.name for file in written] == ["table.md", "table-speedup-spikeops.png", "table-copy-spikeops.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in written[1:])
    assert "](table-speedup-spikeops.png)" in written[0].read_text()


def test_rows_are_keyed_by_what_is_compared():
    row = Row("lif", "eager", MODES[0], 1, 2, "float32", "time", 1.0, "ms", "cpu", 1, "2.10", "abc", "now")
    assert row.key == ("lif", "eager", "forward", 1, 2, "float32")


def test_a_table_says_how_memory_was_got(monkeypatch):
    kept = Table("cpu")
    monkeypatch.setattr(freed_memory, "_returned", True)
    returned = Table("cpu")
    assert returned.context["device"] == kept.context["device"] + " (freed memory returned)"
    day = f"-{kept.context['date'][:10]}.csv"
    assert returned.path.name == kept.path.name.removesuffix(day) + "-freed-memory-returned" + day
