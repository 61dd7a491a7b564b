"""TSSL-BP's losses and whole training steps against numbers made by the published code.

Reads tsslbp_psp_loss_*.npz and tsslbp_train_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden). Shapes, options and
cases all come from the files. There time is the last axis; here it is the first.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import spikeops.functional as SF
from spiketrain import methods
from spiketrain.methods import load_config
from spiketrain.methods.base import losses

GOLDEN = Path(os.environ.get("SPIKEOPS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")
# The reference's own float32 rounding reaches 1e-6 of an array's largest magnitude in these files; 20 times that separates
# rounding from mistakes. In float64 only the order of additions differs.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}
PRECISIONS = [pytest.param(torch.float32, "_f32", id="float32"), pytest.param(torch.float64, "_f64", id="float64")]


def golden_files(pattern):
    files = sorted(GOLDEN.glob(pattern))
    return files or [pytest.param(None, marks=pytest.mark.skip(reason=f"no {pattern} in {GOLDEN}"))]


def case_name(path):
    return path.stem if path else "none"


def tensor(array, dtype):
    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)


def time_first(array, dtype):
    return tensor(np.moveaxis(array, -1, 0), dtype)


def assert_close(actual, expected, dtype, what):
    expected = tensor(expected, torch.float64)
    scale = expected.abs().max().clamp_min(1e-30)
    error = (actual.detach().double() - expected).abs().max() / scale
    assert error <= TOLERANCE[dtype], f"{what}: off by {error:.2e} of the largest magnitude"


@pytest.mark.parametrize("dtype, suffix", PRECISIONS)
@pytest.mark.parametrize("path", golden_files("tsslbp_psp_loss_*.npz"), ids=case_name)
def test_synaptic_filter(path, dtype, suffix):
    file = np.load(path)
    tau_s, time_steps = float(file["tau_s"]), int(file["n_steps"])
    filtered = SF.synaptic_filter(time_first(file["psp_spike_input"], dtype), tau_s)
    assert_close(filtered, np.moveaxis(file[f"psp_of_spike_input{suffix}"], -1, 0), dtype, "psp of spikes")
    image = tensor(file["psp_static_image"], dtype)
    repeated = SF.synaptic_filter(image.expand(time_steps, *image.shape), tau_s)
    assert_close(repeated, np.moveaxis(file[f"psp_of_static_image{suffix}"], -1, 0), dtype, "psp of a static image")


@pytest.mark.parametrize("dtype, suffix", PRECISIONS)
@pytest.mark.parametrize("path", golden_files("tsslbp_psp_loss_*.npz"), ids=case_name)
def test_losses(path, dtype, suffix):
    file = np.load(path)
    labels = torch.from_numpy(file["labels"]).long()
    time_steps, tau_s = int(file["n_steps"]), float(file["tau_s"])
    outputs = time_first(file["outputs_syn_f32"], dtype).flatten(2)

    assert torch.equal(losses.desired_spikes(time_steps, like=outputs), tensor(file["kernel_desired_spike_train"], dtype))
    target = losses.kernel_target(time_steps, tau_s, like=outputs)
    values = {
        "kernel": lambda y: losses.kernel_loss(y, labels, target),
        "count": lambda y: losses.count_loss(y, labels, float(file["desired_count"]), float(file["undesired_count"])),
        "softmax": lambda y: losses.softmax_loss(y, labels, len(labels)),
    }
    for name, loss in values.items():
        y = outputs.clone().requires_grad_()
        value = loss(y)
        value.backward()
        assert_close(value, file[f"{name}_loss{suffix}"], dtype, f"{name} loss")
        expected = np.moveaxis(file[f"{name}_grad_outputs{suffix}"], -1, 0).reshape(y.shape)
        assert_close(y.grad, expected, dtype, f"gradient of the {name} loss")


def notation(layers):
    """The network of a golden file in this project's notation, with paddings and thresholds."""
    parts, paddings, thresholds = [], [], []
    for layer in layers.values():
        assert layer.get("stride", 1) == 1 or layer["type"] == "pooling", "the notation has no strides"
        if layer["type"] == "conv":
            parts.append(f"{layer['out_channels']}C{layer['kernel_size']}")
            paddings.append(layer.get("padding", 0))
        elif layer["type"] == "pooling":
            parts.append(f"P{layer['kernel_size']}")
        else:
            parts.append(str(layer["n_outputs"]))
        if layer["type"] != "pooling":
            thresholds.append(float(layer["threshold"]))
    return "-".join(parts), paddings or 0, thresholds


