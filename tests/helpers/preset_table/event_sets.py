"""Networks on event data sets: ours; after Cramer et al. 2020 and their tutorial (fzenke/spytorch f4dcc66, SpyTorchTutorial4); after Yin,
Corradi & Bohte 2021 (byin-cwi/Efficient-spiking-networks: SHD/SHD_2layer_ALIF.py bab5f48, NMI_vis/SSC/vis.ipynb 25a29e8)."""

from __future__ import annotations

import math

from preset_table.rows import Row, fields

_BPTT = fields(method=dict(name="bptt", decay=0.9), optimizer=dict(name="adamw", lr=1e-3, clip_norm=1, schedule="cosine"))
_MEMBRANE, _SYNAPSE = math.exp(-14 / 20), math.exp(-14 / 10)  # of 20 and 10 ms, in steps of 14 ms
_CRAMER = dict(
    **dict(name="bptt", decay=_MEMBRANE, current_decay=_SYNAPSE, readout_decay=_MEMBRANE, readout_current_decay=_SYNAPSE, loss="max"),
)
_TUTORIAL = dict(reset="to", detach_reset=True, surrogate="FastSigmoid", surrogate_parameter=100)


def _yin(layers: str, data: str, adaptation: float, readout: float, loss: str, trainer: dict, optimizer: dict) -> dict:
    """The published settings; time constants in steps."""
    return fields(
        data=dict(name=data, duration_ms=1000, counts=False),
        network=dict(layers=layers, time_steps=250),
        method=dict(
            **dict(name="bptt", decay=math.exp(-1 / 20), threshold=0.01, surrogate="MultiGaussian", surrogate_parameter=0.5),
            **dict(beta=1.8 * (1 - math.exp(-1 / adaptation)), adaptation_decay=math.exp(-1 / adaptation)),
            **dict(learn_decays=True, normalize_input=True, readout_decay=math.exp(-1 / readout), loss=loss),
        ),
        optimizer=dict(name="adam", lr=1e-2, weight_decay=0, schedule="multistep", gamma=0.5) | optimizer,
        trainer=trainer,
    ) | {"network": "initial weights, biases", "data": "channels and steps", "method": "initial states, resets, learned decays, loss"}


PRESETS = {
    "bptt-shd-rlif": Row(
        {
            **fields(
                data=dict(name="shd", duration_ms=1400),
                network=dict(layers="128R-20", time_steps=100),
                method=_CRAMER | _TUTORIAL,
                optimizer=dict(name="adamax"),
                trainer=dict(epochs=200, batch_size=256),
            ),
            "network": "initial weights",
            "method": "order within a step, penalties",
        },
        fields(optimizer=dict(name="adam", lr=1e-3, weight_decay=0), trainer=dict(eval_batch_size=256)),
        about="recurrent current-based LIF after Cramer et al. 2020, 128R-20, T 100",
    ),
    "bptt-ssc-rlif": Row(
        {
            **fields(data=dict(name="ssc"), network=dict(layers="128R-35"), method=_CRAMER),
            "network": "initial weights",
            "method": "penalties",
        },
        fields(
            data=dict(duration_ms=1400),
            network=dict(time_steps=100),
            method=_TUTORIAL,
            optimizer=dict(name="adam", lr=1e-3, weight_decay=0),
            trainer=dict(epochs=60, batch_size=256, eval_batch_size=256),
        ),
        about="recurrent current-based LIF after Cramer et al. 2020, 128R-35, T 100",
    ),
    "bptt-shd-alif": Row(
        _yin("128R-128R-20", "shd", 150, 20, "softmax", dict(epochs=19, batch_size=64), dict(eps=1e-5, milestones=[10])),
        fields(network=dict(recurrent_weight_scale=1.73), method=dict(surrogate="Gaussian"), trainer=dict(eval_batch_size=64)),
        about="recurrent adaptive LIF after Yin et al. 2021, 128R-128R-20, T 250",
    ),
    "bptt-ssc-alif": Row(
        _yin("400R-400R-35", "ssc", 200, 3, "mean", dict(epochs=150, batch_size=32), dict(milestones=list(range(5, 150, 5))))
        | {"optimizer": "faster for decays"},
        fields(network=dict(recurrent_weight_scale=1.73), method=dict(surrogate="Gaussian"), trainer=dict(eval_batch_size=64)),
        about="recurrent adaptive LIF after Yin et al. 2021, 400R-400R-35, T 250",
    ),
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
