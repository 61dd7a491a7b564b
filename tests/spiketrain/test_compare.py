"""`spiketrain compare`: runs that differ in their seed alone are one experiment, whose mean and spread are those of its runs."""

import csv
import re
import statistics

import pytest
import trained_runs

from spiketrain.errors import LONGEST_LINE
from spiketrain.training import checkpoint

SMALL = {"preset": "small_50%", "data": {"name": "digits"}, "network": {"layers": "12-10", "time_steps": 2}, "method": {"name": "bptt"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three seeds of one experiment, and two of another that has a higher learning rate."""
    folder = tmp_path_factory.mktemp("compare")
    made = [trained_runs.train(SMALL, folder / f"a{seed}", seed=seed, trainer={"epochs": 3}) for seed in (1, 2, 7)]
    return made + [trained_runs.train(SMALL, folder / f"b{seed}", seed=seed, trainer={"epochs": 3}, optimizer={"lr": 0.02}) for seed in (1, 2)]


def accuracies(runs):
    return [[100 * row["test_accuracy"] for row in checkpoint.load(run / "last.ckpt")["history"]] for run in runs]


def test_csv_has_the_figures_of_the_runs(runs, cli):
    status, lines, _ = cli("compare", *runs, "--csv")
    rows = list(csv.DictReader(lines))
    assert status == 0 and [row["experiment"] for row in rows] == ["small_50%, optimizer.lr 0.0005", "small_50%, optimizer.lr 0.02"]
    assert [row["seeds"] for row in rows] == ["1; 2; 7", "1; 2"] and rows[0]["epochs"] == "3; 3; 3"
    for row, of in zip(rows, (runs[:3], runs[3:])):
        for which, figures in (("last_epoch", [run[-1] for run in accuracies(of)]), ("best_epoch", [max(run) for run in accuracies(of)])):
            assert float(row[f"{which}_mean"]) == pytest.approx(statistics.fmean(figures), abs=1e-5)
            assert float(row[f"{which}_std"]) == pytest.approx(statistics.stdev(figures), abs=1e-5)
            assert float(row[f"{which}_best"]) == pytest.approx(max(figures), abs=1e-5)
        assert row["published_mean"] == ""


def test_markdown_and_latex_say_the_same(runs, cli):
    figures = [run[-1] for run in accuracies(runs[:3])]
    text = f"{statistics.fmean(figures):.2f} ± {statistics.stdev(figures):.2f}"
    lines = cli("compare", *runs)[1]
    assert len(lines) == 4 and text in lines[2] and "| 1, 2, 7 " in lines[2]
    lines = cli("compare", *runs, "--latex")[1]
    assert lines[0] == r"\begin{tabular}{llrrrrrrrrr}" and "published" not in lines[2], "a column of which nothing is known is left out"
    assert lines[-1] == r"\end{tabular}"
    assert lines[4].startswith(r"  small\_50\%, optimizer.lr 0.0005 & 1, 2, 7 & 3 & ") and text.replace("±", r"$\pm$") in lines[4]
    assert all(line.count("&") == 10 and line.endswith(r"\\") for line in (lines[2], *lines[4:6]))


@pytest.mark.parametrize("suffix, begins", [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_curves_are_drawn_with_bands(runs, tmp_path, cli, suffix, begins, monkeypatch):
    from matplotlib.axes import Axes

    bands, lines, fill, plot = [], [], Axes.fill_between, Axes.plot
    monkeypatch.setattr(Axes, "fill_between", lambda self, *data, **style: bands.append(data) or fill(self, *data, **style))
    monkeypatch.setattr(Axes, "plot", lambda self, *data, **style: lines.append((list(data[1]), style.get("label"))) or plot(self, *data, **style))
    status, _, notes = cli("compare", *runs, "--figure", tmp_path / f"curves{suffix}")
    assert status == 0 and notes == [f"spiketrain: wrote {tmp_path / f'curves{suffix}'}"]
    assert (tmp_path / f"curves{suffix}").read_bytes().startswith(begins)
    of_first = accuracies(runs[:3])
    means = [statistics.fmean(values) for values in zip(*of_first)]
    spreads = [statistics.stdev(values) for values in zip(*of_first)]
    assert (pytest.approx(means), "small_50%, optimizer.lr 0.0005 (3 seeds)") in lines
    assert all((pytest.approx(curve), None) in lines for curve in of_first)
    assert len(bands) == 4  # two experiments, loss and accuracy
    assert [band for band in bands if list(band[2]) == pytest.approx([m + s for m, s in zip(means, spreads)])]


def test_one_run_has_no_spread(runs, tmp_path, cli):
    lines = cli("compare", runs[0], "--figure", tmp_path / "one.png")[1]
    assert len(lines) == 3 and "±" not in lines[2] and lines[2].startswith("| small_50% ")


def test_runs_that_are_not_complete_say_so(runs, tmp_path, cli):
    (tmp_path / "run").mkdir()
    with trained_runs.rewritten(runs[0] / "last.ckpt", tmp_path / "run" / "last.ckpt") as content:
        content["config"]["trainer"]["epochs"] = 9
    assert "| 3 of 9 " in cli("compare", tmp_path / "run")[1][2]


@pytest.mark.parametrize("case, words", [
    ("twice", "is given twice"), ("no figure", "an epoch has no test_accuracy"), ("copied", "the same seed 1"), ("no epoch", "no epoch of"), ("other figures", "cannot be compared"),
    ("missing", "is no run directory"), ("picture", "--figure: expected a file ending in .png, .pdf, .svg"), ("no folder", "cannot write the figure"),
])  # fmt: skip
def test_what_cannot_be_compared_is_one_line(runs, tmp_path, assert_error, cli, case, words):
    given, content = [runs[0], runs[0]], checkpoint.load(runs[0] / "last.ckpt")
    content.pop("format")
    (tmp_path / "other").mkdir()
    if case == "no epoch":
        content |= {"history": [], "epoch": 0}
    if case == "other figures":
        content["history"] = [{**row, "test_rms_error": 1.0, "train_rms_error": 1.0} for row in content["history"]]
        content["config"]["optimizer"]["lr"] = 1.0
    if case == "no figure":
        del content["history"][1]["test_accuracy"]
    if case in ("copied", "no epoch", "no figure", "other figures"):
        checkpoint.save(tmp_path / "other" / "last.ckpt", content)
        given[1] = tmp_path / "other"
    elif case == "missing":
        given[1] = tmp_path / "other"
    elif case != "twice":
        given = [runs[0], "--figure", tmp_path / ("a.jpg" if case == "picture" else "none/a.png")]
    if case == "no folder":
        status, lines, errors = cli("compare", *given)
        assert status == 2 and len(lines) == 3 and words in errors[0] and len(errors[0]) <= LONGEST_LINE + 20
    else:
        assert_error(words, "compare", *given)


def test_operations_and_energy_are_those_of_rates(runs, cli):
    status, lines, notes = cli("compare", *runs, "--energy", "--csv")
    (row, _) = csv.DictReader(lines)
    assert status == 0 and notes == [f"spiketrain: counting the operations of {run}" for run in runs]
    counted = []
    for run in runs[:3]:
        (line,) = [line for line in cli("rates", run)[1] if line.startswith("forward pass:")]
        counted.append([float(number.replace(",", "")) for number in re.findall(r"[\d,]+(?= SynOps| MACs)", line)])
    additions, macs, synapses = map(statistics.fmean, zip(*counted))
    # `rates` rounds to whole operations.
    assert float(row["synops_per_sample"]) == pytest.approx(additions, abs=0.51) and float(row["macs_per_sample"]) == pytest.approx(macs, abs=0.51)
    assert float(row["energy_nj"]) == pytest.approx(1e-3 * (0.9 * additions + 4.6 * macs), abs=1e-3)
    assert float(row["energy_without_spikes_nj"]) == pytest.approx(1e-3 * 4.6 * synapses, rel=1e-5)
    header, _, first, _ = cli("compare", *runs, "--energy")[1]
    assert "energy, estimate" in header and first.rstrip(" |").endswith("nJ")


def test_runs_whose_data_is_not_there_have_no_energy(runs, cli, tmp_path, assert_error):
    run = trained_runs.whose_data_is_not_there(runs[0], tmp_path / "run")
    status, lines, (_, note) = cli("compare", run, "--energy", "--data.root", tmp_path)
    assert status == 0 and "energy" not in lines[0] and "are not counted: data set not found" in note
    assert_error("--energy alone", "compare", runs[0], "--data.root", tmp_path)


def test_runs_of_code_of_ones_own(cli, own_code, tmp_path, assert_error):
    own_code.write("own", """
        from spiketrain.methods import bptt

        class Mine(bptt.BPTT):
            pass
    """)
    small = ("--trainer.limit_train", 20, "--trainer.limit_test", 20, "--trainer.epochs", 1, "--trainer.out", tmp_path / "run")
    assert cli("train", "bptt-digits", "--method.name", "own:Mine", *small)[0] == 0
    assert_error("add --plugin own", "compare", tmp_path / "run")
    status, lines, _ = cli("compare", tmp_path / "run", "--plugin", "own")
    assert status == 0 and "bptt-digits" in lines[2]


def test_a_logarithmic_axis_says_so(runs, tmp_path, cli, monkeypatch):
    from matplotlib.axes import Axes

    labels, set_ylabel = [], Axes.set_ylabel
    monkeypatch.setattr(Axes, "set_ylabel", lambda self, label, **style: labels.append(label) or set_ylabel(self, label, **style))
    assert cli("compare", *runs, "--figure", tmp_path / "curves.png")[0] == 0
    assert labels == ["loss, logarithmic", "%"]
