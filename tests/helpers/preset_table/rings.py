"""IDE (IDE-FSNN 7da5907) and SPIDE (SPIDE-FSNN 54e4338): a script for each network, its defaults, with the time steps and the leak of a row
of the results, or the options of a command of the README."""

from __future__ import annotations

from preset_table.rows import Row, fields, figures
from preset_table.tssl_bp import NMNIST

PRESETS: dict[str, Row] = {}

_RINGS = {
    **fields(optimizer=dict(name="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4, schedule="multistep", gamma=0.1, warmup_steps=0)),
    **fields(optimizer=dict(clip_norm=0), trainer=dict(epochs=100, batch_size=128, eval_batch_size=200), network=dict(dropout=0.2)),
}
_MILESTONES = fields(optimizer=dict(milestones=[30, 60, 90]))
_CIFAR = fields(optimizer=dict(milestones=[50, 75], warmup_steps=400), data=dict(augment=True, augment_border=4, augment_flip=True))
_IDE = {**_RINGS, **fields(method=dict(name="ide", threshold=2, norm_range=1, solver="broyden", solver_steps=30))}
_ALEXNET_F = "96C3s-256C3-384C3s-384C3-256C3"
_CIFARNET_F = "128C3s-256C3-512C3s-1024C3-512C3"


def _neuron(leak: float) -> str:
    return "IF" if leak == 1 else f"LIF {leak}"


for _name, _network, _time_steps, _rows in (
    ("mnist", dict(layers="64C5s-10", feedback="64C5", padding=2), 30, ((1, 99.49, 0.04, 99.55), (0.95, 99.53, 0.04, 99.59))),
    ("fashion", dict(layers="400-10", feedback="400"), 5, ((1, 90.04, 0.09, 90.14), (0.95, 90.07, 0.10, 90.25))),
    ("nmnist", dict(layers="64C5s-10", feedback="64C5", padding=[1, 2]), 30, ((1, 99.30, 0.04, 99.35), (0.95, 99.42, 0.04, 99.47))),
):
    for _leak, *_accuracy in _rows:
        _data = {"fashion": dict(name="fashion_mnist"), "nmnist": NMNIST}.get(_name, dict(name=_name))
        _published = {
            **{**_IDE, **_MILESTONES, **figures(*_accuracy)},
            **fields(data=_data, network=dict(**_network, time_steps=_time_steps), method=dict(leak=_leak)),
        }
        _ours = {}
        if _name == "nmnist":
            _published |= fields(method=dict(solver="iter"))
            _ours = fields(network=dict(padding=2), method=dict(solver="fixed_point"))
            _published |= {"method": "the input is overwritten in training"} if _leak < 1 else {}
        _about = f"{'400 (F400)' if _name == 'fashion' else '64C5s (F64C5)'}, T {_time_steps}, {_neuron(_leak)}"
        PRESETS[f"ide-{_name}-{'if' if _leak == 1 else 'lif'}"] = Row(_published, _ours, _about)

for _data_name, _net, _leak, _time_steps, *_accuracy in (
    ("cifar10", "AlexNet-F", 1, 30, 91.73, 0.13, 91.85),
    ("cifar10", "AlexNet-F", 0.99, 30, 91.74, 0.09, 91.92),
    ("cifar10", "AlexNet-F", 1, 100, 92.25, 0.27, 92.53),
    ("cifar10", "AlexNet-F", 0.99, 100, 92.03, 0.07, 92.15),
    ("cifar10", "CIFARNet-F", 1, 30, 91.94, 0.14, 92.12),
    ("cifar10", "CIFARNet-F", 0.99, 30, 92.08, 0.15, 92.23),
    ("cifar10", "CIFARNet-F", 1, 100, 92.33, 0.15, 92.57),
    ("cifar10", "CIFARNet-F", 0.99, 100, 92.52, 0.17, 92.82),
    ("cifar100", "AlexNet-F", 1, 100, 72.02, 0.16, 72.23),
    ("cifar100", "CIFARNet-F", 1, 30, 71.56, 0.31, 72.10),
    ("cifar100", "CIFARNet-F", 0.99, 30, 71.72, 0.22, 72.03),
    ("cifar100", "CIFARNet-F", 1, 100, 73.07, 0.21, 73.43),
    ("cifar100", "CIFARNet-F", 0.99, 100, 72.98, 0.13, 73.12),
):
    _layers, _feedback = {"AlexNet-F": (_ALEXNET_F, "96C3u"), "CIFARNet-F": (_CIFARNET_F, "128C3u")}[_net]
    _network = dict(layers=f"{_layers}-{_data_name[5:]}", feedback=_feedback, padding=1, time_steps=_time_steps)
    _short = f"ide-{_data_name}-{_net.lower().replace('-', '')}-{'if' if _leak == 1 else 'lif'}-t{_time_steps}"
    PRESETS[_short] = Row(
        {**_IDE, **_CIFAR, **figures(*_accuracy), "data.name": _data_name, **fields(network=_network, method=dict(leak=_leak))},
        about=f"{_net}, T {_time_steps}, {_neuron(_leak)}",
    )

_SPIDE_METHOD = dict(
    name="spide", leak=1, threshold=1, u_rest=None, backward_threshold=0.5, backward_u_rest=None, weight_standardization=False
)
_SPIDE = {**_RINGS, **fields(method=_SPIDE_METHOD, network=dict(time_steps=30))}
_LENET = {
    **_SPIDE,
    **fields(
        data=dict(name="mnist"),
        network=dict(layers="15C5-P2-40C5-P2-300-10", padding=2, dropout=[0, 0, 0, 0, 0.5]),
        method=dict(backward_time_steps=100, scale_factor=100, init="kaiming"),
        optimizer=dict(lr=0.1, milestones=[20, 40]),
        trainer=dict(epochs=60),
    ),
}
PRESETS |= {
    "spide-mnist-lenet": Row(_LENET, about="15C5-P2-40C5-P2-300, no feedback, T 30, 100 backward"),
    "spide-mnist-lenet-fast": Row(
        _LENET,
        fields(optimizer=dict(lr=0.5), trainer=dict(batch_size=32)),
        about="spide-mnist-lenet with a learning rate and a batch size of our own",
    ),
    "spide-mnist-convnetf": Row(
        {
            **{**_SPIDE, **_MILESTONES},
            **fields(
                data=dict(name="mnist"),
                network=dict(layers="64C5s-64C5s-64C5-10", feedback="64C3u", padding=[2, 2, 2, 1]),
                method=dict(backward_time_steps=100, scale_factor=100, norm_range=2, init="kaiming"),
            ),
        },
        about="64C5s-64C5s-64C5 (F64C3u), T 30, 100 backward",
    ),
    "spide-cifar10-alexnetf": Row(
        {
            **{**_SPIDE, **_CIFAR},
            **fields(
                data=dict(name="cifar10"),
                network=dict(layers=f"{_ALEXNET_F}-10", feedback="96C3u", padding=1),
                method=dict(backward_time_steps=250, scale_factor=400, norm_range=2, init="unit_norm"),
            ),
        },
        about="AlexNet-F, T 30, 250 backward",
    ),
    "spide-cifar100-cifarnetf": Row(
        {
            **{**_SPIDE, **_CIFAR},
            **fields(
                data=dict(name="cifar100"),
                network=dict(layers=f"{_CIFARNET_F}-100", feedback="128C3u", padding=1, dropout=0.25),
                method=dict(backward_time_steps=250, scale_factor=500, norm_range=2, init="unit_norm"),
            ),
        },
        about="CIFARNet-F, T 30, 250 backward",
    ),
    "spide-cifar10dvs-convnetf": Row(
        {
            **_SPIDE,
            **fields(
                data=dict(name="cifar10_dvs", augment=True, augment_border=4, image_size=48),
                network=dict(layers="512C9s-10", feedback="512C5", padding=[4, 2], dropout=0),
                method=dict(backward_time_steps=250, scale_factor=400, norm_range=10, init="kaiming"),
                optimizer=dict(milestones=[50]),
                trainer=dict(epochs=70),
            ),
        },
        about="512C9s (F512C5), T 30, 250 backward",
    ),
}
