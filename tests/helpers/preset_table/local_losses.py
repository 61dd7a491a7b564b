"""Local losses: a command of torch_snn.py for each experiment (ICTAI_snn b0955c4); our own variants with LIF neurons."""

from __future__ import annotations

from preset_table.rows import Row, fields

_MLP = dict(layers="1024-1024-1024-10")
_SNN1M = dict(layers="15C5-P2-40C5-P2-1024-10")
_SNN2M = dict(layers="32C5-P2-64C5-P2-1024-10")
_VGG8A = dict(layers="128C3-256C3-P2-256C3-512C3-P2-512C3-P2-512C3-1024-10", padding=1)
_OPTIMIZER = dict(
    name="adam",
    lr=5e-4,
    weight_decay=0,
    betas=[0.9, 0.999],
    eps=1e-8,
    schedule="multistep",
    milestones=[50, 75, 89, 94],
    gamma=0.25,
)
_TRAINER = dict(epochs=100, batch_size=128)
_MNIST = dict(name="mnist", augment=True, augment_border=2, augment_flip=False)
_FASHION = dict(name="fashion_mnist", augment=True, augment_border=2, augment_flip=True, mean=[0.286], std=[0.353])
_CLAMPED = dict(
    **dict(neuron="clamped", dt=3e-5, leak=2, threshold_gain=1e7, threshold_drift=0.1, batch_norm=True, decoder_size=4096),
    **dict(similarity_std=True),
)
_LOSSES = {
    "localce": dict(name="local_ce"),
    "localcorr": dict(name="local_corr"),
    "localcecorr": dict(name="local_ce_corr", beta=0.99),
}
_CONV = fields(trainer=dict(eval_batch_size=250))


def _published(loss: str, net: str, network: dict, data: dict) -> Row:
    return Row(
        fields(
            seed=1,
            data=data,
            network=dict(**network, time_steps=3),
            method=_LOSSES[loss] | _CLAMPED,
            optimizer=_OPTIMIZER,
            trainer=_TRAINER,
        ),
        _CONV if network is not _MLP else {},
        f"{net}{' ' if net == 'mlp' else ', '}{network['layers']}, T 3, clamped neurons with learned thresholds",
    )


def _own(loss: str, network: dict, data: str) -> Row:
    method = dict(name=_LOSSES[loss]["name"], neuron="lif")
    own = fields(
        data=dict(name=data), network=dict(**network, time_steps=10), method=method, optimizer=_OPTIMIZER, trainer=_TRAINER
    )
    return Row(ours={**own, **(_CONV if network is not _MLP else {})}, about=f"our own variant, LIF, {network['layers']}, T 10")


PRESETS = {
    "localce-mnist-mlp": _published("localce", "mlp", _MLP, _MNIST),
    "localcorr-mnist-mlp": _published("localcorr", "mlp", _MLP, _MNIST),
    "localcecorr-mnist-mlp": _published("localcecorr", "mlp", _MLP, _MNIST),
    "localce-mnist-snn1m": _published("localce", "snn1m", _SNN1M, _MNIST),
    "localce-mnist-vgg8a": _published("localce", "vgg8a", _VGG8A, _MNIST),
    "localce-fashion-snn2m": _published("localce", "snn2m", _SNN2M, _FASHION),
    "localce-fashion-vgg8a": _published("localce", "vgg8a", _VGG8A, _FASHION),
    "localce-lif-mnist-mlp": _own("localce", _MLP, "mnist"),
    "localcorr-lif-mnist-mlp": _own("localcorr", _MLP, "mnist"),
    "localcecorr-lif-mnist-mlp": _own("localcecorr", _MLP, "mnist"),
    "localce-lif-mnist-snn1m": _own("localce", dict(layers="64C3-P2-128C3-P2-256C3-P2-256-10", padding=1), "mnist"),
    "localce-lif-mnist-vgg8a": _own("localce", _VGG8A, "mnist"),
    "localce-lif-fashion-snn2m": _own("localce", dict(layers="64C3-128C3-P2-256C3-P2-256C3-P2-512-10", padding=1), "fashion_mnist"),
    "localce-lif-fashion-vgg8a": _own("localce", _VGG8A, "fashion_mnist"),
}
