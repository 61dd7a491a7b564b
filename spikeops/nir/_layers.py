"""Layers without time, of NIR and of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from spikeops.nir._modules import Scale
from spikeops.nn import AvgPool2d, SpikeConv2d, SpikeLinear, TimeDistributed

Shape = tuple[int, ...]


# --- from torch -----------------------------------------------------------------------------------------------------------------


def layers_node(nir: Any, module: nn.Module, shape: Shape, leading: int, affine_only: bool) -> tuple[Any, list[str]]:
    """The node of a module whose input has this shape, after so many leading axes of time and batch; and why there is none."""
    kind = type(module)
    if kind in (nn.Linear, SpikeLinear):
        found = [] if len(shape) == 1 else [f"acts on the last axis of inputs of shape {shape}, and NIR's on vectors"]
        weight = _numpy(module.weight)
        if module.bias is None and not affine_only:
            return nir.Linear(weight=weight), found
        return nir.Affine(weight=weight, bias=np.zeros_like(weight[:, 0]) if module.bias is None else _numpy(module.bias)), found
    if kind in (nn.Conv1d, nn.Conv2d, SpikeConv2d):
        return _convolutions_node(nir, module, shape)
    if kind is Scale:
        return nir.Scale(scale=np.broadcast_to(_numpy(module.scale), shape).copy()), []
    if kind is nn.Flatten:
        first, last = (axis if axis >= 0 else axis + leading + len(shape) for axis in (module.start_dim, module.end_dim))
        found = [] if first >= leading else [f"start_dim={module.start_dim} flattens time or batch, too"]
        return nir.Flatten(input_type={"input": np.array(shape)}, start_dim=first - leading, end_dim=last - leading), found
    return _poolings_node(nir, module, shape)


def _convolutions_node(nir: Any, module: nn.Conv1d | nn.Conv2d, shape: Shape) -> tuple[Any, list[str]]:
    found = [] if module.padding_mode == "zeros" else [f"padding_mode must be 'zeros', and is {module.padding_mode!r}"]
    axes = module.weight.dim() - 2
    if len(shape) != axes + 1:
        return None, [*found, f"takes inputs of {axes + 1} axes for a sample, got shape {shape}; is it in a TimeDistributed?"]
    weight = _numpy(module.weight)
    bias = np.zeros_like(weight, shape=weight.shape[:1]) if module.bias is None else _numpy(module.bias)
    one = (lambda value: value[0] if isinstance(value, tuple) else value) if axes == 1 else (lambda value: value)
    kind = nir.Conv1d if axes == 1 else nir.Conv2d
    node = kind(
        input_shape=None, weight=weight, stride=one(module.stride), padding=one(module.padding), dilation=one(module.dilation),
        groups=module.groups, bias=bias,
    )  # fmt: skip
    node.input_shape = shape[1] if axes == 1 else tuple(shape[1:])
    return node, found


def _poolings_node(nir: Any, module: nn.Module, shape: Shape) -> tuple[Any, list[str]]:
    found = []
    if module.ceil_mode:
        found.append("ceil_mode must be False")
    pair = lambda value: np.array(value if isinstance(value, tuple) else (value, value))  # noqa: E731
    stride = pair(module.kernel_size if module.stride is None else module.stride)
    if isinstance(module, nn.LPPool2d):
        if module.norm_type != 1:
            found.append(f"norm_type must be 1, a sum, and is {module.norm_type}")
        return nir.SumPool2d(kernel_size=pair(module.kernel_size), stride=stride, padding=pair(0)), found
    if module.divisor_override not in (None, 1):
        found.append(f"divisor_override must be None, or 1 for a sum, and is {module.divisor_override}")
    if np.any(pair(module.padding)) and not module.count_include_pad and module.divisor_override is None:
        found.append("count_include_pad must be True")
    kind = nir.SumPool2d if module.divisor_override == 1 else nir.AvgPool2d
    return kind(kernel_size=pair(module.kernel_size), stride=stride, padding=pair(module.padding)), found


def _numpy(value: torch.Tensor) -> np.ndarray:
    value = value.detach().cpu()
    # NumPy has no bfloat16.
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy().copy()


# --- to torch -------------------------------------------------------------------------------------------------------------------


def layers_module(node: Any, dtype: torch.dtype) -> nn.Module:
    """The module of a node, which takes time first.

    Raises:
        TypeError, ValueError: numbers that make none."""
    kind = type(node).__name__
    if kind in ("Linear", "Affine"):
        weight, bias = _tensor(node, "weight", dtype), _tensor(node, "bias", dtype) if kind == "Affine" else None
        _expect(weight.dim() == 2, f"weight must have 2 axes, and has shape {tuple(weight.shape)}")
        return _with_weights(nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta"), weight, bias)
    if kind in ("Conv1d", "Conv2d"):
        axes = int(kind[4])
        weight, bias = _tensor(node, "weight", dtype), _tensor(node, "bias", dtype)
        _expect(weight.dim() == axes + 2, f"weight must have {axes + 2} axes, and has shape {tuple(weight.shape)}")
        groups, padding = _whole(node, "groups", 1), node.padding
        padding = padding if isinstance(padding, str) else _tuple(node, "padding", axes, 0)
        make = nn.Conv1d if axes == 1 else nn.Conv2d
        layer = make(
            weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), _tuple(node, "stride", axes, 1), padding,
            _tuple(node, "dilation", axes, 1), groups, device="meta",
        )  # fmt: skip
        return TimeDistributed(_with_weights(layer, weight, bias))
    if kind in ("AvgPool2d", "SumPool2d"):
        size, stride, padding = (_tuple(node, name, 2, least) for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0)))
        return TimeDistributed(AvgPool2d(size, stride, padding, divisor_override=1 if kind == "SumPool2d" else None))
    if kind == "Flatten":
        first, last = _whole(node, "start_dim"), _whole(node, "end_dim")
        return TimeDistributed(nn.Flatten(first + 1 if first >= 0 else first, last + 1 if last >= 0 else last))
    return Scale(nn.Parameter(_tensor(node, "scale", dtype)))


def _with_weights(layer: nn.Module, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Module:
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            wanted = getattr(layer, name).shape
            _expect(value.shape == wanted, f"{name} must have shape {tuple(wanted)}, and has {tuple(value.shape)}")
            setattr(layer, name, nn.Parameter(value))
    return layer


def _tensor(node: Any, name: str, dtype: torch.dtype) -> torch.Tensor:
    value = np.asarray(getattr(node, name))
    _expect(value.dtype.kind in "fiu", f"{name} must be an array of numbers, and is one of {value.dtype}")
    _expect(value.size > 0, f"{name} holds no numbers, its shape is {value.shape}")
    value = torch.as_tensor(np.array(value, np.float64)).to(dtype)
    _expect(bool(value.isfinite().all()), f"{name} is not finite in {dtype}")
    return value


def _whole(node: Any, name: str, least: int | None = None) -> int:
    return _tuple(node, name, 1, least)[0]


def _tuple(node: Any, name: str, length: int, least: int | None = None) -> tuple[int, ...]:
    value = np.asarray(getattr(node, name))
    fits = value.dtype.kind in "iu" and value.size in (1, length) and bool((value < 2**31).all())
    fits = fits and (least is None or bool((value >= least).all()))
    _expect(fits, f"{name} must be {length} whole number{'s' * (length > 1)}{'' if least is None else f', {least} or more'}, and is {value}")
    return tuple(int(v) for v in np.broadcast_to(value.reshape(-1), (length,)))


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
