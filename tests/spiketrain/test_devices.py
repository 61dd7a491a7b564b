"""`trainer.device`: what auto means on machines with and without GPUs, and what the header of a run says."""

import pytest
import torch
import trained_runs

import spikeops
import spiketrain
from spiketrain.config.fields import TrainerConfig
from spiketrain.training import devices


@pytest.fixture
def machine(usual_device, monkeypatch):
    """``machine(native=[...], triton=[...])``: a machine whose GPUs these kernels serve, or not, for the reasons given."""

    def build(native=(), triton=()):
        found = spikeops.backends()
        for name, reasons in (("cuda", native), ("triton", triton)):
            found[name] = {**found[name], "reasons": list(reasons), "available": "" in reasons}
        monkeypatch.setattr(spikeops, "backends", lambda: found)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(native))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(native))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Some GPU")
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)

    return build


def test_auto_is_the_default():
    assert TrainerConfig().device == devices.AUTO


@pytest.mark.parametrize("native, triton, device, header", [
    ([], [], "cpu", "cpu, 2 threads"),
    ([""], [""], "cuda:0", "cuda:0, Some GPU, native kernels"),
    (["too old"], [""], "cuda:0", "cuda:0, Some GPU, Triton kernels"),
    (["too old"], ["too old"], "cpu", "cpu, 2 threads; no kernels for Some GPU: 'python -m spikeops' says why"),
])  # fmt: skip
def test_auto_takes_a_gpu_that_our_kernels_serve(machine, native, triton, device, header):
    machine(native, triton)
    torch.set_num_threads(2)
    found = devices.pick("auto")
    assert str(found) == device and devices.described(found) == header


@pytest.mark.parametrize("rank, device", [("0", "cpu"), ("1", "cuda:1")])
def test_each_process_has_a_gpu_of_its_own(machine, monkeypatch, rank, device):
    machine(["too old", ""], ["too old", ""])
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert str(devices.named("auto")) == device


def test_the_word_is_in_the_configuration_and_what_runs_in_the_header(cli, tmp_path):
    words = ("--trainer.epochs", 1, "--trainer.limit_train", 40, "--trainer.limit_test", 20, "--trainer.threads", 1, "--trainer.out", "run")
    status, lines, _ = cli("train", "bptt-digits", *words)
    assert status == 0
    assert lines[0].endswith(" weights; cpu, 1 thread")
    assert "device: auto" in (tmp_path / "run" / "config.yaml").read_text()
    assert ",cpu," in (tmp_path / "run" / "sessions.csv").read_text()


def test_a_program_gets_its_module_on_the_cpu(machine, tmp_path):
    """As any module of PyTorch, until it says where it wants it."""
    run = trained_runs.train("bptt-digits", tmp_path / "run", trainer={"device": "cpu"})
    content = torch.load(run / "best.ckpt", weights_only=True)
    content["config"]["trainer"]["device"] = "auto"
    torch.save(content, tmp_path / "auto.ckpt")
    machine([""], [""])
    assert spiketrain.load(tmp_path / "auto.ckpt").device == torch.device("cpu")
