"""A trained network in a file of another format: written beside its place, read again, compared with the run, and only then put there."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiketrain.data import samples
from spiketrain.data.base import Batches, ImageSplit
from spiketrain.deployment import agreement, formats
from spiketrain.deployment.agreement import Agreement
from spiketrain.deployment.model import Model
from spiketrain.errors import UserError, shortened, unknown_name
from spiketrain.files import TEMPORARY_PREFIX, named_to_be_written, sync_folder
from spiketrain.training.run_directory import OWN_FILES

EXAMPLES = 64
LARGEST_BATCH = 2**24  # numbers


@dataclass
class Export:
    """What was written.

    Attributes:
        files: that there are now
        agreement: of their scores with those of the run
        notes: what to know of them, a line each
    """

    files: list[Path]
    agreement: Agreement
    notes: list[str]


def export(
    model: Model, format: str, out: str | Path, *, check: Iterable[str | Path] = (), dialect: str = "nir", dt: float = 1e-4, resize: bool = False
) -> Export:
    """Write a network in another format, checked against its own scores. Files that are there already are replaced at once, or not at all.

    Args:
        model: of `spiketrain.load`
        format: state_dict, pt2, onnx or nir (docs/deploy.md)
        out: the file; state_dict writes a second one beside it, which ends in .py
        check: pictures or recordings to compare scores of; default inputs that are drawn
        dialect, dt: of NIR (docs/nir.md)
        resize: as `Model.predict`, for what is compared

    Raises:
        UserError: the format cannot express the network, a package is missing, the scores are not those of the run, or the file cannot be
            written. Nothing is left behind, nothing was changed.
    """
    if format not in formats.NAMES:
        raise unknown_name("format", format, formats.NAMES)
    out, writer = named_to_be_written(out), formats.get(format)
    if model.config.trainer.precision != "float32":
        raise UserError(f"the run computes in {model.config.trainer.precision}: to export it in float32 add --trainer.precision float32")
    if format != "state_dict" and model.method.is_random:
        raise UserError(f"the network draws random numbers (method.sigma_v), which {format} cannot express: export a state_dict, which can")
    if not out.parent.is_dir():
        raise UserError(f"cannot write {shortened(out, 150)}: there is no such folder")
    places = writer.files(out)
    for place in places:
        if place.name in OWN_FILES:
            raise UserError(f"cannot write {shortened(place, 150)}: a run keeps its own file by that name; take another")
    model = copy.deepcopy(model).cpu()  # lest a program be one for a GPU alone
    options = {"dialect": dialect, "dt": dt}
    inputs = _inputs(model, check, resize)  # before a converter takes its minutes
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{os.getpid()}@", dir=out.parent))
    except OSError as error:
        raise UserError(shortened(f"cannot write to {out.parent}: {error}")) from None
    try:
        notes = writer.write(model, folder / out.name, options)
        found = _compared(model, writer, folder / out.name, inputs, options)
        for place in places:
            os.chmod(folder / place.name, 0o666 & ~_umask())
            with open(folder / place.name, "rb") as file:
                os.fsync(file.fileno())
        for place in reversed(places):  # the one that was asked for comes last
            os.replace(folder / place.name, place)
        sync_folder(out.parent)
    except OSError as error:
        raise UserError(shortened(f"cannot write {shortened(out, 150)}: {error}")) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Export(places, found, notes)


def _inputs(model: Model, check: Iterable[str | Path], resize: bool) -> Tensor:
    """What is compared: of a network of pictures uint8, else as batches are."""
    paths = list(check)
    if not paths:
        size = model.examples(1).numel()
        inputs = model.examples(max(2, min(EXAMPLES, LARGEST_BATCH // size)))
    else:
        split = samples.read(model.description, samples.found(model.description, paths), resize).split
        inputs = split.images if isinstance(split, ImageSplit) else next(iter(Batches(split, EXAMPLES)))[0]
    inputs = inputs.to(model.device)
    with torch.no_grad():
        scores = model(inputs)
    if not paths and bool((scores == scores[:1]).all()):
        raise UserError(
            "the network's scores are the same for all inputs that are drawn to compare the export with, which would tell nothing: name some "
            "that it knows, with --check FILE ..."
        )
    return inputs


def _compared(model: Model, writer: formats.Format, path: Path, inputs: Tensor, options: dict[str, Any]) -> Agreement:
    """Of a batch, and of its first sample alone: exports take batches of any size.

    Raises:
        UserError: the scores are not those of the run.
    """
    one = inputs.narrow(model.batch_axis, 0, 1)
    with torch.no_grad():
        wanted = model(inputs)
        found = writer.scores(model, path, inputs, options).to(wanted.device)
        whole = agreement.compare(wanted, found)
        agreement.check(whole, writer.IS_EXACT)
        alone = agreement.compare(model(one), writer.scores(model, path, one, options).to(wanted.device))
        if alone.flipped:  # unless rounding has changed a spike of this very sample, as in the batch
            alone = agreement.compare(found[:1], writer.scores(model, path, one, options).to(wanted.device))
        agreement.check(alone, is_exact=False)
    return whole


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
