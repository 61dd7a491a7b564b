"""The training step of TSSL-BP."""

from __future__ import annotations

from ops import published_tssl_bp as published
from steps.training_step import Setting, TrainingStep


class TSSLBPStep(TrainingStep):
    settings = {"tsslbp-mnist-cnn": Setting("tsslbp-mnist-cnn", 50)}
    proven_by = ("tssl_bp", "synaptic_filter")
    about = "forward, backward, clipping, AdamW"
    tolerance = 1e-3

    def opponent(self) -> published.Trainer:
        from spiketrain.methods.base.losses import desired_spikes

        options = self.config.method
        layers = [_published_layer(name.split("_")[0], stage) for name, stage in self.method.network.stages.items()]
        network = published.Network(layers, self.time_steps, options.tau_s).to(self.images)
        wanted = desired_spikes(self.time_steps, like=self.images)
        return published.Trainer(network, self.config.optimizer.lr, wanted, self.classes)

    def error(self, name, ours, theirs) -> float:
        # Gradients are clipped in place: compare weights. AdamW's first step is lr times the sign of the gradient, softened by
        # its eps of 1e-8: small gradients lose digits.
        return (ours - theirs.reshape(ours.shape)).abs().max().item() / self.config.optimizer.lr


def _published_layer(kind, stage):
    if kind == "neuron":
        return published.Neurons(stage.tau_m, stage.tau_s, stage.threshold)
    layer = stage.module
    if kind == "conv":
        return published.Conv(layer.weight, layer.padding[0])
    return published.SumPool(layer.size, layer.gain) if kind == "pool" else published.Linear(layer.weight)
