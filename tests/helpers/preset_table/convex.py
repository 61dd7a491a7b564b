"""The published surface fit by L_proj (experiment4_1/Convex_SNNs.ipynb of ICTAI_snn b0955c4); experiments of our own."""

from __future__ import annotations

import math

from preset_table.rows import Row, fields

_DECAY = math.exp(-1e-4)  # of both rates, from epoch to epoch, counted from 1
_STEPS = 1333  # of 3 ms: bins - 1
_SURFACE = fields(
    seed=3,
    data=dict(name="paraboloid"),
    network=dict(layers="50-1", time_steps=_STEPS),
    method=dict(
        **dict(name="convex", float64=True, dt=3e-3, leak=2, spike_cost=0, sigma_v=0, threshold_drift=0, forgetting=1 / 500),
        **dict(
            initial="published", encoder="random", decoder_scale=1, feedforward_rate=1e-3 * _DECAY, threshold_rate=1e-3 * _DECAY
        ),
        **dict(rate_decay=_DECAY, onset=166, buffer_steps=333, readout_steps=1334 - 666),
    ),
    trainer=dict(epochs=100),
)
_OWN_SURFACES = fields(
    data=dict(name="surfaces"),
    method=dict(name="convex", buffer_steps=200, readout_steps=100, rate_decay=0.85),
    trainer=dict(epochs=20, batch_size=50),
)

PRESETS = {
    "convex-surface-1layer": Row(_SURFACE, about="published surface fit by L_proj, one layer of 50 neurons, 1334 bins of 3 ms"),
    "convex-surface-multilayer": Row(
        {
            **_SURFACE,
            **fields(network=dict(layers="50-50-1", time_steps=_STEPS)),
            "method.between": "rates",
            "method.skip": False,
            "method": "reads beyond the input, and shows the first layer",
        },
        about="published surface fit by L_proj, two layers of 50 neurons, with a repair, 1334 bins of 3 ms",
    ),
    "convex-own-surfaces-1layer": Row(
        ours={**_OWN_SURFACES, **fields(network=dict(layers="200-2", time_steps=400))},
        about="our own experiment, 200 neurons for two surfaces, 400 steps",
    ),
    "convex-own-surfaces-3layer": Row(
        ours={**_OWN_SURFACES, **fields(network=dict(layers="100-100-100-2", time_steps=400))},
        about="our own experiment, three layers of 100 neurons for two surfaces, 400 steps",
    ),
    "convex-mnist": Row(
        ours=fields(
            data=dict(name="mnist", normalize=False),
            network=dict(layers="300-10", time_steps=3),
            method=dict(
                **dict(name="convex", dt=3e-5, leak=2, sigma_v=0, spike_cost=0, feedforward_rate=1e7, threshold_rate=0.1),
                **dict(input_scale=3e-5, feedforward_scale=0.2, feedforward_mean=1, decoder_scale=0.33, threshold_drift=5),
                **dict(rate_decay=0.5, readout_steps=3),
            ),
            trainer=dict(epochs=6, batch_size=100),
        ),
        about="our own experiment, 300 neurons, 3 steps (4 bins)",
    ),
}
