"""What the networks of IDE and SPIDE are called in the checkpoints of their authors."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from spiketrain.methods.base.published import PublishedWeights, Source, turned_kernels, turned_maps
from spiketrain.models.feedback import FeedbackNetwork

_MODULES = {nn.Conv2d: "conv", nn.ConvTranspose2d: "convT", nn.Linear: "fc", nn.BatchNorm1d: "bn", nn.BatchNorm2d: "bn"}
_TENSORS = {
    "parametrizations.weight.original": "weight_w",
    "parametrizations.weight.0.gain": "weight_g",
    "parametrizations.weight.0.left_vector": "weight_u",
    "parametrizations.weight.0.right_vector": "weight_v",
}
_COPIES = ("snn_func", "snn_ide", "snn_spide")


def ring_weights(network: FeedbackNetwork, is_turned: bool) -> PublishedWeights:
    """Each part that has weights is a module of its own: network_x, network_s1, ..., the feedback last; a lone network_s has no number.

    Args:
        is_turned: maps are (channels, x, y) there, as the published readers of N-MNIST make them; ours are (channels, y, x)
    """
    ring = network.ring
    parts = [(f"ring.layers.{i}", layer, network.shapes[i]) for i, layer in enumerate(ring.layers) if [*layer.parameters()]]
    if ring.feedback is not None:
        parts.append(("ring.feedback", ring.feedback, network.shapes[-1]))
    names = [f"network_s{i}" for i in range(1, len(parts) + 1)] if len(ring.layers) else ["network_s"]
    sources = {}
    for name, (place, part, shape) in zip(
        ["network_x", *names], [("ring.input_layer", ring.input_layer, network.input_shape), *parts]
    ):
        for inside, module in part.named_modules(prefix=place):
            kind = next((kind for cls, kind in _MODULES.items() if isinstance(module, cls)), None)
            if kind is not None:
                sources |= _of_module(module, inside, f"{name}.{kind}", shape, is_turned)
    sources |= _of_module(network.classifier, "classifier", "classifier", network.shapes[-1], is_turned)
    return PublishedWeights(sources, _COPIES)


def _of_module(module: nn.Module, own: str, published: str, shape: tuple[int, ...], is_turned: bool) -> dict[str, Source]:
    """The tensors of a module that takes samples of `shape`."""
    sources = {}
    for name, tensor in module.state_dict().items():
        key = _TENSORS.get(name, name)
        reader = {"read": read} if is_turned and (read := _turned(module, key, shape)) else {}
        sources[f"{own}.{name}"] = Source(f"{published}.{key}", tuple(tensor.shape), **reader)
    return sources


def _turned(module: nn.Module, key: str, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor] | None:
    """How to exchange x and y in a tensor; None where it has neither."""
    if key not in ("weight", "weight_w", "weight_v"):
        return None
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        return turned_maps(tuple(module.weight.shape[1:])) if key == "weight_v" else turned_kernels
    return turned_maps(shape) if isinstance(module, nn.Linear) and len(shape) == 3 else None
