"""The training steps of ELL, FELL and BELL."""

from __future__ import annotations

from steps.local_loops import LocalLoop
from steps.training_step import Setting, TrainingStep


class LocalStep(TrainingStep):
    settings = {
        name: Setting(name, 100)
        for name in ("ell-mnist-dnn", "fell-mnist-dnn", "bell-mnist-dnn", "ell-mnist-cnn", "bell-mnist-cnn")
    }
    proven_by = ("lif", "local_learning_step_", "local_gradient_in_time")
    about = "forward, local gradients, one Adam per layer"

    def opponent(self) -> LocalLoop:
        options = self.config.method
        network = self.method.network
        return LocalLoop(network, options.name, self.time_steps, options.tau, options.threshold, self.config.optimizer.lr)

    def error(self, name, ours, theirs) -> float:
        # What .grad holds at the end depends on when it is cleared: compare weights, which Adam moves by about lr a step.
        return (ours - theirs).abs().max().item() / self.config.optimizer.lr
