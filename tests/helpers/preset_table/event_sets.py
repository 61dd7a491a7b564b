"""Networks on event data sets: ours."""

from __future__ import annotations

from preset_table.rows import Row, fields

_BPTT = fields(method=dict(name="bptt", decay=0.9), optimizer=dict(name="adamw", lr=1e-3, clip_norm=1, schedule="cosine"))

PRESETS = {
    "bptt-shd-lif": Row(
        ours={
            **_BPTT,
            **fields(
                data=dict(name="shd", duration_ms=1400),
                network=dict(layers="128-128-20", time_steps=100, linear_weight_scale=2),
                trainer=dict(epochs=60, batch_size=128, eval_batch_size=256),
            ),
        },
        about="our own experiment, 128-128-20, T 100",
    ),
    "bptt-dvs-gesture-cnn": Row(
        ours={
            **_BPTT,
            **fields(
                data=dict(name="dvs-gesture", duration_ms=1500, downsample=4, counts=False),
                network=dict(
                    **dict(layers="16C5-P2-32C3-P2-512-11", padding=[2, 1], time_steps=60),
                    **dict(conv_weight_scale=5, linear_weight_scale=2),
                ),
                trainer=dict(epochs=100, batch_size=16, eval_batch_size=64),
            ),
        },
        about="our own experiment, 16C5-P2-32C3-P2-512-11, T 60",
    ),
}
