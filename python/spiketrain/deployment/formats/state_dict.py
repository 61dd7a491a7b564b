"""A plain ``state_dict``, and beside it a Python file that rebuilds the network with torch and spikeops alone."""

from __future__ import annotations

import importlib.util
import io
import keyword
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiketrain.deployment.model import Model
from spiketrain.errors import UserError, shortened

IS_EXACT = True

_MARK = '"""A trained spiking network, written by spiketrain.'
_HEAD = (
    _MARK
    + ''' It needs torch and spikeops::

    import {module}

    network = {module}.load()            # an nn.Module with its weights, in evaluation mode
    scores = network({example})
    names = [{module}.CLASS_NAMES[i] for i in scores.argmax(1).tolist()]

{inputs}
"""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

import spikeops.functional as SF
from spikeops import nn as snn
from spikeops import surrogate
from spikeops.nn.time import at_all_steps

'''
)
_LOAD = '''

def load(path: str | Path = Path(__file__).with_name(WEIGHTS)) -> Network:
    """The network with the weights in a file, by default the one that was written with this one, in evaluation mode."""
    network = Network()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()
'''
_PREPROCESS = '''

def preprocess(pictures: Tensor) -> Tensor:
    """uint8 pictures (N, C, H, W), from 0 to WHITE, as the network takes them."""
    scale, shift = (torch.tensor(values, dtype=torch.float32, device=pictures.device).view(-1, 1, 1) for values in (SCALE, SHIFT))
    return torch.addcmul(shift, pictures.float(), scale)
'''


def files(out: Path) -> list[Path]:
    name = out.with_suffix("").name
    if out.suffix.lower() == ".py" or not name.isidentifier() or keyword.iskeyword(name):
        raise UserError(
            f"--out: expected a name such as model.pt, beside which a module model.py can lie, got {shortened(out.name, 80)}"
        )
    source = out.with_suffix(".py")
    if os.path.lexists(source) and not (source.is_file() and _is_ours(source)):
        raise UserError(f"{shortened(source, 150)} would be overwritten, and was not written by spiketrain: choose another --out")
    return [out, source]


def _is_ours(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_MARK)) == _MARK.encode()
    except OSError:
        return False


def write(model: Model, out: Path, options: dict[str, Any]) -> list[str]:
    text = _text(model, out)
    weights = {name: tensor.detach().cpu() for name, tensor in model.network.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    out.write_bytes(buffer.getbuffer())
    out.with_suffix(".py").write_text(text, encoding="utf-8")
    return [f"{out.with_suffix('.py').name} rebuilds the network; it needs torch and spikeops, not spiketrain"]


def scores(model: Model, out: Path, inputs: Tensor, options: dict[str, Any]) -> Tensor:
    module = _run(out.with_suffix(".py"))
    try:
        network = module.load(out).to(model.device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(shortened(f"the network cannot be rebuilt from source ({error}): export it as pt2")) from None
    if inputs.dtype is torch.uint8:
        inputs = module.preprocess(inputs)
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(model.config.seed)  # as `Model`
        return network(inputs)


def _text(model: Model, out: Path) -> str:
    source = model.method.source()
    if source is None:
        named = f"network.model {shortened(network, 80)}" if (network := model.config.network.model) else f"networks of {model.config.method.name}"
        raise UserError(f"there is no source of {named} that needs torch and spikeops alone: export it as pt2, which can")
    takes_pictures = model.white is not None
    shape = ", ".join(map(str, ("N", *model.input_shape) if not model.batch_axis else (model.time_steps, "N", *model.input_shape)))
    head = _HEAD.format(
        module=out.with_suffix("").name,
        example=f"{out.with_suffix('').name}.preprocess(pictures)" if takes_pictures else "inputs",
        inputs=f"It takes ({shape}) of float32: {'what `preprocess` makes of uint8 pictures' if takes_pictures else 'as the batches of its data set'}.",
    )
    constants = {
        "WEIGHTS": out.name,
        "PRESET": model.preset,
        "EPOCH": model.epoch,
        "VERSIONS": model.versions,
        "CLASS_NAMES": model.class_names,
        "INPUT_SHAPE": model.input_shape,
        "TIME_STEPS": model.time_steps,
    }
    if takes_pictures:
        preprocessing = model.description["preprocessing"]
        constants |= {"WHITE": model.white, "SCALE": preprocessing["scale"], "SHIFT": preprocessing["shift"]}
    lines = "".join(f"{name} = {value!r}\n" for name, value in constants.items())
    return f"{head}{lines}\n\n{source.text()}{_PREPROCESS if takes_pictures else ''}{_LOAD}"


def _run(path: Path) -> ModuleType:
    """The module that was just written."""
    spec = importlib.util.spec_from_file_location(f"spiketrain_exported_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module
