"""The training steps of IDE and SPIDE."""

from __future__ import annotations

from steps.step_loops import StepLoop
from steps.training_step import Setting, TrainingStep

# AlexNet-F with a quarter of the channels: its own size takes half a minute per step on two CPU cores.
_SMALL_ALEXNET_F = {"layers": "24C3s-64C3-96C3s-96C3-64C3-10", "feedback": "24C3u"}


class FeedbackStep(TrainingStep):
    settings = {
        "ide-fashion-lif": Setting("ide-fashion-lif", 128),
        "ide-mnist-lif": Setting("ide-mnist-lif", 128),
        "ide-cifar10-alexnetf-small": Setting("ide-cifar10-alexnetf-lif-t30", 32, _SMALL_ALEXNET_F),
        "spide-mnist-lenet": Setting("spide-mnist-lenet", 32),
        "spide-cifar10-alexnetf-small": Setting("spide-cifar10-alexnetf", 32, _SMALL_ALEXNET_F),
    }
    proven_by = ("feedback_step_", "ternary_step_")
    about = "forward simulation, backward solution (IDE) or simulation (SPIDE), SGD"
    tolerance = 1e-6  # of IDE's solutions, which are iterates: those of both sides have gone through different roundings
    when_compared = {"dropout": 0.0}  # random masks would differ

    def opponent(self) -> StepLoop:
        return StepLoop(self.method.network, self.config.optimizer.lr, getattr(self.config.method, "scale_factor", 1.0))
