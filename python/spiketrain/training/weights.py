"""The weights that a run begins with when it is not to draw them: of a run directory, of a checkpoint, or of a published file."""

from __future__ import annotations

import argparse
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiketrain.errors import UserError, shortened, shown
from spiketrain.methods.base.method import Method
from spiketrain.methods.base.published import PublishedWeights, Source
from spiketrain.training import checkpoint

# Beside tensors and plain containers, checkpoints often hold the options of a script and accuracies that numpy has computed.
_SCALAR = np.float64(0).__reduce__()[0]
_HARMLESS = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(name)) for name in ("float16", "float32", "float64", "int32", "int64", "bool")},
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
]
_WRAPPERS = ("state_dict", "net", "model", "model_state_dict", "network")
_PARALLEL = "module."  # what DataParallel puts before every name


def load_weights(method: Method, path: str | Path) -> str | None:
    """Set the network of a method to weights from a run directory (its best epoch), one of our checkpoints, or a published file.

    Returns:
        A line on what else the file holds, such as an optimiser's momenta, none of which is taken over; None if nothing.

    Raises:
        UserError: there are none, or they do not fit the network. The message says which; nothing was changed.
    """
    try:
        weights, others = _fitting(method, Path(path))
        method.network.load_state_dict(weights)
    except UserError as error:
        raise UserError(shortened(f"weights of {shortened(path, 100)}: {error}")) from None
    if not others:
        return None
    names = shortened(", ".join(sorted(shown(name) for name in others)), 150)
    return f"only weights are taken from {shortened(path, 100)}, not its {names}: training begins at epoch 1 with a fresh optimizer"


def _fitting(method: Method, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The weights as the network takes them, and what beside them is left aside."""
    own = method.network.state_dict()
    if path.is_dir():
        path = next((path / name for name in ("best.ckpt", "last.ckpt") if (path / name).is_file()), path / "last.ckpt")
        content = checkpoint.load(path)
    else:
        content = _read(path)
        if content.keys() >= checkpoint.FIELDS:
            content = checkpoint.load(path)
    if content.keys() >= checkpoint.FIELDS:
        same_names = PublishedWeights({name: Source(name, tuple(tensor.shape)) for name, tensor in own.items()})
        weights = same_names.translate(_tensors(content["method"].get("network")), own)
        return weights, ["epoch", *(name for name in content["method"] if name != "network")] if content["epoch"] else []
    published = method.published_weights()
    if published is None:
        raise UserError(
            f"no published checkpoints of the method {method.config.method.name} are known; expected a run of spiketrain"
        )
    tensors, others = _without_wrappers(content)
    return published.translate(tensors, own), others


def _read(path: Path) -> dict[str, Any]:
    """A file of ``torch.save``, read onto the CPU without running anything that it names."""
    if not path.is_file():
        raise UserError("there is no such file or run directory")
    try:
        checkpoint.check_archive(path)
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of strange tensors, which are refused by name
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can raise almost anything
        if found := re.search(r"GLOBAL ([\w.]+)|Trying to (?:call|instantiate)[^'`]*['`]?([\w.]+)", str(error)):
            name = found[1] or found[2]
            raise UserError(
                f"it does not only hold weights: it asks for {name}, which is not run. Save the state_dict alone"
            ) from None
        reason = shortened(str(error).strip().split("\n")[0] or type(error).__name__, 120)
        raise UserError(f"it is damaged, or no file of torch.save ({reason})") from None
    if not isinstance(content, (dict, OrderedDict)):
        raise UserError(f"it holds {shown(content)}, expected a dictionary of tensors")
    return content


def _without_wrappers(content: dict[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors by name, out of what scripts wrap around a state_dict, and the names of all that lies beside it."""
    others: list[str] = []
    for _ in range(2):
        name = next((name for name in _WRAPPERS if isinstance(content.get(name), dict)), None)
        others += [] if name is None else [other for other in content if other != name]
        content = content if name is None else content[name]
    tensors = _tensors(content)
    if tensors and all(name.startswith(_PARALLEL) for name in tensors):
        tensors = {name.removeprefix(_PARALLEL): tensor for name, tensor in tensors.items()}
    return tensors, others


def _tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not content:
        raise UserError(f"it holds no weights: expected a dictionary of tensors, or one below {', '.join(_WRAPPERS)}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"it holds no weights: {shown(name)} is {shown(value)}, not a tensor")
    return content
