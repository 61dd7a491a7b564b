"""Trials of the convex-optimisation network: ``trials(case, ...) -> (name, arguments)``."""

from __future__ import annotations

import dataclasses

import torch

NEURONS = {"dt": 0.01, "leak": 2.0, "spike_cost": 0.05, "sigma_v": 0.3}
LEARNING = {"feedforward_rate": 0.02, "threshold_rate": 0.03, "threshold_drift": 0.5, "forgetting": 0.1, "buffer_steps": 1}
COMMAND = {"change": 1.0, "hold": NEURONS["leak"]}  # "track"
SEED = 0x1234_5678_9ABC_DEF0


@dataclasses.dataclass(frozen=True)
class Trials:
    dtype: torch.dtype
    steps: int
    trials: int
    neurons: int
    inputs: int = 2
    readouts: int = 3


def draw_tensors(case: Trials, noise="none", learns=False, decodes=False) -> dict[str, torch.Tensor]:
    """By the names of spikeops.functional.convex_snn_trial. Multiples of 1/8 at zero thresholds for some neurons, so that excesses
    tie; some inputs are 0, some constant."""
    draw = torch.Generator().manual_seed(case.steps + 100 * case.trials + 10_000 * case.neurons)

    def eighths(low, high, *shape):
        return torch.randint(low, high, shape, generator=draw).double() / 8

    x = eighths(-8, 9, case.steps + 1, case.trials, case.inputs)
    x[2:] = x[1]  # a step, then constant
    encoder = eighths(1, 9, case.neurons, case.readouts)
    decoder = 0.1 * encoder.T
    tensors = {
        "x": x,
        "feedforward": eighths(-8, 9, case.neurons, case.inputs),
        "recurrent": -encoder @ decoder,
        "thresholds": eighths(0, 4, case.neurons),
    }
    if decodes:
        tensors["decoder"] = decoder
    if noise == "given":
        tensors["noise"] = torch.randn(case.steps, case.trials, case.neurons, generator=draw, dtype=torch.float64)
    if learns:
        tensors |= {"targets": torch.rand(case.trials, case.readouts, generator=draw), "encoder": encoder}
    return {name: tensor.to(case.dtype) for name, tensor in tensors.items()}


def as_arguments(tensors, noise="none"):
    """(name, arguments) of the op."""
    numbers = NEURONS | LEARNING | COMMAND | ({} if noise != "none" else {"sigma_v": 0.0})
    buffer_steps = numbers.pop("buffer_steps")
    seed = torch.tensor([SEED]) if noise == "drawn" else None
    before, after = ("x", "feedforward", "recurrent", "thresholds", "decoder", "noise"), ("targets", "encoder")
    given = (*map(tensors.get, before), seed, *map(tensors.get, after))
    return "convex_snn_trial", (*given, list(numbers.values()), buffer_steps)


def trials(case: Trials, noise="none", learns=False, decodes=False):
    return as_arguments(draw_tensors(case, noise, learns, decodes), noise)
