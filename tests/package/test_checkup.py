"""What comes with the package to look at an installation: the self-test and the benchmark."""

import csv
import dataclasses
import subprocess
import sys

import pytest
import torch

import spikeops.functional as SF
from spikeops import __main__ as command
from spikeops import bench, checkup
from spikeops._samples import SAMPLES


def test_every_op_is_as_defined():
    findings = checkup.check()
    assert [finding for finding in findings if finding.fault] == []
    assert {finding.op for finding in findings if finding.backend == "native"} == {sample.name for sample in SAMPLES}


def wrong(factor):
    """A sample that computes something else on the kernels than by definition."""
    from spikeops._backend import chosen

    return lambda x: SF.leaky_readout(x, 0.9 * (1 if chosen() == "reference" else factor))[0]


def raises(x):
    raise RuntimeError("no kernel image\nis available")


@pytest.mark.parametrize(
    "call, is_exact, fault",
    [
        (wrong(0.99), True, "outputs differ at T x N = 5 x 129"),
        (wrong(0.99), False, "outputs differ by"),
        (raises, True, "RuntimeError: no kernel image"),
    ],
    ids=["exact", "numbers", "error"],
)
def test_what_is_wrong_is_said(call, is_exact, fault, monkeypatch, capsys):
    sample = dataclasses.replace(SAMPLES[0], name="broken", call=call, is_exact=is_exact)
    findings = checkup.check([sample])
    assert findings and all(fault in finding.fault and "\n" not in finding.fault for finding in findings), findings
    monkeypatch.setattr(checkup, "check", lambda: findings)
    monkeypatch.setattr(sys, "argv", ["spikeops"])
    assert command.main() == 1
    out = capsys.readouterr().out
    assert "self-test, native on cpu: 0 of 1 ops as defined" in out and f"broken: {findings[0].fault}" in out


def test_the_command():
    run = subprocess.run([sys.executable, "-I", "-m", "spikeops"], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"self-test, native on cpu: {len(SAMPLES)} of {len(SAMPLES)} ops as defined" in run.stdout
    assert "cuda    " in run.stdout and ("yes" in run.stdout)


def test_the_benchmark(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    table, picture = tmp_path / "x.csv", tmp_path / "x.png"
    threads = torch.get_num_threads()
    try:
        arguments = ["--device", "cpu", "--sizes", "3x40", "2x8", "--ops", "lif", "spike_linear", "--threads", "1"]
        assert bench.main([*arguments, "--csv", str(table), "--picture", str(picture)]) == 0
    finally:
        torch.set_num_threads(threads)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["op"], row["T"], row["N"]) for row in rows][:3] == [("lif", "3", "40"), ('lif, reset="to", Sigmoid', "3", "40"), ("spike_linear", "3", "40")]
    assert len(rows) == 6 and all(float(row["ours"]) > 0 and float(row["loop"]) > 0 for row in rows)
    assert [bool(row["copy"]) for row in rows[:3]] == [True, True, False], "a matrix product is no copy"
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "CPU, 1 threads" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, words",
    [(["--sizes", "10"], "expected T x N"), (["--sizes", "0x5"], "expected T x N"), (["--ops", "liff"], "no op is called liff"), (["--device", "nowhere"], "nowhere")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_arguments_of_the_benchmark(arguments, words, capsys):
    with pytest.raises(SystemExit) as exit:
        bench.main(arguments)
    assert exit.value.code == 2 and words in capsys.readouterr().err
