"""A trained network as an ordinary module that needs no data set."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spiketrain import methods
from spiketrain.config import Config
from spiketrain.data import described, samples
from spiketrain.data.base import Batches, Dataset, ImageSplit, normalize
from spiketrain.data.tasks import CLASSIFICATION
from spiketrain.deployment.predictions import Predictions
from spiketrain.errors import UserError, shortened
from spiketrain.methods.base.method import Method
from spiketrain.training import checkpoint, devices, state
from spiketrain.training.changes import config_to_look
from spiketrain.training.parts import build_method
from spiketrain.training.run_directory import RunDirectory


class Model(nn.Module):
    """A trained network with its preprocessing, in evaluation mode, as `load` makes one.

    Called with uint8 pictures (N, C, H, W), brightness from 0 to `white` as in the data set, it normalises them as training did; floating
    tensors are taken for what comes out of that (`preprocess`), events (T, N, C, H, W) as the data set's batches hold them. It returns
    scores (N, outputs): those of `spiketrain eval`, bit for bit on the same device, batch and number of threads. They have gradients where
    gradients are on.

    Weights that training restricts in norm (the feedback of ide and spide) are fixed as the first batch of `spiketrain eval` has them.

    Attributes:
        network: the layers
        config: of the run
        method: how it was trained, and what computes its scores
        class_names: a name for each output: the data set's, or numbers
        input_shape: (C, H, W) of a picture or of a time step
        white: the largest brightness of uint8 pictures; None where the network takes none
        time_steps: T
        preset, versions, epoch: of the checkpoint
        notes: what the checkpoint did not hold and where it was found, a line each
    """

    def __init__(self, method: Method, dataset: Dataset, content: dict[str, Any], notes: Iterable[str] = ()) -> None:
        super().__init__()
        self.network = method.network
        self.config: Config = method.config
        self.method = method
        self._dataset = dataset
        self.description = dataset.description()
        self.input_shape = tuple(dataset.input_shape)
        self.time_steps = self.config.network.time_steps
        model = content.get("model") or {}
        self.preset, self.epoch = self.config.preset, content["epoch"]
        versions = model.get("versions")
        given = versions.items() if isinstance(versions, dict) else ()
        self.versions = {name: version for name, version in given if isinstance(name, str) and isinstance(version, str)}
        self.notes = list(notes)
        split = dataset.test
        self.white = split.white if isinstance(split, ImageSplit) else None
        self.register_buffer("scale", split.scale if isinstance(split, ImageSplit) else None, persistent=False)
        self.register_buffer("shift", split.shift if isinstance(split, ImageSplit) else None, persistent=False)
        blank = split.batch(torch.zeros(1, dtype=torch.int64, device=self.device))
        self.batch_axis = blank.dim() - len(self.input_shape) - 1  # of the samples: 1 behind that of time
        self._steps = tuple(blank.shape[: self.batch_axis])
        self.eval()
        self._fix_restricted_weights()
        with torch.inference_mode():
            outputs = self(blank).shape[1]
        names = list(dataset.class_names or map(str, range(dataset.classes)))
        self.class_names = (*names, *(f"output {i} (no class)" for i in range(len(names), outputs)))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((tensor.device for tensor in (*self.network.parameters(), *self.network.buffers())), torch.device("cpu"))

    @property
    def is_classifier(self) -> bool:
        """Whether outputs are classes, not real numbers."""
        return self._dataset.task is CLASSIFICATION

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.dtype is torch.uint8:
            inputs = self.preprocess(inputs)
        self._check(inputs)
        if self.training or torch.compiler.is_compiling() or torch.compiler.is_exporting():
            return self.method.inference(inputs)  # in training dropout has to draw anew each time
        # A network with noise draws the same each time, and what `spiketrain eval` draws for its first batch.
        with torch.random.fork_rng([inputs.device] if inputs.is_cuda else []):
            torch.manual_seed(self.config.seed)
            return self.method.inference(inputs)

    def preprocess(self, pictures: Tensor) -> Tensor:
        """uint8 pictures (N, C, H, W) as the network takes them, float32.

        Raises:
            TypeError: they are not uint8, or the network takes no pictures.
            ValueError: they have another shape, or are brighter than `white`.
        """
        if self.white is None:
            raise TypeError(f"this network takes {self._wanted()}, no uint8 pictures")
        if pictures.dtype is not torch.uint8:
            raise TypeError(f"expected uint8 pictures from 0 to {self.white}, got {pictures.dtype}")
        self._check(pictures)
        if self.white < 255 and not torch.compiler.is_compiling() and pictures.numel() and pictures.max() > self.white:
            raise ValueError(f"expected pictures from 0 (black) to {self.white} (white), as in the data set, got {pictures.max().item()}")
        return normalize(pictures, self.scale, self.shift)

    def predict(
        self,
        what: Tensor | str | Path | Iterable[str | Path],
        *,
        resize: bool = False,
        batch_size: int | None = None,
        progress: Callable[[int, int], object] = lambda done, of: None,
    ) -> Predictions:
        """The scores of tensors, files, or all files in a folder, in evaluation mode.

        Args:
            what: as `forward` takes it; or pictures or recordings of the kinds that `spiketrain.data.samples` lists
            resize: bring pictures of another size to that of the network's
            batch_size: how many are computed at once; default trainer.eval_batch_size of the run
            progress: called now and then with the number of samples, or files, that are done, and of all

        Raises:
            UserError: a file that is no such file; scores that are not finite.
        """
        size, device = batch_size or self.config.trainer.eval_batch_size, self.device
        names: list[str] = []
        scores: list[Tensor] = []
        done: Counter[str] = Counter()
        if isinstance(what, Tensor):
            self._check(what)
            total = what.shape[self.batch_axis]
            pieces: Iterable[tuple[list[str], Iterable[Tensor]]] = [(list(map(str, range(total))), what.split(size, self.batch_axis))]
        else:
            files = samples.found(self.description, [what] if isinstance(what, (str, Path)) else what)
            total, pieces = len(files), self._read(files, size, resize, done)
        with torch.no_grad(), _evaluating(self):
            for of_piece, batches in pieces:
                names += of_piece
                for batch in batches:
                    scores.append(self(batch.to(device)).cpu())
                    progress(min(len(scores) * size, total), total)
        together = torch.cat(scores) if scores else torch.zeros(0, len(self.class_names))
        finite = together.isfinite().all(1)
        if not finite.all():
            raise UserError(f"the network's scores of {shortened(names[int(finite.int().argmin())], 150)} are not finite: its weights are no use")
        return Predictions(names, together, self.class_names, [f"{count} of {total} {what}" for what, count in done.items()])

    def _read(self, files: list[Path], size: int, resize: bool, done: Counter[str]) -> Iterator[tuple[list[str], Iterable[Tensor]]]:
        """The samples of so many files at a time: their names, and batches. `done` counts what was done to them."""
        for start in range(0, len(files), size):
            read = samples.read(self.description, files[start : start + size], resize)
            done.update(read.done)
            yield read.names, (batch for batch, _ in Batches(read.split, size))

    def examples(self, count: int, seed: int = 0) -> Tensor:
        """So many drawn inputs of the network's kind, for measurements and comparisons: noise, of which half the pictures are smooth.

        Returns:
            uint8 pictures, or floating tensors where the network takes no pictures.
        """
        generator = torch.Generator().manual_seed(seed)
        if self.white is not None:
            channels, height, width = self.input_shape
            fine = torch.rand(count, channels, height, width, generator=generator)
            coarse = torch.rand(count, channels, *(max(2, side // 4) for side in (height, width)), generator=generator)
            smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
            pictures = torch.where((torch.arange(count) % 2 == 0).view(-1, 1, 1, 1), smooth, fine)
            return (pictures * (self.white + 1)).clamp_max(self.white).to(torch.uint8)
        shape = [*self._steps, count, *self.input_shape]
        if self.batch_axis:  # events: samples of one event in ten places and more or fewer
            share = torch.linspace(0.02, 0.3, count).view(-1, *[1] * len(self.input_shape))
            return (torch.rand(shape, generator=generator) < share).float()
        return 2 * torch.rand(shape, generator=generator) - 1

    def extra_repr(self) -> str:
        return f"{self.preset}, {self.config.method.name}, epoch {self.epoch}, takes {self._wanted()}"

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        self.method.device = self.device
        return self

    def _wanted(self) -> str:
        kind = (self.description["preprocessing"] or {"kind": "inputs"})["kind"]
        return f"{kind} ({', '.join(map(str, (*self._steps, 'N', *self.input_shape)))})"

    def _check(self, inputs: Tensor) -> None:
        shape, axis = tuple(inputs.shape), self.batch_axis
        if len(shape) <= axis or shape[:axis] != self._steps or shape[axis + 1 :] != self.input_shape:
            raise ValueError(f"expected {self._wanted()}, got shape {shape}")
        if not (inputs.is_floating_point() or (inputs.dtype is torch.uint8 and self.white is not None)):
            raise TypeError(f"expected floating point{'' if self.white is None else ' or uint8'}, got {inputs.dtype}")

    def _fix_restricted_weights(self) -> None:
        with torch.no_grad(), torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.config.seed)
            for module in list(self.network.modules()):
                for name in list(getattr(module, "parametrizations", {})):
                    parametrize.remove_parametrizations(module, name)


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, all modules are in evaluation mode; afterwards each as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def load(run: str | Path, *, device: str | None = None, options: Iterable[str] = ()) -> Model:
    """The network of a run with its best weights, as an `nn.Module` that needs neither the data set nor the trainer.

    Args:
        run: run directory, or one of its checkpoints
        device: cpu, cuda, cuda:N, or auto; default what the run's configuration names, or the CPU where it names none or there is no GPU
        options: fields of the configuration, as the command line takes them: ``["--trainer.precision", "float32"]``

    Raises:
        UserError: there is none, it is damaged, or of an older version and its data set is needed and not there.

    Example::

        model = spiketrain.load("runs/bptt-mnist-cnn-1")
        scores = model(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))
        model.predict("digits/").labels
    """
    return _load(run, list(options), device, sets_threads=False)


def load_in_own_process(run: str | Path, options: list[str], device: str | None = None) -> Model:
    """The same for a command, whose process computes with as many threads as the configuration says, as `spiketrain eval`."""
    return _load(run, options, device, sets_threads=True)


def _load(run: str | Path, options: list[str], device: str | None, sets_threads: bool) -> Model:
    content = _content(Path(os.path.expanduser(run)))
    config, notes = config_to_look(content, options)
    if sets_threads and config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    description, found = _description(content, config)
    asked = device is not None or any(word.partition("=")[0] == "--trainer.device" for word in options)
    if not asked and config.trainer.device.startswith("cuda") and not torch.cuda.is_available():
        notes.append(f"the run was trained on {config.trainer.device}, and this PyTorch sees no CUDA device: the CPU computes")
        device = "cpu"
    if not asked and config.trainer.device == devices.AUTO and not sets_threads:
        device = "cpu"  # a program puts its modules where it wants them
    config.trainer.device = device or config.trainer.device
    place = devices.pick(config.trainer.device)
    with state.fitting():
        dataset = described.stand_in(description)
    dataset.train = dataset.test = dataset.test.to(place)
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(config.seed)
        method = build_method(config, dataset, place)
        with state.fitting():
            state.load_method(method, content["method"])
    return Model(method, dataset, content, [*notes, *found])


def _content(path: Path) -> dict[str, Any]:
    return checkpoint.load(path) if path.is_file() else RunDirectory.open(path).load_best()


def _description(content: dict[str, Any], config: Config) -> tuple[dict[str, Any], list[str]]:
    """What the network must know of its data, and a note where that was not in the checkpoint."""
    model = content.get("model")
    if model is None:
        note = "the checkpoint is of an older version: class names, input shape and normalisation are not in it, and follow from the configuration"
        return described.of_config(config), [note]
    trained, now = methods.load_config(content["config"]), config
    is_recut = trained.network.time_steps != now.network.time_steps and (model.get("preprocessing") or {}).get("kind") != "pictures"
    if is_recut or replace(trained.data, root=None, download=False) != replace(now.data, root=None, download=False):
        return described.of_config(config), []
    return model, []
