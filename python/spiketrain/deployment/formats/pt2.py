"""``torch.export``: a program of torch's and spikeops' ops, with its weights and the normalisation of pictures."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiketrain.deployment.model import Model
from spiketrain.deployment.traceable import exported_program

IS_EXACT = False
ABOUT = "spiketrain.json"


def files(out: Path) -> list[Path]:
    return [out]


def write(model: Model, out: Path, options: dict[str, Any]) -> list[str]:
    program = exported_program(model, "pt2")
    buffer = io.BytesIO()  # torch's writer of files says no more of a full disk than where it stands
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that share memory, which they do not
        torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(about(model))})
    out.write_bytes(buffer.getbuffer())
    ours = any(str(node.target).startswith("spikeops") for node in program.graph.nodes)
    how = "import spikeops, then " if ours else ""
    return [f"read it with: {how}torch.export.load({out.name!r}).module()(inputs), inputs {wanted(model)}"]


def scores(model: Model, out: Path, inputs: Tensor, options: dict[str, Any]) -> Tensor:
    with warnings.catch_warnings(), open(out, "rb") as file:  # torch opens no name that is not UTF-8
        warnings.simplefilter("ignore")  # of weights that share memory, which they do not
        return torch.export.load(file).module()(inputs)


def about(model: Model) -> dict[str, Any]:
    """What goes with a program: what the checkpoint says of its data, the preset and the versions."""
    return {
        "preset": model.preset,
        "epoch": model.epoch,
        "versions": model.versions,
        "class_names": list(model.class_names),
        "input": wanted(model),
        "input_shape": list(model.input_shape),
        "white": model.white,
        "preprocessing": model.description["preprocessing"],
    }


def wanted(model: Model) -> str:
    """The shape and type of inputs, in words."""
    shape = ", ".join(map(str, ("N", *model.input_shape) if not model.batch_axis else (model.time_steps, "N", *model.input_shape)))
    return f"({shape}) of {f'uint8, 0 to {model.white}' if model.white is not None else 'float32'}"
