"""Seconds per training step: the fused backend against the plain PyTorch reference, on the same weights and data."""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass

import torch

import spikeops
from spiketrain.config import Config
from spiketrain.methods.base.method import Method
from spiketrain.training import checkpoint, devices
from spiketrain.training.captured_steps import WARM_UP_STEPS, CapturedSteps
from spiketrain.training.parts import build_method, first_batch, load_data
from spiketrain.training.weights import load_weights


@dataclass
class StepTimes:
    """Median seconds of one training step with each backend."""

    fused: float
    reference: float

    @property
    def speedup(self) -> float:
        return self.reference / self.fused


def step_times(config: Config, seconds: float = 10.0) -> StepTimes:
    """Measure training steps on the first batch of the training set, alternating between the backends for `seconds`.

    Alternating lets both meet the same disturbances of the machine. Each backend has its own copy of the weights.
    """
    device = devices.pick(config.trainer.device)
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    dataset = load_data(config, device)
    checkpoint.seed_everything(config.seed)
    fused = build_method(config, dataset, device)
    if config.init:
        load_weights(fused, config.init)
    reference = build_method(config, dataset, device)
    reference.load_state_dict(copy.deepcopy(fused.state_dict()))
    inputs, labels = first_batch(dataset, config.trainer.batch_size)

    def measure(steps: CapturedSteps, backend: str) -> float:
        with spikeops.backend(backend):
            started = time.perf_counter()
            steps.step(inputs, labels, len(labels))
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return time.perf_counter() - started

    def steps(method: Method, mode: str) -> CapturedSteps:
        return CapturedSteps(method, device, mode, say=print)

    # What the reference is there to be compared with has none of ours.
    runs = {"auto": (steps(fused, config.trainer.cuda_graphs), []), "reference": (steps(reference, "off"), [])}
    for backend, (method, _) in runs.items():
        for _ in range(1 if device.type == "cpu" else WARM_UP_STEPS + 2):
            measure(method, backend)  # the first steps pay for compilation, allocation, lazy initialisation, and the capture of a graph
    stop = time.perf_counter() + seconds
    while len(runs["auto"][1]) < 3 or time.perf_counter() < stop:
        for backend, (method, times) in runs.items():
            times.append(measure(method, backend))
    return StepTimes(*(statistics.median(times) for _, times in runs.values()))
