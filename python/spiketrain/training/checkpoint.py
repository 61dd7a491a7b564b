"""Checkpoints: everything a run needs to go on as if it had never stopped, in one file that is whole or absent.

A checkpoint is an ordinary ``torch.save`` archive of tensors, containers and numbers, so that
``torch.load(path, weights_only=True)`` reads it. Its checksums are verified before it is trusted.
"""

from __future__ import annotations

import io
import random
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spikeops
from spiketrain.errors import UserError, shortened, shown
from spiketrain.files import write_atomically

FORMAT = 1
# Since the first checkpoints there are also "position", of a checkpoint from within an epoch, and "processes", what every process
# but the main one has of its own; where they are missing there is none. And "model": what the network must know of its data to be used
# without them (`Dataset.description`), the preset, the versions that wrote it; where it is missing, it is found from the configuration.
FIELDS = {"format", "config", "epoch", "step", "method", "random", "history"}
_LARGEST = 2**53  # whole numbers up to it are floats


def save(path: Path, content: dict[str, Any]) -> None:
    """Write `content` (the keys of `FIELDS` but the format) in the place of `path`, atomically."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        UserError: it is missing, truncated, damaged, of another format, or its parts are not what those of a checkpoint are.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint {path}")
    try:
        check_archive(path, is_archive=True)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive can raise almost anything
        reason = shortened(str(error).strip().split("\n")[0], 150)
        raise UserError(
            f"checkpoint {path} is damaged or truncated ({reason}). Nothing was changed; restore the file or train again"
        ) from None
    version = content.get("format") if isinstance(content, dict) else None
    if type(version) is not int or version != FORMAT or not content.keys() >= FIELDS:
        raise UserError(f"{path} is no spiketrain checkpoint of format {FORMAT}")
    try:
        _check(content)
    except Exception as error:  # what lies in a foreign file can raise anything where it is looked at
        raise UserError(f"checkpoint {path} is not one that a run has written: {error}. Nothing was changed") from None
    return content


def check_archive(path: Path, is_archive: bool = False) -> None:
    """Check the checksums of a file of ``torch.save``, which PyTorch's reader skips: a flipped bit in a weight would go unnoticed.

    Args:
        is_archive: whether it has to be an archive; files of PyTorch before 1.6 are none and have no checksums

    Raises:
        ValueError, OSError, zipfile.BadZipFile: it is damaged.
    """
    if not (is_archive or zipfile.is_zipfile(path)):
        return
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is compressed, which no checkpoint is")
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f"checksum of {damaged} does not match")


def _check(content: dict[str, Any]) -> None:
    """Whether the parts that do not depend on the method are what a run writes.

    Raises:
        ValueError: one is not; the message names it.
    """
    kinds = {"config": dict, "epoch": int, "step": int, "method": dict, "random": dict, "history": list}
    for name, kind in kinds.items():
        if type(content[name]) not in (kind, OrderedDict if kind is dict else kind):
            raise ValueError(f"{name} is {shown(content[name])}")
    epoch, history = content["epoch"], content["history"]
    if epoch < 0 or content["step"] < 0:
        raise ValueError("epoch or step is negative")
    if len(history) != epoch:
        raise ValueError(f"epoch is {epoch}, the history has {len(history)}")
    for number, row in enumerate(history, start=1):
        if not isinstance(row, dict) or type(row.get("epoch")) is not int or row["epoch"] != number:
            raise ValueError(f"row {number} of the history is not that of epoch {number}")
        for name, value in row.items():
            if not isinstance(name, str) or type(value) not in (int, float) or not _can_be_measured(name, value):
                raise ValueError(f"row {number} of the history has {shown(value)} as {shown(name)}")
        if not row.keys() >= {"train_loss", "learning_rate", "train_seconds"} or not row.keys() & {"validation_seconds", "test_seconds"}:
            raise ValueError(f"row {number} of the history lacks columns")
    for name, kind in (("position", dict), ("processes", list), ("model", dict)):
        if not isinstance(content.get(name), (kind, type(None))):
            raise ValueError(f"{name} is {shown(content[name])}")


def _can_be_measured(name: str, value: float) -> bool:
    """Whether a column may have this number: what methods count and lose may be anything that is a float, of seconds tables make times."""
    if name in ("train_seconds", "validation_seconds", "test_seconds"):
        return 0 <= value <= _LARGEST
    return isinstance(value, float) or abs(value) <= _LARGEST


def versions() -> dict[str, str]:
    """The versions of what writes a checkpoint."""
    return {"spiketrain": spikeops.__version__, "spikeops": spikeops.__version__, "torch": str(torch.__version__)}


def random_state(generator: torch.Generator) -> dict[str, Any]:
    """State of every random number generator a run can touch, and of the one that shuffles the data."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "python": [version, list(words), gauss],
        "batches": generator.get_state(),
    }


def restore_random_state(state: dict[str, Any], generator: torch.Generator) -> None:
    """The inverse of `random_state`.

    Raises:
        ValueError, TypeError, RuntimeError, KeyError: it is no such state.
    """
    words = state["numpy"][0]
    if not isinstance(words, torch.Tensor) or words.dtype != torch.int64:
        raise ValueError("the random numbers of NumPy are none")
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    generator.set_state(state["batches"])


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
