"""NIR, the Neuromorphic Intermediate Representation: the layers and neurons of a network, for simulators and chips (docs/nir.md)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeops import nn as snn
from spikeops.nir import Scale, from_nir, to_nir
from spikeops.nn.time import at_all_steps
from spiketrain.deployment.model import Model
from spiketrain.deployment.traceable import other_formats
from spiketrain.errors import UserError, shortened
from spiketrain.methods.base.gradient import GradientMethod
from spiketrain.models.layers import FullyConnected, SumPool2d, TimeSharedDropout
from spiketrain.models.network import SpikingNetwork

IS_EXACT = False


def files(out: Path) -> list[Path]:
    return [out]


def write(model: Model, out: Path, options: dict[str, Any]) -> list[str]:
    network = model.network
    is_chain = type(network) is SpikingNetwork and isinstance(network.input_filter, nn.Identity)
    if not (is_chain and isinstance(model.method, GradientMethod)):
        named = model.config.network.model or model.config.method.name
        raise UserError(
            f"NIR has no networks of {shortened(named, 60)}, only chains of layers and integrate-and-fire neurons. {other_formats(model, 'nir')}"
        )
    try:
        import nir

        graph = to_nir(_chain(network), model.input_shape, dt=options["dt"], dialect=options["dialect"])
        buffer = io.BytesIO()  # h5py raises several kinds of errors on a full disk
        nir.write(buffer, graph)
    except ImportError as error:
        raise UserError(shortened(f'NIR needs its packages ({error}): pip install "spikeops[nir]"')) from None
    except (TypeError, ValueError) as error:
        first, *reasons = map(str.strip, str(error).splitlines())  # a line for each thing that does not fit
        said = shortened("; ".join(reasons or [first]), 200)
        raise UserError(f"NIR, dialect {options['dialect']}, cannot express the network: {said}. {other_formats(model, 'nir')}") from None
    out.write_bytes(buffer.getbuffer())
    steps = f"{model.time_steps} steps of {options['dt']:g} s"
    pictures = ", a picture normalised and shown at all of them" if model.white is not None else ""
    return [
        f"it takes {steps}{pictures}, each (N, {', '.join(map(str, model.input_shape))})",
        f"its outputs ({model.time_steps}, N, {len(model.class_names)}) become scores by {model.method.logits_source()}, which is not in the graph",
    ]


def scores(model: Model, out: Path, inputs: Tensor, options: dict[str, Any]) -> Tensor:
    network = from_nir(str(out), dt=options["dt"], dialect=options["dialect"], dtype=torch.float32).eval()
    inputs = model.preprocess(inputs) if inputs.dtype is torch.uint8 else inputs
    inputs = inputs.cpu()
    return model.method.logits(network(inputs) if model.batch_axis else at_all_steps(network, inputs, model.time_steps))


def _chain(network: SpikingNetwork) -> nn.Sequential:
    """The stages as modules that `spikeops.nir` knows."""
    chain = nn.Sequential()
    for name, stage in network.stages.items():
        if isinstance(stage, snn.TimeDistributed):
            chain.add_module(name, snn.TimeDistributed(_layer(stage.module)))
        elif not isinstance(stage, TimeSharedDropout):
            chain.add_module(name, stage)
    return chain


def _layer(layer: nn.Module) -> nn.Module:
    if isinstance(layer, FullyConnected):
        linear = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        linear.weight, linear.bias = layer.weight, layer.bias
        return nn.Sequential(nn.Flatten(), linear)
    if isinstance(layer, SumPool2d):
        if layer.gain == 1 / layer.size**2:
            return nn.AvgPool2d(layer.size)
        return nn.Sequential(nn.AvgPool2d(layer.size, divisor_override=1), Scale(torch.tensor(layer.gain)))
    return layer
