"""`spiketrain import` and `--init`: what published weights become, and what is refused by name."""

import argparse
import os

import numpy as np
import pytest
import torch
from data_files.published_checkpoints import method_with, save

from spiketrain import presets
from spiketrain.training import checkpoint

QUICK = ("--trainer.limit_train", 60, "--trainer.limit_test", 40, "--trainer.threads", 1, "--trainer.progress", "off")


@pytest.fixture
def published(tmp_path):
    """The file of a network like ide-digits with random weights, as IDE's scripts save it, and its tensors."""
    torch.manual_seed(5)
    state = {
        "network_x.conv.weight": torch.randn(16, 1, 3, 3),
        "network_x.conv.bias": torch.randn(16),
        "network_x.bn.weight": torch.rand(16) + 0.5,
        "network_x.bn.bias": torch.randn(16),
        "network_x.bn.running_mean": torch.randn(16),
        "network_x.bn.running_var": torch.rand(16) + 0.5,
        "network_x.bn.num_batches_tracked": torch.tensor(900),
        "network_s.conv.weight_w": torch.randn(16, 16, 3, 3),
        "network_s.conv.weight_g": torch.tensor(0.8),
        "network_s.conv.weight_u": torch.nn.functional.normalize(torch.randn(16), dim=0),
        "network_s.conv.weight_v": torch.nn.functional.normalize(torch.randn(144), dim=0),
        "classifier.weight": torch.randn(10, 256),
        "classifier.bias": torch.randn(10),
    }
    momenta = {"state": {0: {"momentum_buffer": torch.randn(16, 1, 3, 3)}}, "param_groups": [{"lr": 0.05, "params": [0]}]}
    beside = {"arch": "ide", "best_acc": 99.0, "optimizer": momenta}
    return save(tmp_path / "checkpoint.pth.tar", {f"module.{name}": value for name, value in state.items()}, "state_dict", **beside), state


def by_hand(state):
    """The same weights, assigned one by one."""
    method = method_with("ide", (1, 8, 8), 10, network=presets.load("ide-digits")["network"], data={"name": "digits"})
    ring, classifier = method.network.ring, method.network.classifier
    conv, norm = ring.input_layer
    restriction = ring.feedback.parametrizations.weight
    pairs = {
        "network_x.conv.weight": conv.weight, "network_x.conv.bias": conv.bias, "network_x.bn.weight": norm.weight,
        "network_x.bn.bias": norm.bias, "network_x.bn.running_mean": norm.running_mean, "network_x.bn.running_var": norm.running_var,
        "network_x.bn.num_batches_tracked": norm.num_batches_tracked, "network_s.conv.weight_w": restriction.original,
        "network_s.conv.weight_g": restriction[0].gain, "network_s.conv.weight_u": restriction[0].left_vector,
        "network_s.conv.weight_v": restriction[0].right_vector, "classifier.weight": classifier.weight, "classifier.bias": classifier.bias,
    }  # fmt: skip
    with torch.no_grad():
        for name, place in pairs.items():
            place.copy_(state[name])
    return method


def test_imported_run_is_tested_drawn_and_trained(published, tmp_path, cli):
    path, state = published
    status, lines, errors = cli("import", path, "--preset", "ide-digits", "--out", tmp_path / "run", *QUICK)
    assert (status, errors) == (0, []) and lines[1:] == [f"wrote {tmp_path / 'run'}. Test it with: spiketrain eval {tmp_path / 'run'}"]
    left = f"only weights are taken from {path}, not its arch, best_acc, epoch, optimizer: training begins at epoch 1 with a fresh optimizer"
    assert lines[0] == left
    content = checkpoint.load(tmp_path / "run" / "best.ckpt")
    assert (content["epoch"], content["history"], content["config"]["init"]) == (0, [], str(path))
    imported = method_with("ide", (1, 8, 8), 10, network=presets.load("ide-digits")["network"], data={"name": "digits"})
    imported.load_state_dict(content["method"])
    x = torch.randn(8, 1, 8, 8)
    assert torch.equal(imported.scores(x), by_hand(state).scores(x))

    path.unlink()  # no command needs the file any more
    tested = cli("eval", tmp_path / "run")
    assert tested[0] == 0 and tested[1][0].endswith("epoch=0")
    assert cli("rates", tmp_path / "run")[0] == 0
    assert cli("plot", tmp_path / "run")[0] == 0
    pictures = {picture.name for picture in (tmp_path / "run").glob("*.png")}
    assert pictures == {"raster.png", "rates.png", "confusion.png"}
    status, lines, errors = cli("resume", tmp_path / "run", "--trainer.epochs", 1)
    assert status == 0 and lines[-1].startswith("best_test_accuracy="), errors
    assert cli("eval", tmp_path / "run")[1][0].endswith("epoch=1")


