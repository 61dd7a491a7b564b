"""The configuration files of the published code of TSSL-BP (``Networks/*.yaml``), as fields of ours.

They have two sections: ``Network``, for settings, and ``Layers``, a list of layers with names, in their order. What such a file
does not set is fixed in the published script, or a default of its layers. Every key is read, or refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spiketrain.errors import UserError, shown, unknown_name

SECTIONS = ("Network", "Layers")
LARGEST = 10**9  # of a number of a layer
# Data set there -> (section data of ours, (C, H, W))
_DATA = {
    "MNIST": ({"name": "mnist"}, (1, 28, 28)),
    "FashionMNIST": ({"name": "fashion_mnist"}, (1, 28, 28)),
    "CIFAR10": ({"name": "cifar10", "augment": True}, (3, 32, 32)),
    "NMNIST_Spiking": ({"name": "nmnist", "bin_ms": 3, "empty_last_step": True}, (2, 34, 34)),
}
_SETTINGS = (
    *("epochs", "batch_size", "n_steps", "dataset", "data_path", "rule", "lr", "loss", "n_class"),
    *("desired_count", "undesired_count", "tau_m", "tau_s", "model"),
)
_KEYS = {
    "conv": ("in_channels", "out_channels", "kernel_size", "padding", "stride", "dilation", "weight_scale", "threshold"),
    "linear": ("n_inputs", "n_outputs", "weight_scale", "threshold"),
    "pooling": ("kernel_size", "padding", "stride", "dilation", "theta", "threshold"),  # the threshold has no effect there either
    "dropout": ("p",),
}


def is_one(raw: dict[str, Any]) -> bool:
    """Whether the contents of a YAML file are those of such a file."""
    return any(name in raw for name in SECTIONS)


def translate(raw: dict[str, Any]) -> dict[str, Any]:
    """The raw configuration of the same experiment.

    Args:
        raw: what the file holds, its scalars as text

    Raises:
        UserError: something that our fields cannot express, an unknown key, or a missing one. The message names it.
    """
    for name in raw:
        if name not in SECTIONS:
            raise unknown_name("section", name, SECTIONS)
    network, layers = (_Section(name, raw.get(name)) for name in SECTIONS)
    network.refuse_unknown(_SETTINGS)
    network.expect("rule", "TSSLBP")
    network.expect("model", "LIF")
    dataset = network.text("dataset")
    if dataset not in _DATA:
        raise unknown_name("data set in Network.dataset:", dataset, _DATA)
    data, shape = _DATA[dataset]
    stack = _Stack(shape)
    for name, value in layers.values.items():
        stack.add(_Section(f"Layers.{name}", value))
    fields, method = stack.fields()
    if (classes := network.integer("n_class")) != stack.units:
        raise UserError(f"Network.n_class is {classes}, the last layer has {stack.units} units")
    method |= {"name": "tssl_bp", "tau_m": network.text("tau_m"), "tau_s": network.text("tau_s"), "loss": network.text("loss")}
    if method["loss"] == "count":
        method |= {name: network.text(name) for name in ("desired_count", "undesired_count")}
    return {
        "seed": 3,
        "data": {**data, "root": network.text("data_path") if network.values.get("data_path") is not None else None},
        "network": {**fields, "time_steps": network.text("n_steps")},
        "method": method,
        "optimizer": {"name": "adamw", "lr": network.text("lr"), "clip_norm": 1, "weight_clamp": 4},
        "trainer": {"epochs": network.text("epochs"), "batch_size": (size := network.text("batch_size")), "eval_batch_size": size},
    }


class _Section:
    """Keys and values, with the place where they stand for messages."""

    def __init__(self, place: str, values: Any) -> None:
        if not isinstance(values, dict) or not values:
            raise UserError(f"{place}: expected a section of fields, got {shown(values)}")
        self.place, self.values = place, values

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        for name in self.values:
            if name not in known:
                raise unknown_name("key", f"{self.place}.{name}", [f"{self.place}.{key}" for key in known])

    def text(self, name: str, default: str | None = None) -> str:
        value = self.values.get(name, default)
        if not isinstance(value, str):
            raise UserError(f"{self.place}.{name}: expected a value, got {shown(value)}")
        return value

    def _number(self, name: str, kind: Callable[[str], Any], default: str | None) -> Any:
        text = self.text(name, default)
        try:
            if abs(number := kind(text)) < LARGEST:
                return number
        except ValueError:
            pass
        raise UserError(f"{self.place}.{name}: expected {'an integer' if kind is int else 'a number'}, got {shown(text)}")

    def integer(self, name: str, default: str | None = None) -> int:
        return self._number(name, int, default)

    def number(self, name: str, default: str | None = None) -> float:
        return self._number(name, float, default)

    def side(self, name: str, default: str | None = None) -> int:
        """A number for both directions, which may also stand there twice."""
        if isinstance(pair := self.values.get(name), list):
            if len(pair) != 2 or pair[0] != pair[1]:
                raise UserError(f"{self.place}.{name}: expected one number for both directions, got {shown(pair)}")
            return _Section(self.place, {name: pair[0]}).integer(name)
        return self.integer(name, default)

    def expect(self, name: str, value: str) -> None:
        if (found := self.text(name)) != value:
            raise UserError(f"{self.place}.{name}: expected {value}, got {shown(found)}")


class _Stack:
    """Layers in the notation of `network.layers`, with what has to be the same in all of them."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.channels, self.height, self.width = shape
        self.parts: list[str] = []
        self.paddings: list[int] = []
        self.thresholds: list[float] = []
        self.after: list[_Section | None] = []  # the dropout behind each part
        self.shared: dict[str, tuple[str, float]] = {}  # field -> (where it was first given, value)
        self.units: int | None = None  # of the last layer, once it is fully connected
        self.last = ""  # its place

    def add(self, layer: _Section) -> None:
        kind = layer.text("type")
        if kind not in _KEYS:
            raise unknown_name(f"layer in {layer.place}.type:", kind, _KEYS)
        layer.refuse_unknown(("type", *_KEYS[kind]))
        if kind == "dropout":
            if not self.parts or self.after[-1] is not None:
                raise UserError(f"{layer.place}: dropout has to follow a layer")
            self.after[-1] = layer
            return
        if self.units is not None and kind != "linear":
            raise UserError(f"{layer.place}: {kind} cannot follow a fully connected layer")
        {"conv": self._conv, "pooling": self._pooling, "linear": self._linear}[kind](layer)
        self.after.append(None)
        self.last = layer.place

    def _conv(self, layer: _Section) -> None:
        channels, kernel, padding = layer.integer("out_channels"), layer.side("kernel_size"), layer.side("padding", "0")
        stride = layer.side("stride", "1")
        if stride not in (1, 2) or layer.side("dilation", "1") != 1:
            raise UserError(f"{layer.place}: expected a stride of 1 or 2 and no dilation")
        self._takes(layer, "in_channels", self.channels)
        self._share(layer, "conv_weight_scale", layer.number("weight_scale", "1"), "weight_scale")
        self.thresholds.append(layer.number("threshold"))
        self.parts.append(f"{channels}C{kernel}{'s' if stride == 2 else ''}")
        self.paddings.append(padding)
        self.channels = channels
        self._shrink(layer, *((side + 2 * padding - kernel) // stride + 1 for side in (self.height, self.width)))

    def _pooling(self, layer: _Section) -> None:
        kernel = layer.side("kernel_size")
        if layer.side("stride", str(kernel)) != kernel or layer.side("padding", "0") != 0 or layer.side("dilation", "1") != 1:
            raise UserError(
                f"{layer.place}: expected windows that do not overlap: a stride like kernel_size, no padding, no dilation"
            )
        if kernel < 1:
            raise UserError(f"{layer.place}.kernel_size: expected at least 1, got {kernel}")
        self._share(layer, "pool_gain", layer.number("theta", "1.1"), "theta")
        self.parts.append(f"P{kernel}")
        self._shrink(layer, self.height // kernel, self.width // kernel)

    def _shrink(self, layer: _Section, height: int, width: int) -> None:
        if min(height, width) < 1:
            raise UserError(f"{layer.place}: nothing is left of maps of {self.height} x {self.width}")
        self.height, self.width = height, width

    def _linear(self, layer: _Section) -> None:
        self._takes(layer, "n_inputs", self.channels * self.height * self.width if self.units is None else self.units)
        self._share(layer, "linear_weight_scale", layer.number("weight_scale", "1"), "weight_scale")
        self.thresholds.append(layer.number("threshold"))
        self.units = layer.integer("n_outputs")
        self.parts.append(str(self.units))

    @staticmethod
    def _takes(layer: _Section, name: str, expected: int) -> None:
        if (given := layer.integer(name)) != expected:
            raise UserError(f"{layer.place}.{name} is {given}, the layer before has {expected} outputs")

    def _share(self, layer: _Section, field: str, value: float, key: str) -> None:
        place, first = self.shared.setdefault(field, (layer.place, value))
        if value != first:
            raise UserError(
                f"{layer.place}.{key} is {value:g}, that of {place} {first:g}: a network here has one for all such layers"
            )

    def fields(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fields of the sections network and method."""
        if self.units is None:
            raise UserError(f"{self.last or 'Layers'}: expected a linear layer as the last one")
        shared = {field: value for field, (_, value) in self.shared.items()}
        method = {"pool_gain": shared.pop("pool_gain")} if "pool_gain" in shared else {}
        alike = len(set(self.thresholds)) == 1
        method["threshold"] = self.thresholds[0] if alike else self.thresholds
        padding = self.paddings if len(set(self.paddings)) > 1 else max(self.paddings, default=0)
        # The published layer, a dropout3d over channels and rows as one axis, drops rows of maps, and single units of (N, units).
        dropout = {"dropout": share, "dropout_kind": "rows"} if (share := self._dropout()) else {"dropout": 0.0}
        return {"layers": "-".join(self.parts), "padding": padding, **shared, **dropout}, method

    def _dropout(self) -> float:
        """`network.dropout` drops after every layer but the last and those in front of pooling."""
        if not any(self.after):
            return 0.0
        share, place = None, ""
        for i, (part, layer) in enumerate(zip(self.parts, self.after)):
            is_dropped = i + 1 < len(self.parts) and not self.parts[i + 1].startswith("P")
            if is_dropped != (layer is not None):
                where = layer.place if layer is not None else f"Layers: no dropout after {part}"
                raise UserError(
                    f"{where}: a network here has dropout after every layer but the last and those in front of pooling, or none"
                )
            if layer is None:
                continue
            value = layer.number("p", "0.5")
            if share is not None and value != share:
                raise UserError(f"{layer.place}.p is {value:g}, that of {place} {share:g}: a network here has one for all layers")
            share, place = value, layer.place
        return share
