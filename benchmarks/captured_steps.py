"""Training steps of presets on a CUDA device, launched kernel by kernel and replayed as CUDA graphs.

    python benchmarks/captured_steps.py [PRESET ...] [--rounds 40] [--out FILE.md]

From a device at rest to a device at rest, over all rounds, so that the host may run ahead as far as it can, as in training. The batch is
noise of MNIST's sparsity, as large as the preset's. Against the published formulation: `gpu_bench.py --parts train`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from measuring import markdown
from measuring.results import commit, device_name
from ops.providers import FUSED
from steps.training_step import PLAIN_LAUNCHES, Setting, TrainingStep

PRESETS = (
    "tsslbp-mnist-cnn", "bell-mnist-dnn", "ell-mnist-dnn", "fell-mnist-dnn", "bell-mnist-cnn", "ell-mnist-cnn", "fell-mnist-cnn",
    "localce-mnist-mlp", "localcorr-mnist-mlp", "localcecorr-mnist-mlp", "bptt-cifar10-sewresnet18-small",
)  # fmt: skip
WARM_UP = 6


class PresetStep(TrainingStep):
    """Of any preset, without an opponent."""

    def __init__(self, preset: str, device: str) -> None:
        from spiketrain import presets

        self.settings = {preset: Setting(preset, presets.load(preset)["trainer"]["batch_size"])}
        super().__init__(preset, device)

    def opponent(self):
        raise NotImplementedError


def milliseconds(step, rounds: int) -> float:
    """Of one call."""
    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(rounds):
        step()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - started) / rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", default=PRESETS)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path, help="write the table there, too")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch finds no CUDA device")
    lines = []
    for preset in options.presets:
        problem = PresetStep(preset, "cuda")
        launched = milliseconds(problem.step(PLAIN_LAUNCHES), options.rounds)
        captured = milliseconds(problem.step(FUSED), options.rounds)
        lines.append([preset, str(problem.batch), f"{launched:.2f}", f"{captured:.3f}", f"{launched / captured:.1f} x"])
        print(*lines[-1], flush=True)
    table = markdown.table(["preset", "batch", "launched, ms", "captured, ms", ""], lines)
    text = f"{device_name('cuda')}, torch {torch.__version__}, commit {commit()}\n\n{table}\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
