"""A whole training step of the preset tsslbp-mnist-cnn: the trainer's own against the published formulation, on equal terms."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import published_tssl_bp as published
import torch
from providers import BACKENDS, EAGER, FUSED, PUBLISHED, TRITON
from registry import FULL

import spikeops

PRESET = "tsslbp-mnist-cnn"
NAME = "training_step " + PRESET
PROVIDERS = (FUSED, TRITON, EAGER, PUBLISHED)  # eager: the trainer on the reference backend
PROVEN_BY = ("tssl_bp", "synaptic_filter")  # the ops in it
BATCH = 50
INPUT_SHAPE = (1, 28, 28)
CLASSES = 10


def _config():
    from spiketrain import presets
    from spiketrain.config import Config, DataConfig, NetworkConfig, OptimizerConfig, Published, TrainerConfig
    from spiketrain.methods.tssl_bp import Options

    raw = presets.load(PRESET)
    assert raw["trainer"]["batch_size"] == BATCH
    return Config(
        preset=PRESET, about="", published=Published(), seed=1, data=DataConfig(), network=NetworkConfig(**raw["network"]),
        method=Options(**raw["method"]), optimizer=OptimizerConfig(**raw["optimizer"]), trainer=TrainerConfig(),
    )  # fmt: skip


class Problem:
    """A network and a batch of noise of MNIST's shape, mean and sparsity."""

    def __init__(self, device: str, batch: int = BATCH, dtype: torch.dtype = torch.float32):
        from spiketrain.methods.tssl_bp import TSSLBP

        torch.manual_seed(1)
        self.config = _config()
        self.method = TSSLBP(self.config, INPUT_SHAPE, CLASSES, torch.device(device))
        self.method.network.to(dtype)
        ink = (torch.rand(batch, *INPUT_SHAPE) < 0.19) * torch.rand(batch, *INPUT_SHAPE)
        self.images = ((ink - 0.1307) / 0.3081).to(device, dtype)
        self.labels = torch.randint(CLASSES, (batch,)).to(device)

    @property
    def time_steps(self) -> int:
        return self.config.network.time_steps

    def step(self, provider: str) -> Callable[[], object]:
        """A training step with weights of its own. The backend is chosen by the caller."""
        if provider == PUBLISHED:
            trainer = self.published_trainer()
            return lambda: trainer.training_step(self.images, self.labels)
        method = copy.deepcopy(self.method)
        return lambda: method.training_step(self.images, self.labels, len(self.labels))

    def published_trainer(self) -> published.Trainer:
        """The published formulation of the network, with its weights."""
        from spiketrain.losses import desired_spikes

        options = self.config.method
        layers = [_published_layer(name.split("_")[0], stage) for name, stage in self.method.network.stages.items()]
        network = published.Network(layers, self.time_steps, options.tau_s).to(self.images)
        wanted = desired_spikes(self.time_steps, like=self.images)
        return published.Trainer(network, self.config.optimizer.lr, wanted, CLASSES)


def _published_layer(kind, stage):
    if kind == "neuron":
        return published.Neurons(stage.tau_m, stage.tau_s, stage.threshold)
    layer = stage.module
    if kind == "conv":
        return published.Conv(layer.weight, layer.padding[0])
    return published.SumPool(layer.size, layer.gain) if kind == "pool" else published.Linear(layer.weight)


def backend(provider: str) -> str:
    """The backend for the ops inside a step."""
    return {**BACKENDS, EAGER: "reference"}.get(provider, "auto")


@cache
def disagreement(device: str) -> str:
    """How the published formulation's loss and new weights differ from the trainer's after one step; empty if they do not.

    In float64, where no membrane potential lies within rounding of the threshold: all spikes are equal, and so is all else.
    """
    problem = Problem(device, batch=8, dtype=torch.float64)
    ours, theirs = problem.method, problem.published_trainer()
    with spikeops.backend("auto"):
        loss = ours.training_step(problem.images, problem.labels, 8).loss
    other = theirs.training_step(problem.images, problem.labels)
    if not torch.allclose(loss, other, rtol=1e-9, atol=0):
        return f"its loss is {other.item():.9g} instead of {loss.item():.9g}"
    for name, weight, same in zip(ours.network.state_dict(), ours.network.parameters(), theirs.network.parameters()):
        # AdamW's first step is lr times the sign of the gradient, softened by its eps of 1e-8: small gradients lose digits.
        error = (weight - same.reshape(weight.shape)).abs().max().item()
        if not error <= 1e-3 * problem.config.optimizer.lr:
            return f"its {name} differs by {error:.1e} after a step"
    return ""


def where(provider: str, problem: Problem) -> tuple:
    """The step's identity in the table: N is the number of samples."""
    return NAME, provider, FULL, problem.time_steps, len(problem.labels), "float32"
