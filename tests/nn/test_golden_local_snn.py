"""Clamped neurons, and layers of them with a local loss, against numbers made by the published code (worden1/ICTAI_snn).

Reads snnlocal_neuron_*.npz and snnlocal_layer_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden, whose README describes
them). Shapes, options and cases all come from the files.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn

GOLDEN = Path(os.environ.get("SPIKEOPS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")
PRECISIONS = [pytest.param(torch.float32, "_f32", id="float32"), pytest.param(torch.float64, "_f64", id="float64")]
# Of an array's largest magnitude. In float64 only the order of additions differs; in float32 the published code's own rounding
# reaches 1e-5 in gradients, and the standard deviation of maps amplifies it.
TOLERANCE = {
    "values": {torch.float32: 1e-5, torch.float64: 1e-9},
    "gradients": {torch.float32: 2e-5, torch.float64: 1e-9},
}
# Of the learning rate: a gradient as small as Adam's eps decides by its rounding on the sign and size of a step.
STEP_TOLERANCE = {torch.float32: 0.02, torch.float64: 1e-6}

PARAMETERS = {
    "encoder.weight": "encoder_weight",
    "norm.weight": "bn_weight",
    "norm.bias": "bn_bias",
    "classifier.weight": "decoder_y_weight",
    "projection.weight": "linear_loss_weight",
    "neuron.threshold": "nonlin_threshold",
}
STATISTICS = {"norm.running_mean": "bn_running_mean", "norm.running_var": "bn_running_var"}


def files(kind):
    found = sorted(GOLDEN.glob(f"snnlocal_{kind}_*.npz"))
    skipped = pytest.param(None, marks=pytest.mark.skip(reason=f"no snnlocal_{kind}_*.npz in {GOLDEN}"))
    return pytest.mark.parametrize("path", found or [skipped], ids=lambda path: path.stem if path else "none")


def of_precision(file, name, suffix):
    """An array of one precision, or the one that is equal in both."""
    return file[name] if name in file else file[name + suffix]


def tensor(array, dtype):
    return torch.as_tensor(array).to(dtype)


def assert_close(actual, expected, tolerance, what, slack=0.0):
    """Equal to `tolerance` of the largest magnitude of the expected array, or to `slack`."""
    expected = tensor(expected, torch.float64)
    assert actual.shape == expected.shape, what
    allowed = max(tolerance * expected.abs().max().item(), slack)
    error = (actual.detach().double() - expected).abs().max().item()
    assert error <= allowed, f"{what}: off by {error:.2e}, allowed are {allowed:.2e}"


def neuron_options(file):
    assert float(file["sigma_v"]) == float(file["mu"]) == 0, "neither has any effect in the published code"
    return {
        "time_steps": int(file["num_bins"]) - 1,
        "dt": float(file["dt"]),
        "leak": float(file["leak"]),
        "threshold_gain": float(file["threshold_gradient_scale"]),
        "threshold_drift": float(file["threshold_gradient_drift"]),
    }


@pytest.mark.parametrize("implementation", ["reference", "backend"])
@pytest.mark.parametrize("dtype, suffix", PRECISIONS)
@files("neuron")
def test_neuron(path, dtype, suffix, implementation, request):
    file = np.load(path)
    x, threshold = (tensor(file[name], dtype).requires_grad_() for name in ("input", "threshold"))
    with spikeops.backend("reference" if implementation == "reference" else request.config.getoption("--backend")):
        count, v = SF.clamped_lif(x, threshold, **neuron_options(file))
        v.backward(tensor(file["grad_membrane_last"], dtype))
    # Bit for bit: the operations are associated as in the published code.
    assert np.array_equal(count.numpy(), of_precision(file, "spike_count", suffix))
    assert np.array_equal(v.detach().numpy(), file["membrane_last" + suffix])
    assert np.array_equal(x.grad.numpy(), file["grad_input" + suffix])
    assert_close(threshold.grad, file["grad_threshold" + suffix], TOLERANCE["gradients"][dtype], "gradient of the thresholds")


def build(file, dtype):
    """The block of a file, with its initial parameters; and these by name: (parameter, name in the file)."""
    weight = file["encoder_weight_initial"]
    classes, units = int(file["num_classes"]), len(weight)
    if weight.ndim == 4:
        assert int(file["stride"]) == 1
        encoder = nn.Conv2d(weight.shape[1], units, int(file["kernel_size"]), padding=int(file["padding"]), bias=False)
        shape, options = file["train_spike_count"].shape[1:], {"decoder_size": int(file["dim_in_decoder"])}
    else:
        encoder, shape, options = nn.Linear(weight.shape[1], units, bias=False), (units,), {}
    block = snn.LocalLossBlock(
        encoder, shape, classes, str(file["loss_sup"]), beta=float(file["beta"]),
        neuron=snn.ClampedLIF(units, **neuron_options(file)), batch_norm=bool(file["batch_norm"]),
        similarity_std=bool(file["similarity_std"]), **options,
    ).to(dtype)  # fmt: skip
    named = {}
    for own_name, value in [*block.named_parameters(), *block.named_buffers()]:
        if own_name == "norm.num_batches_tracked":
            continue
        name = (PARAMETERS | STATISTICS)[own_name]
        value.data.copy_(tensor(file[f"{name}_initial"], dtype))
        named[name] = value
    # What the published code holds besides: a convolution for the similarity of maps, which it never uses.
    unused = [name.replace(".", "_") for name in file["parameters_without_gradient"].tolist() if name]
    assert {*named, *unused} == {name.removesuffix("_initial") for name in file if name.endswith("_initial")}
    return block, named


@pytest.mark.parametrize("dtype, suffix", PRECISIONS)
@files("layer")
def test_layer(path, dtype, suffix):
    """One training step, then evaluation of other inputs."""
    file = dict(np.load(path))
    block, named = build(file, dtype)
    values, gradients = (TOLERANCE[kind][dtype] for kind in ("values", "gradients"))
    if "pool_kernel" in file:
        assert (block.pool.kernel_size, block.pool.padding) == (tuple(file["pool_kernel"]), tuple(file["pool_padding"]))

    x = tensor(file["x_train"], dtype).requires_grad_()
    count, v = block(x)
    losses = block.local_losses((count, v), torch.from_numpy(file["y_train"]))
    assert np.array_equal(count.detach().numpy(), file["train_spike_count"])
    assert_close(v, file["train_membrane_last" + suffix], values, "membrane potential")
    assert_close(losses.total, file["train_loss" + suffix], values, "loss")

    lr = float(file["lr"])
    optimizer = torch.optim.Adam(block.parameters(), lr, weight_decay=float(file["weight_decay"]))
    losses.total.backward()
    assert_close(x.grad, file["train_grad_x" + suffix], gradients, "gradient of the input")
    has_noise = noise_only(file)
    for name, parameter in named.items():
        if not isinstance(parameter, nn.Parameter) or (name in has_noise and dtype is torch.float32):
            continue
        # A gradient that is exactly 0 but for rounding is measured by that of the weights.
        of_weights = np.abs(file["grad_encoder_weight" + suffix]).max() if name in has_noise else 0
        assert_close(parameter.grad, file[f"grad_{name}{suffix}"], gradients, f"gradient of {name}", gradients * of_weights)
    optimizer.step()
    for name, value in named.items():
        if name in has_noise and dtype is torch.float32:
            continue
        slack = STEP_TOLERANCE[dtype] * lr
        assert_close(value, file[f"{name}_after_step{suffix}"], values if name.startswith("bn_running") else 0, name, slack)

    block.eval()
    count, v = block(tensor(file["x_eval"], dtype))
    assert np.array_equal(count.detach().numpy(), file["eval_spike_count"])
    loss = block.local_losses((count, v), torch.from_numpy(file["y_eval"])).total
    # In float32 a bias that moved by noise moves all membrane potentials with it, by at most the step.
    slack = lr if has_noise and dtype is torch.float32 else 0
    assert_close(v, file["eval_membrane_last" + suffix], values, "membrane potential in evaluation", slack)
    assert_close(loss, file["eval_loss" + suffix], values, "loss in evaluation", slack)


def noise_only(file):
    """Parameters without an influence, whose gradient is rounding noise: the standard deviation of maps does not feel a bias."""
    of_deviations = file["x_train"].ndim == 4 and bool(file["similarity_std"]) and len(file["encoder_weight_initial"]) > 3
    return {"bn_bias"} if str(file["loss_sup"]) == "sim" and of_deviations else set()
