"""Networks of `network.model` on CIFAR-10: ours, of published architectures."""

from __future__ import annotations

from preset_table.rows import Row, fields


def _row(about: str, network: dict, method: dict, optimizer: dict, epochs: int) -> Row:
    return Row(
        ours=fields(
            data=dict(name="cifar10", augment=True),
            network=dict(time_steps=4, **network),
            method=dict(name="bptt", detach_reset=True, memory="packed", **method),
            optimizer=dict(name="adamw", schedule="cosine") | optimizer,
            trainer=dict(epochs=epochs, batch_size=64, eval_batch_size=100),
        ),
        about=f"our own experiment, {about}, T 4",
    )


_SEW = dict(surrogate="Rectangle", surrogate_parameter=1, neurons_keep="bits")
_SPIKFORMER = dict(reset="to", normalize_input=True, surrogate="Sigmoid", surrogate_parameter=4)
PRESETS = {
    "bptt-cifar10-sewresnet18": _row(
        "SEW-ResNet-18 (Fang et al. 2021)", dict(model="sew_resnet18"), _SEW, dict(lr=1e-3), 150
    ),
    "bptt-cifar10-sewresnet18-small": _row(
        *("SEW-ResNet-18 (Fang et al. 2021) with 16 to 128 channels", dict(model="sew_resnet18", width=16), _SEW, dict(lr=1e-3), 60),
    ),
    "bptt-cifar10-spikformer": _row(
        *("Spikformer-4-384 (Zhou et al. 2022)", dict(model="spikformer"), _SPIKFORMER),
        *(dict(lr=5e-4, weight_decay=0.06, warmup_steps=15640), 300),
    ),
}