def method_of(file, dtype):
    """The TSSL-BP method with every option, and the initial weights, of a golden file."""
    layers, padding, thresholds = notation(json.loads(str(file["layers_config_json"])))
    config = load_config(
        {
            "network": {"layers": layers, "padding": padding, "time_steps": int(file["n_steps"])},
            "method": {
                "name": "tssl_bp",
                "tau_m": float(file["tau_m"]),
                "tau_s": float(file["tau_s"]),
                "threshold": thresholds,
                "pool_gain": float(file["pool_gain"]),
                "loss": str(file["loss_name"]),
                "desired_count": float(file["desired_count"]),
                "undesired_count": float(file["undesired_count"]),
            },
            "optimizer": {
                "name": "adamw",
                "lr": float(file["lr"]),
                "betas": [float(file["adamw_beta1"]), float(file["adamw_beta2"])],
                "eps": float(file["adamw_eps"]),
                "weight_decay": float(file["adamw_weight_decay"]),
                "clip_norm": float(file["grad_norm_clip"]),
                "weight_clamp": float(file["weight_clamp"]),
            },
        }
    )
    method = methods.get("tssl_bp")(config, tuple(file["input_shape_chw"].tolist()), int(file["n_class"]), torch.device("cpu"))
    method.network.to(dtype)
    for name, weight in zip(file["layer_names"], method.network.parameters(), strict=True):
        weight.data.copy_(tensor(file[f"{name}_weight_initial"], dtype).view_as(weight))
    return method


@pytest.mark.parametrize("dtype, suffix", PRECISIONS)
@pytest.mark.parametrize("path", golden_files("tsslbp_train_*.npz"), ids=case_name)
def test_training_steps(path, dtype, suffix, monkeypatch):
    file = np.load(path)
    method = method_of(file, dtype)
    norms, outputs, first_gradients = [], [], []

    def clip(parameters, max_norm):
        if not first_gradients:
            first_gradients.extend(p.grad.clone() for p in parameters)
        norms.append(unclipped(parameters, max_norm))
        return norms[-1]

    unclipped = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip)
    method.network.register_forward_hook(lambda module, arguments, output: outputs.append(output.detach()))

    reported, correct = [], []
    for images, labels in zip(file["batch_inputs"], file["batch_labels"]):
        is_static = images.ndim == 4
        inputs = tensor(images, dtype) if is_static else time_first(images, dtype)
        result = method.training_step(inputs, torch.from_numpy(labels).long(), len(labels))
        reported.append(result.loss)
        correct.append(result.correct)

    assert_close(torch.stack(reported), file[f"loss_per_step{suffix}"], dtype, "loss")
    assert torch.stack(correct).tolist() == file["correct_per_step"].tolist()
    assert_close(torch.stack(norms), file[f"grad_total_norm_before_clip_per_step{suffix}"], dtype, "gradient norm")
    expected_outputs = np.moveaxis(file["network_output_syn_per_step_f32"], -1, 1)
    assert_close(torch.stack(outputs), expected_outputs.reshape(-1, *outputs[0].shape), torch.float32, "outputs")
    for name, weight, gradient in zip(file["layer_names"], method.network.parameters(), first_gradients, strict=True):
        expected = file[f"{name}_grad_step0_before_clip{suffix}"].reshape(gradient.shape)
        assert_close(gradient, expected, dtype, f"first gradient of {name}")
        assert_close(weight, file[f"{name}_weight_final{suffix}"].reshape(weight.shape), dtype, f"final weights of {name}")
