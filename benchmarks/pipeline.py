"""Layer-parallel training against one layer after the other, with the same number of CPU cores.

    python benchmarks/pipeline.py [--preset localce-mnist-mlp] [--stages 2] [--batch 128] [--steps 20]

Random images of the preset's shape; epochs of `steps` training steps, in turns, medians. An epoch of a pipeline begins with sending
the weights to the stages and ends with collecting them, all of which counts. That both end with the same weights is tested in
tests/spiketrain/test_pipeline.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import torch

from spiketrain import methods, presets
from spiketrain.methods import load_config
from spiketrain.training import checkpoint, pipeline

SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "svhn": (3, 32, 32), "cifar10": (3, 32, 32)}
CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="localce-mnist-mlp")
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()

    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    fields = ["--trainer.pipeline", str(options.stages), "--trainer.epochs", str(options.epochs)]
    config = load_config(presets.load(options.preset), fields)
    shape = SHAPES[config.data.name]
    checkpoint.seed_everything(config.seed)
    batches = [(torch.rand(options.batch, *shape), torch.randint(CLASSES, (options.batch,))) for _ in range(options.steps)]

    def make():
        checkpoint.seed_everything(config.seed)
        return methods.get(config.method.name)(config, shape, CLASSES, torch.device("cpu"))

    def epoch(method, number: int) -> float:
        started = time.perf_counter()
        method.start_epoch(number)
        for inputs, labels in batches:
            method.training_step(inputs, labels, len(labels))
        method.drain()
        return (time.perf_counter() - started) / options.steps

    alone, staged = make(), make()
    pipeline.check(staged, config)
    seconds = {"alone": [], "pipeline": []}
    with pipeline.opened(staged, config, shape, CLASSES, batches[0]):
        for number, names in enumerate(staged.pipeline.stages, 1):
            print(f"stage {number}: {', '.join(names)}")
        for number in range(1, options.epochs + 1):
            seconds["alone"].append(epoch(alone, number))
            seconds["pipeline"].append(epoch(staged, number))
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first epoch warms up
    print(f"{options.preset}, batch {options.batch}, {cores} cores: seconds per training step")
    print(f"alone={medians['alone']:.4f} pipeline={medians['pipeline']:.4f} speedup={medians['alone'] / medians['pipeline']:.2f}")


if __name__ == "__main__":
    main()
