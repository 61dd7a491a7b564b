"""Similarity matrices and local losses against numbers made by the code of Nokland & Eidnes.

Reads localloss_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden, whose README describes them). Shapes, options and cases
all come from the files. The published layers end in a ReLU instead of spiking neurons: here they are blocks of one time step
with that ReLU for a neuron, whose firing rate is its output.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import spikeops.nn as snn

GOLDEN = Path(os.environ.get("SPIKEOPS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")
# The published code's own float32 rounding reaches 1e-6 of an array's largest magnitude in these files; 20 times that separates
# rounding from mistakes. In float64 only the order of additions differs.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}
PRECISIONS = [pytest.param(torch.float32, "_f32", id="float32"), pytest.param(torch.float64, "_f64", id="float64")]

# Parameters of a block, and what the files call them.
PARAMETERS = {
    "encoder.weight": "encoder_weight",
    "encoder.bias": "encoder_bias",
    "norm.weight": "bn_weight",
    "norm.bias": "bn_bias",
    "classifier.weight": "decoder_weight",
    "classifier.bias": "decoder_bias",
    "projection.weight": "{linear_or_conv}_loss_weight",
}


def golden_cases(cases_of):
    """(file, case) for every case that `cases_of` finds in the arrays of a file."""
    found = []
    for path in sorted(GOLDEN.glob("localloss_*.npz")):
        with np.load(path) as file:
            found += [pytest.param(path, case, id="-".join(filter(None, (path.stem, case)))) for case in cases_of(file.files)]
    return found or [pytest.param(None, None, marks=pytest.mark.skip(reason=f"no localloss_*.npz of this kind in {GOLDEN}"))]


def similarity_cases(names):
    return [name[len("sim_") : -len("_input")] for name in names if name.startswith("sim_") and f"{name}_f64" not in names
            and name.endswith("_input")]  # fmt: skip


def tensor(array, dtype):
    return torch.as_tensor(array).to(dtype)


def assert_close(actual, expected, dtype, what, scale=0.0):
    """Equal to `TOLERANCE` of the largest magnitude of the expected array, or of `scale` if that is larger."""
    expected = tensor(expected, torch.float64)
    assert actual.shape == expected.shape, what
    scale = max(scale, expected.abs().max().item(), 1e-30)
    error = (actual.detach().double() - expected).abs().max() / scale
    assert error <= TOLERANCE[dtype], f"{what}: off by {error:.2e} of the largest magnitude"


@pytest.mark.parametrize("dtype, suffix", PRECISIONS)
@pytest.mark.parametrize("path, case", golden_cases(similarity_cases))
def test_similarity_matrix(path, case, dtype, suffix):
    file = np.load(path)
    x = tensor(file[f"sim_{case}_input"], dtype).requires_grad_()
    similarity = snn.similarity_matrix(x, std="no_std" not in case)
    assert_close(similarity, file[f"sim_{case}_R{suffix}"], dtype, "similarity")
    (grad,) = torch.autograd.grad(similarity, x, tensor(file[f"sim_{case}_grad_R"], dtype))
    # Samples whose features are all equal have NaN as gradient in the published code, and none here.
    assert_close(grad, np.nan_to_num(file[f"sim_{case}_grad_input{suffix}"], nan=0.0), dtype, "gradient")


def build(file, dtype):
    """The block of a file, with its initial parameters; and these by name: (parameter, name in the file)."""
    classes, is_conv = int(file["n_class"]), file["x_input"].ndim == 4
    weight = file["encoder_weight_initial"]
    if is_conv:
        encoder = nn.Conv2d(weight.shape[1], weight.shape[0], int(file["kernel_size"]), padding=int(file["padding"]))
        shape = (weight.shape[0], int(file["dim_out"]), int(file["dim_out"]))
        options = {"decoder_size": int(file["dim_in_decoder_limit"])}
    else:
        encoder, shape, options = nn.Linear(weight.shape[1], weight.shape[0]), weight.shape[:1], {}
    block = snn.LocalLossBlock(
        encoder, shape, classes, str(file["loss_sup"]), beta=float(file["beta"]), neuron=nn.ReLU(),
        batch_norm=bool(file["batch_norm"]), time_steps=1, **options,
    )  # fmt: skip
    parameters = {}
    for own_name, parameter in block.to(dtype).named_parameters():
        name = PARAMETERS[own_name].format(linear_or_conv="conv" if is_conv else "linear")
        parameter.data.copy_(tensor(file[f"{name}_initial"], dtype))
        parameters[name] = parameter
    assert {f"{name}_initial" for name in parameters} == {name for name in file if name.endswith("_initial")}
    return block, parameters


@pytest.mark.parametrize("dtype, suffix", PRECISIONS)
@pytest.mark.parametrize("path, _", golden_cases(lambda names: [""] if "loss_sup" in names else []))
def test_block(path, _, dtype, suffix):
    file = dict(np.load(path))
    assert float(file["alpha"]) == 0, "unsupervised losses are not part of this"
    block, parameters = build(file, dtype)
    before = []
    block.neuron.register_forward_pre_hook(lambda module, inputs: before.append(inputs[0]))

    x = tensor(file["x_input"], dtype).requires_grad_()
    h = block(x)
    losses = block.local_losses(h, torch.from_numpy(file["labels"]))
    for name, actual in (("h_before_nonlinearity", before[0][0]), ("h_after_relu", h[0]), ("loss_total", losses.total)):
        assert_close(actual, file[name + suffix], dtype, name)
    for name, actual in (("loss_sim_part", losses.sim), ("loss_pred_part", losses.pred)):
        assert (actual is None) == (name + suffix not in file)
        if actual is not None:
            assert_close(actual, file[name + suffix], dtype, name)
    if losses.logits is not None:
        assert (losses.logits.argmax(1) == torch.from_numpy(file["labels"])).sum() == int(file["correct_count"])
    if "avg_pool_kernel_hw" in file:
        assert block.pool.kernel_size == tuple(file["avg_pool_kernel_hw"])
        assert block.pool.padding == tuple(file["avg_pool_padding_hw"])

    activations = torch.autograd.grad(losses.total, [before[0], h, x], retain_graph=True)
    for name, actual in zip(("h_before_nonlinearity", "h_after_relu", "x_input"), activations):
        expected = file[f"grad_{name}{suffix}"]
        assert_close(actual.reshape(expected.shape), expected, dtype, f"gradient of {name}")

    betas = float(file["adam_beta1"]), float(file["adam_beta2"])
    optimizer = torch.optim.Adam(block.parameters(), float(file["lr"]), betas, float(file["adam_eps"]))
    losses.total.backward()
    optimizer.step()
    for name, parameter in parameters.items():
        gradient = file[f"grad_{name}{suffix}"]
        # A bias under batch norm has no gradient but rounding: measure it by the gradient of the weights beside it.
        of_weight = np.abs(file[f"grad_{name.replace('bias', 'weight')}{suffix}"]).max()
        assert_close(parameter.grad, gradient, dtype, f"gradient of {name}", scale=of_weight)
        check_first_adam_step(parameter, file, name, suffix, TOLERANCE[dtype] * max(of_weight, np.abs(gradient).max()))


def check_first_adam_step(parameter, file, name, suffix, gradient_error):
    """The first step is ``lr * g / (|g| + eps)``: where g is about as small as eps, its rounding decides on the step.

    With an error e of g the step is off by at most ``lr * e * eps / (|g| - e + eps)^2``, and never by more than 2 lr.
    """
    lr, eps = float(file["lr"]), float(file["adam_eps"])
    gradient = np.abs(file[f"grad_{name}{suffix}"].astype(np.float64))
    from_gradient = gradient_error * eps / (np.maximum(gradient - gradient_error, 0) + eps) ** 2
    expected = file[f"{name}_after_adam_step{suffix}"].astype(np.float64)
    rounding = 4 * torch.finfo(parameter.dtype).eps * (np.abs(expected) + lr)
    error = np.abs(parameter.detach().double().numpy() - expected)
    assert (error <= lr * np.minimum(from_gradient, 2) + rounding).all(), f"{name} after the step: off by up to {error.max():.2e}"
