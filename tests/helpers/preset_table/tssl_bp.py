"""TSSL-BP: a configuration file for each experiment (Networks/*.yaml, as of ffaac71), what main.py fixes, and the results of the README, which are older: of 90b15dd.
The same networks by BPTT, which are ours."""

from __future__ import annotations

from typing import Any

from preset_table.rows import UNKNOWN, Row, fields, figures

_TSSL_BP = fields(
    seed=3,
    method=dict(name="tssl_bp", tau_m=5, tau_s=3, threshold=1, pool_gain=1.1, loss="kernel"),
    optimizer=dict(
        name="adamw", lr=5e-4, weight_decay=0.01, betas=[0.9, 0.999], eps=1e-8, clip_norm=1, weight_clamp=4, schedule="constant"
    ),
    trainer=dict(batch_size=50),
)
NMNIST = dict(name="nmnist", bin_ms=3, empty_last_step=True)
_COUNTS = dict(tau_m=8, tau_s=4, loss="count", desired_count=15, undesired_count=3)
_CIFAR_DROPOUT = dict(dropout=0.2, dropout_kind="rows")


def _tssl_bp(
    accuracy: tuple, epochs: int, layers: str, time_steps: int = 5, data: dict | str = "mnist", **sections: dict
) -> dict[str, Any]:
    data = dict(name=data) if isinstance(data, str) else data
    network = dict(layers=layers, time_steps=time_steps, padding=0, conv_weight_scale=1, linear_weight_scale=1, dropout=0)
    network |= sections.pop("network", {})
    base = {**_TSSL_BP, **figures(*accuracy), **fields(data=data, network=network, trainer=dict(epochs=epochs))}
    return {**base, **fields(**sections), "method": "that of the day of the figures"}


_FILE_OF_30 = dict(network=dict(padding=[1, 0]), method=_COUNTS)
PRESETS = {
    "tsslbp-mnist-cnn": Row(
        _tssl_bp((99.50, 0.02, 99.53), 200, "15C5-P2-40C5-P2-300-10"),
        fields(trainer=dict(epochs=100)),
    ),
    "tsslbp-nmnist-cnn-t30": Row(
        _tssl_bp((99.23, 0.05, 99.28), 100, "12C5-P2-64C5-P2-10", 30, NMNIST, **_FILE_OF_30),
        fields(trainer=dict(eval_batch_size=100)),
    ),
    "tsslbp-nmnist-cnn-t100": Row(
        _tssl_bp((99.35, 0.03, 99.40), 100, "12C5-P2-64C5-P2-10", 100, NMNIST, **_FILE_OF_30),
        fields(method=dict(desired_count=50, undesired_count=10), trainer=dict(eval_batch_size=50)),
    ),
    "tsslbp-fashion-mlp": Row(
        _tssl_bp((89.75, 0.03, 89.92), 100, "400-400-10", data="fashion_mnist", trainer=dict(batch_size=100))
    ),
    "tsslbp-fashion-cnn": Row(
        _tssl_bp((92.69, 0.09, 92.83), 100, "32C5-P2-64C5-P2-1024-10", data="fashion_mnist", network=dict(padding=2))
    ),
    "tsslbp-cifar10-cnn": Row(
        _tssl_bp(
            *((88.98, 0.27, 89.37), 150, "96C3-256C3-P2-384C3-P2-384C3-256C3-1024-1024-10"),
            data=dict(name="cifar10", augment=True),
            network=dict(padding=1, conv_weight_scale=5, **_CIFAR_DROPOUT),
            optimizer=dict(lr=2e-4),
        ),
        fields(trainer=dict(eval_batch_size=100)),
    ),
    "tsslbp-cifar10-cnn-large": Row(
        _tssl_bp(
            *((None, None, 91.41), 150, "128C3-256C3-P2-512C3-P2-1024C3-512C3-1024-512-10"),
            data=dict(name="cifar10", augment=True),
            network=dict.fromkeys(("padding", "conv_weight_scale", "linear_weight_scale", "dropout"), UNKNOWN)
            | dict(dropout_kind="rows"),
            method=dict.fromkeys(("tau_m", "tau_s", "threshold", "pool_gain", "loss"), UNKNOWN),
            optimizer=dict(lr=UNKNOWN),
            trainer=dict(batch_size=UNKNOWN),
        ),
        fields(
            network=dict(padding=1, conv_weight_scale=5, dropout=0.2),
            optimizer=dict(lr=2e-4),
            trainer=dict(batch_size=50, eval_batch_size=100),
        ),
    ),
}


def _twin(name: str, **sections: dict) -> Row:
    """Network, data and loop of a preset of TSSL-BP."""
    shared = ("data.", "network.layers", "network.padding", "network.time_steps", "network.dropout", "trainer.")
    same = {key: value for key, value in PRESETS[name].expected().items() if key.startswith(shared)}
    own = fields(method=dict(name="bptt"), optimizer=dict(name="adamw", lr=1e-3, schedule="cosine"))
    return Row(ours={**same, **own, **fields(**sections)})


PRESETS |= {
    "bptt-mnist-cnn": _twin("tsslbp-mnist-cnn", network=dict(conv_weight_scale=3)),
    "bptt-nmnist-cnn-t30": _twin("tsslbp-nmnist-cnn-t30", network=dict(conv_weight_scale=5), method=dict(name="bptt", decay=0.9)),
    "bptt-nmnist-cnn-t100": _twin("tsslbp-nmnist-cnn-t100", network=dict(conv_weight_scale=5), method=dict(name="bptt", decay=0.9)),
    "bptt-fashion-mlp": _twin("tsslbp-fashion-mlp"),
    "bptt-fashion-cnn": _twin("tsslbp-fashion-cnn", network=dict(conv_weight_scale=3)),
    "bptt-cifar10-cnn": _twin("tsslbp-cifar10-cnn", network=dict(conv_weight_scale=5, linear_weight_scale=2)),
    "bptt-cifar10-cnn-large": _twin("tsslbp-cifar10-cnn-large", network=dict(conv_weight_scale=5, linear_weight_scale=2)),
}
