"""Every method on scikit-learn's digits: ours."""

from __future__ import annotations

from typing import Any

from preset_table.rows import Row, fields


def _digits(
    network: dict, method: dict, optimizer: dict, epochs: int, batch_size: int = 50, about: str | None = None, **data: Any
) -> Row:
    trainer = dict(epochs=epochs, batch_size=batch_size)
    optimizer = dict(schedule="cosine") | optimizer
    return Row(
        ours=fields(data=dict(name="digits", **data), network=network, method=method, optimizer=optimizer, trainer=trainer),
        about=about,
    )


_CONV = dict(layers="16C3-P2-64-10", padding=1)
_ADAM = dict(name="adam", lr=2e-3, weight_decay=0)
_SGD = dict(name="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4)

PRESETS = {
    "tsslbp-digits": _digits(_CONV, dict(name="tssl_bp"), dict(lr=2e-3, clip_norm=1, weight_clamp=4), 20),
    "bptt-digits": _digits(_CONV, dict(name="bptt"), dict(lr=2e-3), 20),
    "ide-digits": _digits(
        dict(layers="16C3s-10", feedback="16C3", padding=1, time_steps=10), dict(name="ide"), _SGD, 12, about="16C3s (F16C3), T 10"
    ),
    "spide-digits": _digits(
        dict(layers="16C3s-32C3-10", feedback="16C3", padding=1, time_steps=15),
        dict(name="spide", backward_time_steps=30, scale_factor=100, init="kaiming"),
        *(_SGD, 12),
        about="16C3s-32C3 (F16C3), T 15, 30 backward",
    ),
    "convex-digits": _digits(
        dict(layers="200-10", time_steps=3),
        dict(
            **dict(name="convex", dt=3e-5, feedforward_rate=0.05, threshold_rate=0.05, feedforward_scale=0.2, feedforward_mean=1),
            **dict(decoder_scale=0.33, threshold_drift=5, rate_decay=0.9, readout_steps=3),
        ),
        *(dict(schedule="constant"), 20, 100),
        about="200 neurons, 3 steps (4 bins)",
        normalize=False,
    ),
}
for _rule, _lr, _epochs in (("ell", 2e-3, 12), ("fell", 2e-3, 12), ("bell", 5e-3, 20)):
    PRESETS[f"{_rule}-digits"] = _digits(
        *(dict(layers="16C3-P2-128", padding=1, time_steps=10), dict(name=_rule), _ADAM | dict(lr=_lr), _epochs), normalize=False
    )
for _name, _method in (("localce", "local_ce"), ("localcorr", "local_corr"), ("localcecorr", "local_ce_corr")):
    for _prefix, _neuron, _steps, _words in (
        ("", "clamped", 3, "clamped neurons with learned thresholds"),
        ("-lif", "lif", 5, "LIF neurons (our own variant)"),
    ):
        PRESETS[f"{_name}{_prefix}-digits"] = _digits(
            *(_CONV | dict(time_steps=_steps), dict(name=_method, neuron=_neuron), _ADAM, 12),
            about=f"{_words}, 16C3-P2-64-10, T {_steps}",
        )
