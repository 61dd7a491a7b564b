"""What a row of the table is, and what holds where it says nothing: the defaults, written out, so that one that changes is seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

UNKNOWN = object()  # of the published experiment


def fields(**sections: Any) -> dict[str, Any]:
    """``fields(seed=3, data=dict(name="mnist"))`` is ``{"seed": 3, "data.name": "mnist"}``."""
    flat = {}
    for name, value in sections.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return flat


HOUSE = fields(
    seed=1,
    init=None,
    published=dict(mean=None, std=None, best=None),
    data=dict(
        **dict(name="digits", root=None, download=False, augment=False, augment_border=4, augment_flip=True, normalize=True),
        **dict(mean=None, std=None, image_size=32, bin_ms=3, empty_last_step=False),
        **dict(sensor=None, duration_ms=None, cut="time", crop=None, downsample=1, merge_polarities=False, counts=True, validation=0),
    ),
    network=dict(
        **dict(layers="10", model="", feedback="", padding=0, conv_weight_scale=1, linear_weight_scale=1, recurrent_weight_scale=1),
        **dict(bias=False, dropout=0, dropout_kind="units", time_steps=5),
        **dict(width=None, depth=None, heads=None, stem=None),
    ),
    optimizer=dict(
        **dict(name="adamw", lr=5e-4, weight_decay=0.01, momentum=0.9, betas=[0.9, 0.999], eps=1e-8, clip_norm=0, weight_clamp=0),
        **dict(schedule="constant", milestones=[], gamma=0.1, warmup_steps=0),
    ),
    trainer=dict(
        **dict(epochs=10, batch_size=50, eval_batch_size=500, limit_train=0, limit_test=0, device="auto", precision="float32"),
        **dict(threads=0, cuda_graphs="auto", pipeline=1, checkpoint_minutes=0, sync_batch_norm=False, lost_seconds=60, out=None, progress="auto"),
    ),
)
_LAYERWISE = dict(
    **dict(tau=1, threshold=1, decoder_size=1024, feedback="transpose", frozen_classifiers=False, encoding="real", update="step"),
)
_LOCAL_LOSS = dict(
    **dict(neuron="clamped", dt=3e-5, leak=2, threshold_gain=1e7, threshold_drift=0.1, decay=0.5, threshold=1, reset="subtract"),
    **dict(surrogate="ATan", surrogate_parameter=2, batch_norm=True, decoder_size=4096, similarity_std=True),
)
METHODS = {
    "tssl_bp": dict(tau_m=5, tau_s=3, threshold=1, pool_gain=1.1, loss="kernel", desired_count=4, undesired_count=1),
    "bptt": dict(
        **dict(decay=0.5, threshold=1, reset="subtract", strict=False, detach_reset=False, surrogate="ATan", surrogate_parameter=2),
        **dict(current_decay=0, beta=0, adaptation_decay=None, learn_decays=False, normalize_input=False),
        **dict(readout_decay=None, readout_current_decay=0, loss="mean"),
        **dict(memory="plain", recomputed_blocks=None, neurons_keep="input"),
    ),
    "ide": dict(leak=1, threshold=2, norm_range=1, solver="broyden", solver_steps=30, on_solver_failure="warn"),
    "spide": dict(
        **dict(leak=1, threshold=1, u_rest=None, backward_time_steps=100, backward_threshold=0.5, backward_u_rest=None),
        **dict(scale_factor=100, norm_range=2, init="unit_norm", weight_standardization=False),
    ),
    "ell": _LAYERWISE,
    "fell": _LAYERWISE,
    "bell": _LAYERWISE,
    "local_ce": _LOCAL_LOSS,
    "local_corr": _LOCAL_LOSS,
    "local_ce_corr": {**_LOCAL_LOSS, "beta": 0.99},
    "convex": dict(
        **dict(dt=1e-3, leak=2, spike_cost=0, sigma_v=0, input_scale=1, encoder="one_hot", decoder_scale=0.02, feedforward_scale=2),
        **dict(feedforward_mean=0, threshold=0, threshold_spread=0, initial="torch", feedforward_rate=0.1, threshold_rate=0.1),
        **dict(
            threshold_drift=0, rate_decay=1, forgetting=0, onset=1, buffer_steps=0, readout_steps=1, between="readout", skip=True
        ),
        **dict(float64=False),
    ),
}


@dataclass(frozen=True)
class Row:
    """Fields by their dotted names. `about`: the preset's line on itself, by default "LAYERS, T STEPS". In `published` a section in the
    place of a field ("method") stands for something that the authors' code does and no field of ours expresses."""

    published: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)
    about: str | None = None

    def expected(self) -> dict[str, Any]:
        """Every field of the preset but its name and what it departs in."""
        method = {**self.published, **self.ours}["method.name"]
        values = {**HOUSE, **fields(method=METHODS[method])}
        known = {name for name in values} | {"method.name"}
        values |= {name: value for name, value in self.published.items() if name in known and value is not UNKNOWN} | self.ours
        return values | {"about": self.about or f"{values['network.layers']}, T {values['network.time_steps']}"}

    def departs(self) -> set[str]:
        """The names of what is not as published, or may not be."""
        expected = self.expected()
        return {
            name for name, value in self.published.items() if value is UNKNOWN or name not in expected or expected[name] != value
        }


def figures(mean: float | None, std: float | None, best: float) -> dict[str, Any]:
    """Published test accuracies, in percent."""
    return fields(published=dict(mean=mean, std=std, best=best))
