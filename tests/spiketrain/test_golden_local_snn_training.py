"""local_ce, local_corr and local_ce_corr against three training steps and a test of the published code (worden1/ICTAI_snn).

Reads snnlocal_net_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden, whose README describes them). Networks, options and
cases all come from the files.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from spiketrain import methods
from spiketrain.methods import load_config

GOLDEN = Path(os.environ.get("SPIKEOPS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")
PRECISIONS = [pytest.param(torch.float32, "_f32", id="float32"), pytest.param(torch.float64, "_f64", id="float64")]
# Of an array's largest magnitude. In float64 only the order of additions differs.
VALUES = {torch.float32: 1e-5, torch.float64: 1e-9}
# Of the learning rate: a gradient as small as Adam's eps decides by its rounding on the sign and size of a step.
STEPS = {torch.float32: 0.2, torch.float64: 1e-6}

METHODS = {"pred": "local_ce", "sim": "local_corr", "predsim": "local_ce_corr"}
CONVOLUTIONS = {  # with P for pooling over 2 x 2: kernel of each, and padding
    "snn1m": ("5P5P", 0),
    "snn2m": ("5P5P", 0),
    "vgg8a": ("33P33P3P3", 1),
}
PARAMETERS = {
    "block.encoder.weight": "encoder_weight",
    "block.encoder.bias": "encoder_bias",
    "block.norm.weight": "bn_weight",
    "block.norm.bias": "bn_bias",
    "block.norm.running_mean": "bn_running_mean",
    "block.norm.running_var": "bn_running_var",
    "block.classifier.weight": "decoder_y_weight",
    "block.classifier.bias": "decoder_y_bias",
    "block.projection.weight": "linear_loss_weight",
    "block.neuron.threshold": "nonlin_threshold",
    "linear.weight": "weight",
    "linear.bias": "bias",
}


def golden_files():
    found = []
    for path in sorted(GOLDEN.glob("snnlocal_net_*.npz")):
        with np.load(path) as file:
            for dtype, suffix in ((torch.float32, "_f32"), (torch.float64, "_f64")):
                if f"eval_logits{suffix}" in file.files:
                    found.append(pytest.param(path, dtype, suffix, id=path.stem + suffix))
    return found or [pytest.param(None, None, None, marks=pytest.mark.skip(reason=f"no snnlocal_net_*.npz in {GOLDEN}"))]


def notation(file):
    """The network in our notation, and its padding."""
    blocks, model = file["block_names"].tolist(), str(file["model"])
    sizes = [len(file[f"{name.replace('.', '_')}_encoder_weight_initial"]) for name in blocks]
    if model == "mlp":
        return "-".join(map(str, [*sizes, file["num_classes"]])), 0
    kernels, padding = CONVOLUTIONS[model]
    parts = ["P2" if kernel == "P" else f"{sizes.pop(0)}C{kernel}" for kernel in kernels]
    return "-".join(map(str, [*parts, *sizes, file["num_classes"]])), padding


def build(file, dtype):
    """The method of a file with its initial parameters; the names of its layers in the file; all values by name in the file."""
    name = METHODS[str(file["loss_sup"])]
    layers, padding = notation(file)
    config = load_config({
        "network": {"layers": layers, "padding": padding, "time_steps": int(file["num_bins"]) - 1},
        "method": {
            "name": name, "neuron": "clamped", "batch_norm": bool(file["batch_norm"]), "decoder_size": int(file["dim_in_decoder"]),
            "dt": float(file["dt"]), "leak": float(file["leak"]), "threshold_gain": float(file["threshold_gradient_scale"]),
            "threshold_drift": float(file["threshold_gradient_drift"]),
            **({"beta": float(file["beta"])} if name == "local_ce_corr" else {}),
        },
        "optimizer": {"name": "adam", "lr": float(file["lr"]), "weight_decay": float(file["weight_decay"])},
    })  # fmt: skip
    method = methods.get(name)(config, file["x_train"].shape[2:], int(file["num_classes"]), torch.device("cpu"))
    method.network.to(dtype)
    readout = "layer_out" if str(file["model"]) == "mlp" else "classifier_layer_out"
    theirs = dict(zip(method.layers, [*(name.replace(".", "_") for name in file["block_names"].tolist()), readout], strict=True))
    named = {}
    for layer_name, layer in method.layers.items():
        for own_name, value in [*layer.named_parameters(), *layer.named_buffers()]:
            if not own_name.endswith("num_batches_tracked"):
                named[f"{theirs[layer_name]}_{PARAMETERS[own_name]}"] = value
    unused = {name for name in file if name.endswith("_conv_loss_weight_initial")}  # never used in the published code
    assert {f"{name}_initial" for name in named} | unused == {name for name in file if name.endswith("_initial")}
    for name, value in named.items():
        value.data.copy_(torch.from_numpy(file[f"{name}_initial"]).to(dtype))
    own = sum(p.numel() for p in method.network.parameters())
    assert own + sum(file[name].size for name in unused) == int(file["parameters_total"])
    return method, theirs, named


def assert_close(actual, expected, tolerance, what, slack=0.0):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    actual = torch.as_tensor(actual, dtype=torch.float64).detach()
    assert actual.shape == expected.shape, what
    allowed = max(tolerance * expected.abs().max().item(), slack)
    error = (actual - expected).abs().max().item()
    assert error <= allowed, f"{what}: off by {error:.2e}, allowed are {allowed:.2e}"


def is_noise(name, file):
    """Whether a parameter's gradient is 0 but for rounding, which in float32 becomes steps of up to the learning rate: a bias before
    batch norm; and the bias of maps that are compared by their standard deviation. Weights from maps that count the same in a whole
    batch are like the former, and with either the running mean behind them moves."""
    if not bool(file["batch_norm"]):
        return False
    if name.startswith("classifier_layers") and name.endswith("encoder_bias"):
        return True
    if name.endswith("bn_running_mean") and name.startswith(("classifier_layers", "features")) and "features_0" not in name:
        return True
    return name.startswith("features") and name.endswith("bn_bias") and str(file["loss_sup"]) == "sim"


def check_value(name, value, file, dtype, suffix, steps):
    """A parameter or running statistic after the steps."""
    expected, lr = file[f"{name}_final{suffix}"], float(file["lr"])
    if dtype is torch.float64:
        assert_close(value, expected, VALUES[dtype] if "bn_running" in name else 0, name, STEPS[dtype] * lr)
    elif not is_noise(name, file):
        error = np.abs(value.detach().numpy() - expected)
        usual, allowed = np.quantile(error, 0.99), max(STEPS[dtype] * lr, VALUES[dtype] * np.abs(expected).max())
        assert usual <= allowed, f"{name}: 1 % of the values are off by {usual:.2e} or more, allowed are {allowed:.2e}"
        assert error.max() <= 2 * steps * lr + allowed, f"{name}: off by {error.max():.2e}, more than all steps together"


@pytest.mark.parametrize("path, dtype, suffix", golden_files())
def test_training(path, dtype, suffix):
    file = dict(np.load(path))
    method, theirs, named = build(file, dtype)
    handed_on = {}
    for name, layer in method.layers.items():
        layer.register_forward_hook(lambda _, __, output, name=name: handed_on.__setitem__(name, output))

    def check_counts(key, step=None):
        for name, layer in method.layers.items():
            if name != "output" and layer.block.kind == "clamped":
                found = f"{theirs[name]}_{key}"
                expected = file[found] if found in file else file[found + suffix]
                assert np.array_equal(handed_on[name][0].detach().numpy(), expected if step is None else expected[step]), name

    x, labels = torch.from_numpy(file["x_train"]).to(dtype), torch.from_numpy(file["y_train"])
    values = VALUES[dtype]
    # What stands behind a layer whose bias moves by noise in float32 feels it.
    slack = 1e-3 if dtype is torch.float32 else 0
    losses, correct = [], 0
    for step in range(len(x)):
        result = method.training_step(x[step], labels[step], len(labels[step]))
        check_counts("spike_count", step)
        for name in list(method.layers)[:-1]:
            assert_close(result.layers[name].loss, file[f"{theirs[name]}_local_loss{suffix}"][step], values, f"{name}, loss", slack / 10)
        assert_close(handed_on["output"], file[f"train_logits{suffix}"][step], values, f"logits of step {step}", slack)
        losses.append(result.loss.item())
        correct += result.correct.item()
    assert_close(sum(losses) / len(losses), file[f"epoch_train_loss{suffix}"], values, "loss of the epoch", slack / 10)
    assert_close(100 - 100 * correct / labels.numel(), file[f"epoch_train_error_percent{suffix}"], 1e-6, "training error")
    for name in theirs.values():
        if f"{name}_output_last_step{suffix}" in file:
            (own,) = (key for key, value in theirs.items() if value == name)
            assert_close(handed_on[own], file[f"{name}_output_last_step{suffix}"], values, f"{name}, output", slack)

    for name, value in named.items():
        check_value(name, value, file, dtype, suffix, steps=len(x))

    inputs, wanted = torch.from_numpy(file["x_eval"]).to(dtype), torch.from_numpy(file["y_eval"])
    scores = method.scores(inputs)
    check_counts("eval_spike_count")
    assert_close(scores, file[f"eval_logits{suffix}"], values, "logits in evaluation", slack)
    loss = method.layers["output"].weight * F.cross_entropy(scores, wanted)
    assert_close(loss, file[f"epoch_eval_loss{suffix}"], values, "loss in evaluation", slack)
    error = 100 - 100 * (scores.argmax(1) == wanted).double().mean()
    assert_close(error, file[f"epoch_eval_error_percent{suffix}"], 1e-6, "test error")
    for name in list(method.layers)[:-1]:
        with torch.no_grad():
            loss, _ = method.layers[name].loss(handed_on[name], wanted)
        assert_close(loss, file[f"{theirs[name]}_eval_local_loss{suffix}"], values, f"{name}, loss in evaluation", slack)