def test_training_begins_with_given_weights(published, tmp_path, cli, assert_error):
    path, state = published
    quick = (*QUICK, "--optimizer.lr", 0, "--trainer.epochs", 1)
    status, lines, errors = cli("train", "ide-digits", "--init", path, "--trainer.out", tmp_path / "a", *quick)
    assert status == 0 and lines[0].endswith("not its arch, best_acc, epoch, optimizer: training begins at epoch 1 with a fresh optimizer"), errors
    ours = checkpoint.load(tmp_path / "a" / "last.ckpt")
    assert torch.equal(ours["method"]["network"]["classifier.weight"], state["classifier.weight"])
    assert ours["config"]["init"] == str(path)
    path.unlink()
    assert cli("resume", tmp_path / "a", "--trainer.epochs", 2)[0] == 0
    # From that run, from a checkpoint of it, and not into another network.
    for source in (tmp_path / "a", tmp_path / "a" / "last.ckpt"):
        status, lines, _ = cli("train", "ide-digits", "--init", source, "--trainer.out", tmp_path / f"b-{source.name}", *quick)
        assert status == 0 and "not its epoch, optimizer, steps: " in lines[0]
        again = checkpoint.load(tmp_path / f"b-{source.name}" / "last.ckpt")
        assert torch.equal(again["method"]["network"]["classifier.weight"], state["classifier.weight"])
    assert_error(["it lacks stages.", "it holds classifier.bias"], "train", "bptt-digits", "--init", tmp_path / "a", *quick)
    assert_error("field init: the run was trained with", "resume", tmp_path / "a", "--init", tmp_path / "a", "--trainer.epochs", 3)
    assert not os.path.exists("runs")


def change(name, value):
    def apply(state):
        state[name] = value

    return apply


WRONG = {
    "missing": (lambda state: state.pop("module.network_x.bn.bias"), "it lacks network_x.bn.bias"),
    "several missing": (
        lambda state: [state.pop(name) for name in list(state) if ".bn." in name],
        "network_x.bn.bias, network_x.bn.num_batches_tracked and 3 others",
    ),
    "extra": (change("module.network_s1.conv.weight", torch.zeros(2)), "it holds network_s1.conv.weight, which the network has not"),
    "misshapen": (change("module.classifier.weight", torch.zeros(10, 255)), "classifier.weight is [10, 255] of float32, the network takes [10, 256]"),
    "of another type": (change("module.classifier.bias", torch.zeros(10).half()), "classifier.bias is [10] of float16"),
    "not finite": (change("module.classifier.bias", torch.full((10,), torch.nan)), "classifier.bias holds numbers that are not finite"),
    "sparse": (change("module.classifier.bias", torch.ones(10).to_sparse()), "classifier.bias is a tensor of another kind"),
    "without numbers": (change("module.classifier.bias", torch.ones(10, device="meta")), "classifier.bias is a tensor of another kind"),
    "no tensor": (change("module.classifier.bias", "soon"), "module.classifier.bias is soon, not a tensor"),
    "empty": (lambda state: state.clear(), "holds no weights"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_checkpoints_that_do_not_fit_are_refused_by_name(fault, published, tmp_path, assert_error):
    spoil, message = WRONG[fault]
    state = torch.load(published[0], weights_only=True)["state_dict"]
    spoil(state)
    path = save(tmp_path / "wrong.pth", state, "state_dict")
    assert_error([str(path), message], "import", path, "--preset", "ide-digits", "--out", tmp_path / "run", *QUICK)
    assert_error([str(path), message], "train", "ide-digits", "--init", path, "--trainer.out", tmp_path / "run", *QUICK)
    assert not (tmp_path / "run").exists() and not list(tmp_path.glob(".unfinished*"))


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "before PyTorch 1.6"])
def test_files_that_would_run_code_are_refused(legacy, tmp_path, assert_error):
    for name, content in (("harm", {"state_dict": Harm()}), ("module", torch.nn.Linear(2, 2))):
        torch.save(content, tmp_path / f"{name}.pth", _use_new_zipfile_serialization=not legacy)
        words = ["does not only hold weights", "mkdir" if name == "harm" else "Linear"]
        assert_error(words, "import", tmp_path / f"{name}.pth", "--preset", "ide-digits")
    assert not (tmp_path / "harmed").exists() and not os.path.exists("runs")


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "before PyTorch 1.6"])
def test_harmless_company_of_weights_is_read(legacy, published, tmp_path, cli):
    state = torch.load(published[0], weights_only=True)["state_dict"]
    beside = {"args": argparse.Namespace(lr=0.1), "best_acc": np.float64(0.9), "acc": np.float32(1), "state_dict": state}
    torch.save(beside, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    assert cli("import", tmp_path / "x.pth", "--preset", "ide-digits", "--out", "run", *QUICK)[2] == []


def test_other_files_are_refused(tmp_path, published, assert_error):
    content = published[0].read_bytes()
    place = content.index(
        torch.load(published[0], weights_only=True)["state_dict"]["module.classifier.weight"].numpy().tobytes()[:64]
    )
    flipped = bytearray(content)
    flipped[place] ^= 1
    for name, data in (("text", b"hello"), ("empty", b""), ("half", content[: len(content) // 2]), ("flipped", bytes(flipped))):
        (tmp_path / name).write_bytes(data)
        assert_error([name, "damaged"], "import", tmp_path / name, "--preset", "ide-digits", *QUICK)
    torch.save([1, 2], tmp_path / "list.pth")
    assert_error("expected a dictionary of tensors", "import", tmp_path / "list.pth", "--preset", "ide-digits", *QUICK)
    assert_error("no such file", "import", tmp_path / "nothing.pth", "--preset", "ide-digits", *QUICK)
    assert_error("no published checkpoints of the method bptt", "import", published[0], "--preset", "bptt-digits", *QUICK)
    assert_error("name a preset", "import", published[0])
    assert_error(f"spiketrain import {published[0]} --preset", "eval", published[0])
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "kept").write_text("x")
    assert_error("not empty", "import", published[0], "--preset", "ide-digits", "--out", tmp_path / "used", *QUICK)
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["kept"] and not os.path.exists("runs")
