"""Whole training steps of presets: the trainer's own against the published formulation in plain PyTorch, on equal terms."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

import spikeops

from ops.providers import BACKENDS, EAGER, FUSED, PUBLISHED, TRITON
from ops.registry import FULL

PLAIN_LAUNCHES = "spikeops, no graph"  # our kernels, launched one by one where they would be replayed as a CUDA graph
PROVIDERS = (FUSED, PLAIN_LAUNCHES, TRITON, EAGER, PUBLISHED)  # eager: the trainer on the reference backend
PREFIX = "training_step "  # of the name in the table


@dataclass(frozen=True)
class Setting:
    """What is measured of a preset.

    Args:
        preset: its name
        batch: samples of a step
        network: fields of its network section that are changed
    """

    preset: str
    batch: int
    network: dict = field(default_factory=dict)


class TrainingStep(ABC):
    """One training step of a preset, on random images of its data's shape.

    A subclass makes them, and the opponent: the method as its paper describes it.

    Attributes:
        settings: what is measured, by the name it has in the table
        proven_by: ops that are in the step
        about: what a step consists of
        when_compared: fields of the network section that are changed for the comparison of both sides
        tolerance: largest difference of gradients in float64, relative to the largest gradient of each parameter
    """

    settings: ClassVar[dict[str, Setting]]
    proven_by: ClassVar[tuple[str, ...]]
    about: ClassVar[str]
    when_compared: ClassVar[dict] = {}
    tolerance: ClassVar[float] = 1e-9

    def __init__(
        self, name: str, device: str, batch: int | None = None, dtype: torch.dtype = torch.float32, compared: bool = False
    ):
        from spiketrain import methods, presets
        from spiketrain.config import Config, DataConfig, NetworkConfig, OptimizerConfig, Published, TrainerConfig

        setting = self.settings[name]
        raw = presets.load(setting.preset)
        network = {**raw["network"], **setting.network, **(self.when_compared if compared else {})}
        method = methods.get(raw["method"]["name"])
        self.name, self.batch = name, batch or setting.batch
        self.config = Config(
            preset=setting.preset, about="", published=Published(), seed=1, data=DataConfig(name=raw["data"]["name"]),
            network=NetworkConfig(**network), method=method.Options(**raw["method"]),
            optimizer=OptimizerConfig(**raw["optimizer"]), trainer=TrainerConfig(),
        )  # fmt: skip
        torch.manual_seed(1)
        shape, self.classes = self.shape(raw["data"]["name"])
        self.method = method(self.config, shape, self.classes, torch.device(device))
        self.method.network.to(dtype)
        self.images = self.make_images(self.batch, shape, raw["data"].get("normalize", True)).to(device, dtype)
        self.labels = torch.randint(self.classes, (self.batch,)).to(device)

    @staticmethod
    def shape(data: str) -> tuple[tuple[int, int, int], int]:
        """(C, H, W) and the number of classes."""
        return ((3, 32, 32), 10) if data == "cifar10" else ((1, 28, 28), 10)

    @staticmethod
    def make_images(batch: int, shape: tuple[int, int, int], normalized: bool) -> Tensor:
        """Noise of MNIST's mean and sparsity, shifted and scaled where the preset says so."""
        ink = (torch.rand(batch, *shape) < 0.19) * torch.rand(batch, *shape)
        return (ink - 0.1307) / 0.3081 if normalized else ink

    @abstractmethod
    def opponent(self):
        """A copy of the network with ``training_step(images, labels) -> loss``, in plain PyTorch as published."""

    @property
    def time_steps(self) -> int:
        return self.config.network.time_steps

    def step(self, provider: str) -> Callable[[], object]:
        """A training step with weights of its own. The backend is chosen by the caller."""
        if provider == PUBLISHED:
            opponent = self.opponent()
            return lambda: opponent.training_step(self.images, self.labels)
        from spiketrain.training.captured_steps import CapturedSteps

        method = copy.deepcopy(self.method)
        if provider == PLAIN_LAUNCHES and hasattr(method.network, "ring"):
            method.network.ring.graphs.mode = False
        steps = CapturedSteps(method, self.images.device, "auto" if provider in (FUSED, TRITON) else "off", say=print)
        return lambda: steps.step(self.images, self.labels, len(self.labels))

    def where(self, provider: str) -> tuple:
        """The step's identity in the table: N is the number of samples."""
        return PREFIX + self.name, provider, FULL, self.time_steps, self.batch, "float32"

    def difference(self) -> str:
        """How the opponent's loss and gradients differ from the trainer's in one step; empty if they do not.

        Meant for float64, where no membrane potential lies within rounding of the threshold: all spikes are equal, and so is
        all else.
        """
        theirs = self.opponent()
        torch.manual_seed(2)
        with spikeops.backend("auto"):
            loss = self.method.training_step(self.images, self.labels, len(self.labels)).loss
        torch.manual_seed(2)
        with spikeops.backend(backend(PUBLISHED)):
            other = theirs.training_step(self.images, self.labels)
        if not torch.allclose(loss, other, rtol=1e-9, atol=0):
            return f"its loss is {other.item():.9g} instead of {loss.item():.9g}"
        ours = dict(self.method.network.named_parameters())
        for (name, parameter), same in zip(ours.items(), theirs.network.parameters(), strict=True):
            error = self.error(name, parameter, same)
            if not error <= self.tolerance:
                return f"its {name} differs by {error:.1e} after a step"
        return ""

    def error(self, name: str, ours: Tensor, theirs: Tensor) -> float:
        grad = theirs.grad.reshape(ours.grad.shape)
        return ((ours.grad - grad).abs().max() / ours.grad.abs().max().clamp_min(1e-6)).item()


def providers(device: str) -> list[str]:
    """Who takes part."""
    return [provider for provider in PROVIDERS if device != "cpu" or provider not in (TRITON, PLAIN_LAUNCHES)]


def backend(provider: str) -> str:
    """The backend for the ops inside a step. What opponents borrow of our networks is plain PyTorch on the reference backend."""
    return {**BACKENDS, PLAIN_LAUNCHES: "native", EAGER: "reference", PUBLISHED: "reference"}[provider]
