"""Published checkpoints become runs: equal to the golden numbers and to tensors assigned by hand; all else is refused by name."""

import argparse
import collections
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from feedback_tests.golden import Golden, use_published_draws

from spiketrain import methods, presets
from spiketrain.config import merge
from spiketrain.errors import UserError
from spiketrain.methods import load_config
from spiketrain.training import checkpoint
from spiketrain.training.weights import load_weights

GOLDEN = Path(os.environ.get("SPIKEOPS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")
QUICK = ("--trainer.limit_train", 60, "--trainer.limit_test", 40, "--trainer.threads", 1, "--trainer.progress", "off")
# The golden files' own noise in float32 reaches 4e-6 of an array's largest magnitude.
TOLERANCE = 1e-5


def golden_files(*patterns):
    files = sorted(path for pattern in patterns for path in GOLDEN.glob(pattern))
    return files or [pytest.param(None, marks=pytest.mark.skip(reason=f"no {patterns} in {GOLDEN}"))]


def case_name(path):
    return path.stem if path else "none"


def method_with(name, input_shape, classes, **changes):
    config = load_config(merge({"method": {"name": name}}, changes))
    return methods.get(name)(config, input_shape, classes, torch.device("cpu"))


def save(path, state, *wrappers, **beside):
    """What the published scripts write: a state_dict of DataParallel in a dictionary, for example."""
    content = collections.OrderedDict(state)
    for wrapper in wrappers:
        content = {"epoch": 7, wrapper: content, **beside}
    torch.save(content, path)
    return path


def same(actual, expected):
    actual, expected = actual.detach(), torch.as_tensor(expected)
    assert (actual - expected).abs().max() <= TOLERANCE * expected.abs().max()


def ring_of(arrays):
    """The method of a golden file of IDE or SPIDE, in the notation of our networks, and its checkpoint."""

    def hp(name, default=None):
        return arrays[f"hp_{name}"].item() if f"hp_{name}" in arrays else default

    kept = [name for name in arrays.files if name.startswith(("param__", "buf_before__"))]
    state = {name.split("__", 1)[1].replace("__", "."): torch.from_numpy(np.array(arrays[name])) for name in kept}
    method = "spide" if "SPIDE" in hp("source", arrays["source"].item()) else "ide"
    classes, padding = hp("num_classes"), [hp("padding_x", 0)]
    if hp("dim_hidden"):
        layers, feedback, padding, shape = f"{hp('dim_hidden')}-{classes}", str(hp("dim_hidden")), 0, (hp("dim_in"), 1, 1)
    else:
        x = arrays["in_x"].shape
        shape = x[1:4]
        kernel = hp("kernel_size_s")
        layers = f"{hp('c_hidden')}C{hp('kernel_size_x')}{'s' if hp('stride_x') == 2 else ''}"
        feedback = ""
        if hp("fc_num"):
            layers += f"-P2-{hp('c_s1')}C{kernel}-P2-{hp('fc_num')}"
            padding += [kernel // 2]
        else:
            names = sorted(name for name in state if ".weight" in name and name.startswith("network_s") and state[name].dim() == 4)
            for name in names[:-1]:
                # As published, the first is plain and the second has stride 2, in networks of two the first.
                strided = name.startswith(f"network_s{1 if len(names) == 3 else 2}.")
                layers += f"-{len(state[name])}C{kernel}{'s' if strided else ''}"
                padding += [kernel // 2]
            back = state[names[-1]]
            is_up = ".convT." in names[-1]
            feedback = f"{back.shape[1] if is_up else len(back)}C{back.shape[-1]}{'u' if is_up else ''}"
            padding += [back.shape[-1] // 2]
        layers += f"-{classes}"
    options = {"threshold": hp("vth"), "leak": hp("leaky")}
    if method == "spide":
        options |= {"u_rest": hp("u_rest"), "norm_range": hp("norm_range") if feedback else 1.0}
    network = {"layers": layers, "feedback": feedback, "padding": padding, "time_steps": hp("time_step")}
    data = {"name": "cifar10_dvs" if hp("input_type") == "spikes" else "mnist"}
    return method_with(method, tuple(shape), classes, network=network, method=options, data=data), state


RINGS = golden_files(
    *("ide_*_short.npz", "ide_fc_*_long.npz", "ide_conv_*_spikes.npz", "spide_multilayer_*_short.npz", "spide_mnistconv_*.npz"),
    *("spide_lenet_IF.npz", "spide_dvs_IF.npz"),
)


@pytest.mark.parametrize("path", RINGS, ids=case_name)
def test_published_rings_give_their_published_logits(path, tmp_path, monkeypatch):
    arrays = np.load(path)
    if "eval__logits" not in arrays:
        pytest.skip("the file holds no evaluation")
    method, state = ring_of(arrays)
    # As DataParallel saves them, with the copies that the published modules keep of the same layers.
    copies = {f"snn_func.{name}": tensor for name, tensor in state.items() if name.startswith("network")}
    saved = {f"module.{name}": tensor for name, tensor in (state | copies).items()}
    load_weights(method, save(tmp_path / "model_best.pth.tar", saved, "state_dict", best_acc=99.0, optimizer={"state": {}}))
    x = torch.from_numpy(arrays["in_x"])
    x = x.movedim(-1, 0).contiguous() if x.dim() == 5 else x.view(len(x), -1, 1, 1) if x.dim() == 2 else x
    if method.config.method.name == "spide":  # whose norms are estimated from random vectors
        use_published_draws(monkeypatch, Golden(path), method.network.ring, "eval")
    same(method.scores(x), arrays["eval__logits"])


@pytest.mark.parametrize("path", golden_files("tsslbp_train_*.npz"), ids=case_name)
def test_published_weights_of_tssl_bp_give_their_published_currents(path, tmp_path):
    file = np.load(path)
    layers = json.loads(str(file["layers_config_json"]))
    parts = {"conv": "{out_channels}C{kernel_size}", "pooling": "P{kernel_size}", "linear": "{n_outputs}"}
    network = {
        "layers": "-".join(parts[layer["type"]].format(**layer) for layer in layers.values()),
        "padding": [layer["padding"] for layer in layers.values() if layer["type"] == "conv"],
        "time_steps": int(file["n_steps"]),
    }
    options = {name: float(file[name]) for name in ("tau_m", "tau_s", "pool_gain")}
    shape = tuple(int(n) for n in file["input_shape_chw"])
    method = method_with("tssl_bp", shape, int(file["n_class"]), network=network, method=options, data={"name": "mnist"})
    weights = [name for name, layer in layers.items() if layer["type"] in ("conv", "linear")]
    state = {f"my_parameters.{i}": torch.from_numpy(file[f"{name}_weight_initial"]) for i, name in enumerate(weights)}
    load_weights(method, save(tmp_path / "ckpt.pth", state, "net", acc=99.5))
    inputs = torch.from_numpy(file["batch_inputs"][0]).float()
    inputs = inputs.movedim(-1, 0) if inputs.dim() == 5 else inputs
    outputs = torch.from_numpy(file["network_output_syn_per_step_f32"][0]).flatten(1, -2).movedim(-1, 0)
    method.network.eval()
    same(method.forward(inputs), outputs)


@pytest.mark.parametrize("feedback", ["transpose", "alignment"])
@pytest.mark.parametrize("rule", ["ell", "fell", "bell"])
def test_published_weights_of_local_classifiers(rule, feedback, tmp_path):
    network = {"layers": "3C3-P2-5C3-12-12", "padding": 1, "time_steps": 4}
    method = method_with(rule, (1, 8, 8), 10, network=network, method={"feedback": feedback}, data={"name": "digits"})
    own = method.network.state_dict()
    state = {}
    for ours, published in (("conv_1", "conv1"), ("conv_2", "conv2"), ("linear_1", "fc1"), ("linear_2", "fc2")):
        state[f"{published}.encoder.weight"] = torch.randn_like(own[f"stages.{ours}.encoder.weight"])
        state[f"{published}.decoder_y.weight"] = torch.randn_like(own[f"stages.{ours}.classifier.weight"])
        if feedback == "alignment":
            state[f"{published}.decoder_y.weight_fa"] = torch.randn_like(own[f"stages.{ours}.classifier.feedback_weight"])
    load_weights(method, save(tmp_path / "best.pth.tar", state, "state_dict", best_error=np.float64(0.5)))
    blocks = dict(zip(("conv1", "conv2", "fc1", "fc2"), method.network.blocks().values()))
    for name, block in blocks.items():
        assert torch.equal(block.encoder.weight, state[f"{name}.encoder.weight"])
        assert torch.equal(block.classifier.weight, state[f"{name}.decoder_y.weight"])
        if feedback == "alignment":
            assert torch.equal(block.classifier.feedback_weight, state[f"{name}.decoder_y.weight_fa"])


@pytest.mark.parametrize(
    "name, network",
    [
        ("tssl_bp", {"layers": "4C3-P2-3C3-6-5", "time_steps": 3, "padding": [1, 0]}),
        ("ide", {"layers": "4C3s-5", "feedback": "4C5", "padding": [1, 2], "time_steps": 3}),
        ("ide", {"layers": "4C3s-3C3s-5", "feedback": "4C3u", "padding": 1, "time_steps": 3}),
        ("ide", {"layers": "7-5", "feedback": "7", "time_steps": 3}),
    ],
)
def test_maps_of_events_are_turned(name, network, tmp_path):
    """The published readers of N-MNIST give (polarity, x, y): the same checkpoint has to see turned events as another set sees them."""
    build = {data: method_with(name, (2, 8, 8), 5, network=network, data={"name": data}) for data in ("nmnist", "cifar10_dvs")}
    published = build["nmnist"].published_weights()
    own = build["nmnist"].network.state_dict()
    state = {}
    for ours, source in published.sources.items():
        drawn = torch.randn(source.shape) if own[ours].is_floating_point() else torch.zeros(source.shape, dtype=own[ours].dtype)
        state[source.name] = drawn.abs() + 0.5 if "running_var" in source.name else drawn
    path = save(tmp_path / "x.pth", state, "state_dict")
    for method in build.values():
        load_weights(method, path)
    events = (torch.rand(3, 4, 2, 8, 8) < 0.3).float()
    same(build["nmnist"].scores(events.transpose(-1, -2).contiguous()), build["cifar10_dvs"].scores(events))


SHAPES = {"nmnist": (2, 34, 34), "mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "digits": (1, 8, 8)}
SMALL_PRESETS = ("ide-fashion", "ide-nmnist", "spide-mnist", "bell-", "tsslbp-nmnist", "tsslbp-fashion-mlp")


@pytest.mark.parametrize("name", [name for name in presets.names() if name.startswith(SMALL_PRESETS)])
def test_every_tensor_of_a_preset_has_a_published_name(name):
    config = load_config(presets.load(name))
    shape = SHAPES.get(config.data.name, (3, 32, 32))
    method = methods.get(config.method.name)(config, shape, 10, torch.device("cpu"))
    own, sources = method.network.state_dict(), method.published_weights().sources
    assert own.keys() == sources.keys()
    assert len({source.name for source in sources.values()}) == len(sources)


@pytest.mark.parametrize("name", ["ide-nmnist-if", "ide-nmnist-lif"])
def test_maps_of_the_published_script_for_n_mnist(name, tmp_path):
    """Its checkpoints are of 16 x 16 maps, the results and the preset of 17 x 17: the padding that the preset departs in takes them."""
    build = {}
    for padding in ("2", "[1, 2]"):
        config = load_config(presets.load(name), ["--network.padding", padding])
        build[padding] = methods.get("ide")(config, SHAPES["nmnist"], 10, torch.device("cpu"))
    sources = build["[1, 2]"].published_weights().sources
    state = {source.name: torch.rand(source.shape) for source in sources.values() if "num_batches" not in source.name}
    state["network_x.bn.num_batches_tracked"] = torch.tensor(9)
    assert state["classifier.weight"].shape == (10, 64 * 16 * 16)
    path = save(tmp_path / "checkpoint.pth.tar", state, "state_dict")
    load_weights(build["[1, 2]"], path)
    assert torch.equal(build["[1, 2]"].network.classifier.bias, state["classifier.bias"])
    with pytest.raises(UserError, match=r"classifier.weight is \[10, 16384\] of float32, the network takes \[10, 18496\]"):
        load_weights(build["2"], path)


def test_dropout_has_no_weights(tmp_path):
    """Published networks with dropout, of rows as there or of units, number their weights as those without."""
    layers = {"layers": "4C3-3C3-P2-6-5", "padding": 1, "time_steps": 3}
    plain, *dropping = (
        method_with("tssl_bp", (2, 8, 8), 5, network={**layers, **options}, data={"name": "cifar10"})
        for options in ({}, {"dropout": 0.5, "dropout_kind": "rows"}, {"dropout": 0.5})
    )
    state = {source.name: torch.randn(source.shape) for source in plain.published_weights().sources.values()}
    path = save(tmp_path / "ckpt.pth", state, "net")
    images = 4 * torch.rand(3, 2, 8, 8)
    load_weights(plain, path)
    expected = plain.scores(images)
    assert expected.abs().sum() > 0
    for method in dropping:
        load_weights(method, path)
        assert torch.equal(method.scores(images), expected)


# The command.


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
