"""Whole networks that learn by ELL, FELL and BELL against numbers made by the published code, over three batches.

Reads ell_net_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden). Networks, options and cases all come from the files.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from spiketrain import methods, presets
from spiketrain.config import merge
from spiketrain.methods import load_config

GOLDEN = Path(os.environ.get("SPIKEOPS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")
PATTERN = "ell_net_*.npz"
FILES = sorted(GOLDEN.glob(PATTERN)) or [pytest.param(None, marks=pytest.mark.skip(reason=f"no {PATTERN} in {GOLDEN}"))]
# The preset that trains each model class of the published code.
PRESETS = {
    "MNISTDNN": "mnist-dnn", "MNISTCNN": "mnist-cnn", "FashionDNN": "fashion-dnn", "FashionCNN": "fashion-cnn",
    "SVHNCNN": "svhn-cnn", "CIFARCNN": "cifar10-cnn",
}  # fmt: skip
# Losses relative, weights absolute. A weight whose gradient nearly cancels moves by rounding: up to 3e-5 between the published
# code's own float32 and float64 runs, among 627,200 weights of which 99.9 % agree to 6e-8. In float64 only additions are reordered.
LOSS = {torch.float32: 1e-5, torch.float64: 1e-11}
WEIGHT = {torch.float32: 1e-5, torch.float64: 1e-9}
WORST_WEIGHT = {torch.float32: 6e-5, torch.float64: 1e-9}
EXCEPT_FOR = 1e-3  # share of the weights


def method_of(file, dtype):
    """The method with its options, and the initial weights, of a golden file."""
    rule = str(file["rule"]).lower()
    config = load_config(
        merge(
            presets.load(f"{rule}-{PRESETS[str(file['model'])]}"),
            {
                "network": {"time_steps": int(file["n_steps"])},
                "method": {"tau": float(file["tau"]), "threshold": float(file["threshold"])}
                | ({"decoder_size": int(file["dim_decoder"])} if "dim_decoder" in file else {}),
                "optimizer": {"lr": float(file["lr"])},
            },
        )
    )
    shape = tuple(int(n) for n in file["batch_images"].shape[2:])
    method = methods.get(rule)(config, shape, int(file["n_class"]), torch.device("cpu"))
    method.network.to(dtype)
    for name, block in blocks(file, method).items():
        block.encoder.weight.data.copy_(initial(file, f"{name}_encoder", "encoder").view_as(block.encoder.weight))
        block.classifier.weight.data.copy_(initial(file, f"{name}_decoder", "decoder"))
    return method


def blocks(file, method):
    """The network's blocks by their names in the file."""
    return dict(zip([str(name) for name in file["block_names"]], method.network.blocks().values(), strict=True))


def initial(file, name, part):
    """Initial weights: stored, or drawn as the file says."""
    if f"{name}_weight_initial" in file:
        return torch.from_numpy(file[f"{name}_weight_initial"])
    random = np.random.RandomState(int(file[f"{part}_init_numpy_randomstate_seed"]))
    drawn = random.random_sample(tuple(file[f"{part}_shape"])) * 2 - 1
    return torch.from_numpy((drawn * float(file[f"{part}_init_bound"])).astype(np.float32))


def assert_weights(actual, expected, dtype, what):
    off = np.abs(actual.detach().double().numpy() - expected.astype(np.float64))
    assert off.max() <= WORST_WEIGHT[dtype], f"{what}: off by {off.max():.1e}"
    share = (off > WEIGHT[dtype]).mean()
    assert share <= EXCEPT_FOR, f"{what}: {share:.1%} of the weights are off by more than {WEIGHT[dtype]}"


@pytest.mark.parametrize("dtype, suffix", [(torch.float32, "_f32"), (torch.float64, "_f64")], ids=["float32", "float64"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem if path else "none")
def test_three_batches(path, dtype, suffix):
    with np.load(path) as arrays:
        file = {name: arrays[name] for name in arrays.files}
    method = method_of(file, dtype)
    for batch, (images, labels) in enumerate(zip(file["batch_images"], file["batch_labels"])):
        fired = {}
        for name, block in blocks(file, method).items():
            keep(block, fired, name)
        labels = torch.from_numpy(labels).long()
        result = method.training_step(torch.from_numpy(images).to(dtype), labels, len(labels))

        losses = [layer.loss.item() for layer in result.layers.values()]
        assert losses == pytest.approx(file[f"block_loss_per_batch{suffix}"][batch].tolist(), rel=LOSS[dtype])
        assert result.loss.item() == pytest.approx(float(file[f"total_loss_per_batch{suffix}"][batch]), rel=LOSS[dtype])
        correct = "block_correct_per_batch" + ("_f64run" if dtype == torch.float64 else "")
        assert [layer.correct.item() for layer in result.layers.values()] == file[correct][batch].tolist()
        assert result.correct.item() == file[correct][batch][-1]
        for name, step in fired.items():
            totals = step.spikes.double().flatten(1).sum(1).tolist()
            assert totals == file[f"{name}_output_spike_total_per_batch_and_step"][batch].tolist(), name
            assert np.array_equal(step.count.numpy(), file[f"{name}_classifier_spike_count_per_batch"][batch]), name

    for name, block in blocks(file, method).items():
        decoder = f"{name}_decoder_weight_final{suffix}"
        assert_weights(block.classifier.weight, file[decoder], dtype, decoder)
        encoder = f"{name}_encoder_weight_final{suffix}"
        if encoder in file:
            assert_weights(block.encoder.weight, file[encoder], dtype, encoder)
        else:
            assert_large_encoder(block.encoder.weight, file, dtype, suffix)


def keep(block, kept, name):
    """What the block's next batch gives goes to ``kept[name]``."""
    learn = type(block).learn.__get__(block)

    def kept_learn(*arguments):
        kept[name] = learn(*arguments)
        return kept[name]

    block.learn = kept_learn


def assert_large_encoder(weight, file, dtype, suffix):
    """A matrix of which the file holds some elements and the sums of rows and columns."""
    some = weight.detach().flatten()[torch.from_numpy(file["encoder_flat_indices"].astype(np.int64))]
    assert_weights(some, file[f"encoder_final_at_flat_indices{suffix}"], dtype, "encoder")
    for axis, name in ((1, "encoder_final_row_sums_f64"), (0, "encoder_final_column_sums_f64")):
        sums = weight.detach().double().sum(axis).numpy()
        # Some hundred weights, of which a few may be off by rounding.
        np.testing.assert_allclose(sums, file[name], rtol=0, atol=2e-4 if dtype == torch.float32 else 1e-8)
