"""ELL, FELL and BELL: a command for each rule and network (README of "Deep Spike Learning with Local Classifiers")."""

from __future__ import annotations

from preset_table.rows import Row, fields

PRESETS: dict[str, Row] = {}

_CIFAR10_STATISTICS = dict(mean=[0.424, 0.415, 0.384], std=[0.283, 0.278, 0.284])
_SVHN_STATISTICS = dict(mean=[0.431, 0.43, 0.446], std=[0.197, 0.198, 0.199])
for _net, _data, _network in (
    ("mnist-dnn", dict(name="mnist", normalize=False), dict(layers="800")),
    ("mnist-cnn", dict(name="mnist", normalize=False), dict(layers="12C5-P2-64C5")),
    ("fashion-dnn", dict(name="fashion_mnist", normalize=False), dict(layers="6400")),
    ("fashion-cnn", dict(name="fashion_mnist", normalize=False), dict(layers="32C5-P2-64C5-P2-1024")),
    ("svhn-cnn", dict(name="svhn", **_SVHN_STATISTICS), dict(layers="64C3-64C3-P2-128C3-128C3-128C3-P2-1024", padding=1)),
    (
        *("cifar10-cnn", dict(name="cifar10", augment=True, **_CIFAR10_STATISTICS)),
        dict(layers="96C3-256C3-P2-384C3-P2-384C3-256C3-1024-1024", padding=1),
    ),
):
    for _rule in ("ell", "fell", "bell"):
        if _rule == "bell":
            _epochs, _lr, _gamma, _milestones = {
                "cifar10-cnn": (400, 1e-3, 0.1, [400]),
                "svhn-cnn": (100, 3e-3, 0.2, [30, 60, 90]),
                "fashion-cnn": (150, 3e-3, 0.1, [80, 120]),
            }.get(_net, (150, 5e-4, 0.2, [60, 120]))
        else:
            _epochs, _lr, _gamma, _milestones = {
                "cifar10-cnn": (200, 5e-4, 0.1, [100, 200]),
                "svhn-cnn": (100, 5e-4, 0.2, [40, 80]),
            }.get(_net, (50, 5e-4, 0.2, [15, 30, 45]))
        PRESETS[f"{_rule}-{_net}"] = Row(
            fields(
                seed=1234,
                data=_data,
                network=dict(**_network, time_steps=10),
                method=dict(
                    name=_rule, tau=1, threshold=1, feedback="transpose", frozen_classifiers=False, encoding="real", update="step"
                )
                | (dict(decoder_size=1024) if _net.endswith("-cnn") else {}),
                optimizer=dict(name="adam", lr=_lr, weight_decay=0, schedule="multistep", milestones=_milestones, gamma=_gamma),
                trainer=dict(epochs=_epochs, batch_size=100),
            )
        )
