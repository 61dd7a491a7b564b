"""Published checkpoints become runs: equal to the golden numbers and to tensors assigned by hand; all else is refused by name."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files.published_checkpoints import method_with, save
from feedback_tests.golden import Golden, use_published_draws

from spiketrain import methods, presets
from spiketrain.errors import UserError
from spiketrain.methods import load_config
from spiketrain.training.weights import load_weights

GOLDEN = Path(os.environ.get("SPIKEOPS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")
# The golden files' own noise in float32 reaches 4e-6 of an array's largest magnitude.
TOLERANCE = 1e-5


def golden_files(*patterns):
    files = sorted(path for pattern in patterns for path in GOLDEN.glob(pattern))
    return files or [pytest.param(None, marks=pytest.mark.skip(reason=f"no {patterns} in {GOLDEN}"))]


def case_name(path):
    return path.stem if path else "none"


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
    torch.manual_seed(2)
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
