"""LocalBlock with ELL, FELL and BELL against numbers made by the published code.

Reads ell_linear_*.npz and ell_conv_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden). Shapes, hyper-parameters and cases
all come from the files, in which time is the first axis.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import spikeops
import spikeops.nn as snn

GOLDEN = Path(os.environ.get("SPIKEOPS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")
PATTERNS = ("ell_linear_*.npz", "ell_conv_*.npz")


def golden_files(applies=lambda arrays: True):
    """A mark that gives a test, as `golden`, each file that it applies to."""
    paths = [path for pattern in PATTERNS for path in sorted(GOLDEN.glob(pattern)) if applies(np.load(path))]
    paths = paths or [pytest.param(None, marks=pytest.mark.skip(reason=f"no {PATTERNS} in {GOLDEN}"))]
    return pytest.mark.parametrize("golden", paths, ids=lambda path: path.stem if path else "none", indirect=True)


# A membrane this close to the threshold may be on its other side after rounding: such a spike is not compared.
UNDECIDED = 1e-5
# Of weights after Adam (absolute) and of losses (relative). Gradients: of the largest magnitude in the array, 20 times the published
# code's own float32 rounding (up to 5e-7). In float64 only the order of additions differs.
WEIGHTS = {torch.float32: 1e-5, torch.float64: 1e-11}
LOSSES = {torch.float32: 1e-5, torch.float64: 1e-12}
GRADIENTS = {torch.float32: 1e-5, torch.float64: 1e-11}


@pytest.fixture
def golden(request):
    with np.load(request.param) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(params=["reference", "native"])
def backend(request):
    with spikeops.backend(request.param):
        yield request.param


def tensor(golden, name, dtype):
    return torch.from_numpy(golden[name]).to(dtype)


def block_of(golden, dtype):
    """The block of a golden file with its initial weights."""
    weight = golden["encoder_weight_initial"]
    steps, static = int(golden["n_steps"]), bool(golden["first_layer"])
    assert static or len(golden["x_input"]) == steps
    if weight.ndim == 4:
        sizes = {name: int(golden[name]) for name in ("kernel_size", "stride", "padding")}
        encoder = torch.nn.Conv2d(weight.shape[1], weight.shape[0], **sizes, bias=False)
        shape = (weight.shape[0], int(golden["dim_out"]), int(golden["dim_out"]))
        decoder_size = int(golden["dim_decoder"])
    else:
        encoder = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        shape, decoder_size = (weight.shape[0],), None
    aligned = bool(golden["feedback_alignment"])
    classifier = snn.LocalClassifier(
        shape, int(golden["n_class"]), decoder_size=decoder_size, feedback="alignment" if aligned else "transpose",
        frozen=bool(golden["random_matrix"]),
    )  # fmt: skip
    block = snn.LocalBlock(
        encoder,
        classifier,
        str(golden["rule"]).lower(),
        time_steps=steps,
        tau=float(golden["tau"]),
        threshold=float(golden["threshold"]),
    ).to(dtype)
    for name, parameter in weights(block).items():
        parameter.data.copy_(tensor(golden, f"{name}_initial", dtype))
    return block


def weights(block):
    """The block's matrices by their names in the files."""
    named = {
        "encoder_weight": block.encoder.weight, "decoder_weight": block.classifier.weight,
        "decoder_feedback_weight": block.classifier.feedback_weight,
    }  # fmt: skip
    return {name: parameter for name, parameter in named.items() if parameter is not None}


def relative_error(actual, expected):
    expected = torch.from_numpy(np.asarray(expected)).double()
    return ((actual.detach().double() - expected).abs().max() / expected.abs().max().clamp_min(1e-30)).item()


@golden_files()
@pytest.mark.parametrize("dtype, suffix", [(torch.float32, "_f32"), (torch.float64, "_f64")], ids=["float32", "float64"])
def test_learns_like_the_published_code(golden, backend, dtype, suffix):
    block = block_of(golden, dtype)
    optimizer = torch.optim.Adam(
        block.trainable(), float(golden["lr"]), (float(golden["adam_beta1"]), float(golden["adam_beta2"])), float(golden["adam_eps"]),
        fused=True,
    )  # fmt: skip
    gradients = []
    optimizer.register_step_pre_hook(
        lambda *_: gradients.append({name: p.grad.clone() for name, p in weights(block).items() if p.requires_grad})
    )
    labels = torch.from_numpy(golden["labels"]).long()
    step = block.learn(tensor(golden, "x_input", dtype), labels, optimizer)

    clear = np.abs(golden["hidden_mem_f64"] - float(golden["threshold"])) > UNDECIDED
    ties = golden["hidden_mem_f64"] == float(golden["threshold"])  # exact in any precision
    assert clear.mean() > 0.5
    fired = step.spikes.numpy()
    assert np.array_equal(fired[clear | ties], golden["output_spikes"][clear | ties])
    assert np.array_equal(step.count.numpy(), golden["classifier_spikes"].sum(0))
    assert (step.count.argmax(1) == labels).sum() == int(golden["correct_count"])
    assert step.loss.item() == pytest.approx(float(golden[f"loss{suffix}"]), rel=LOSSES[dtype])

    for name in ("encoder", "decoder"):
        if f"{name}_grad_per_optimizer_step{suffix}" in golden:
            per_step = torch.stack([gradient[f"{name}_weight"] for gradient in gradients])
            assert relative_error(per_step, golden[f"{name}_grad_per_optimizer_step{suffix}"]) <= GRADIENTS[dtype], name
    for name, parameter in weights(block).items():
        final = f"{name}_final{suffix}"
        expected = tensor(golden, final if final in golden else f"{name}_initial", torch.float64)
        off = (parameter.detach().double() - expected).abs().max().item()
        assert off <= WEIGHTS[dtype], f"{name}: off by {off:.1e}"


@golden_files(lambda arrays: "avg_pool_kernel_hw" in arrays)
def test_pooling_in_front_of_the_classifier(golden):
    classifier = block_of(golden, torch.float32).classifier
    assert classifier.pool_kernel == tuple(golden["avg_pool_kernel_hw"])
    assert classifier.pool_padding == tuple(golden["avg_pool_padding_hw"])
    assert classifier.weight.shape[1] == int(golden["decoder_inputs"])


@golden_files(lambda arrays: str(arrays["rule"]) == "BELL")
def test_layer_fires_the_same_without_learning(golden):
    """BELL's spikes are fired before its weights change."""
    block = block_of(golden, torch.float64)
    with torch.no_grad():
        spikes = block(tensor(golden, "x_input", torch.float64))
        assert np.array_equal(spikes.numpy(), golden["output_spikes"])
        assert np.array_equal(block.classify(spikes).numpy(), golden["classifier_spikes"].sum(0))
