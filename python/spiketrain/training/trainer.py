"""The loop that all methods share: epochs of training and testing, checkpoints, metrics, pictures."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from spiketrain import data, distributed, methods
from spiketrain.config import Config
from spiketrain.data.base import Batches, Dataset
from spiketrain.errors import UserError
from spiketrain.methods.base.method import LayerResult, Method, StepResult
from spiketrain.reports import plots
from spiketrain.reports.console import Console
from spiketrain.training import checkpoint, pipeline
from spiketrain.training.run_directory import RunDirectory


class Trainer:
    """Trains the method of a configuration on its data set.

    Args:
        config: the run
        console: where to print; by default as `trainer.progress` says

    Building one seeds all random number generators and loads the data, so that nothing is written if that fails.
    """

    def __init__(self, config: Config, console: Console | None = None) -> None:
        self.config = config
        if config.trainer.threads:
            torch.set_num_threads(config.trainer.threads)
        self.device = pick_device(config.trainer.device)
        distributed.start(self.device)
        self.console = console or Console(config.trainer.progress, quiet=not distributed.is_main())
        self.dataset = load_data(config, self.device)
        checkpoint.seed_everything(config.seed)
        self.method = build_method(config, self.dataset, self.device)
        pipeline.check(self.method, config)
        self.shuffling = torch.Generator().manual_seed(config.seed)
        self.epoch = 0  # complete epochs
        self.step = 0  # training steps in them
        self.history: list[dict[str, float]] = []
        self.task = self.dataset.task
        self._check: Callable[[], None] = lambda: None
        self._part_from_other_processes()

    def restore(self, content: dict[str, Any]) -> None:
        """Go back to the state of a checkpoint.

        Raises:
            UserError: the checkpoint belongs to another network or method.
        """
        try:
            self.method.load_state_dict(content["method"])
            checkpoint.restore_random_state(content["random"], self.shuffling)
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise UserError(f"the checkpoint does not fit the configuration: {error}") from None
        self.epoch, self.step, self.history = content["epoch"], content["step"], content["history"]
        self._part_from_other_processes()

    def fit(self, run: RunDirectory, check: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Train until `trainer.epochs` epochs are complete and return the metrics of the best one.

        The first checkpoint is written before the first step, so a run can be resumed from any moment on. `check` is called
        between two steps and may raise to stop.
        """
        self._check = check
        from torch.utils.tensorboard import SummaryWriter

        is_main = distributed.is_main()
        if is_main:
            run.clean()
            if not self.history:
                run.save(self._content(), is_best=False)
            run.write_metrics(self.history)
        events = SummaryWriter(str(run.path), purge_step=self.epoch + 1) if is_main else None
        parameters = sum(p.numel() for p in self.method.network.parameters())
        train, test = len(self.dataset.train), len(self.dataset.test)
        self.console.say(
            f"{self.config.preset}: {self.dataset.name}, {train} training and {test} test samples, {parameters} weights, {self.device}"
        )
        self.console.say(f"run directory {run.path}")
        self.console.header(self.task)
        try:
            with self._stages():
                while self.epoch < self.config.trainer.epochs:
                    metrics = self._run_epoch(self.epoch + 1)
                    self.epoch += 1
                    self.history.append(metrics)
                    is_best = self.best is metrics
                    if is_main:
                        run.save(self._content(), is_best)
                        self.console.row(metrics, is_best)
                        for name in metrics.keys() - {"epoch"}:
                            # train_loss is shown as loss in the group train.
                            tag = name if name == "learning_rate" else name.replace("_", "/", 1)
                            events.add_scalar(tag, metrics[name], self.epoch)
                        events.flush()
        finally:
            if is_main:
                events.close()
                self._draw(run)
        return self.best

    def _stages(self) -> contextlib.AbstractContextManager:
        """The processes of `trainer.pipeline`, if there are any."""
        shape, classes = self.dataset.input_shape, self.dataset.classes
        batch = first_batch(self.dataset, self.config.trainer.batch_size)
        return pipeline.opened(self.method, self.config, shape, classes, batch)

    @property
    def best(self) -> dict[str, float]:
        """Metrics of the epoch with the best test figure, the first one if several have it."""
        return self.task.best(self.history)

    def test_figures(self) -> dict[str, float]:
        """The task's figures of the test samples: the share that the network gets right, or its errors.

        Testing leaves no trace in the method: however often it is done, training goes on alike, and it ends the same way again.
        """
        tally = torch.zeros((), device=self.device)
        with undisturbed(self.method, self.config.seed, self.device):
            for inputs, labels in self._track(self.dataset.test, "testing", None, self.config.trainer.eval_batch_size):
                if len(labels):
                    tally = tally + self.task.tally(self.method.scores(inputs), labels)
        distributed.add_up([tally])
        return self.task.figures(tally, len(self.dataset.test))

    def _draw(self, run: RunDirectory) -> None:
        """The pictures of the run so far. If they cannot be written, the run is none the worse."""
        if not self.history:
            return
        try:
            plots.save_pictures(self.history, self.method, self.dataset, self.config, run.path)
        except OSError as error:
            self.console.say(f"the pictures could not be written: {error}")

    def _run_epoch(self, epoch: int) -> dict[str, float]:
        untrained = {}
        if epoch == 1 and self.task.measures_untrained:
            figures = self.test_figures()
            untrained = {f"untrained_{name}": value for name, value in figures.items()}
            self.console.say(f"before training: test {self.task.title} {self.task.show(figures[self.task.name])}")
        started = time.perf_counter()
        learning_rate = self.method.start_epoch(epoch)
        totals = _Totals(self.device)
        size, count = self.config.trainer.batch_size, len(self.dataset.train)
        for inputs, labels in self._track(self.dataset.train, f"epoch {epoch}", self.shuffling, size, totals.note):
            totals.add(self.method.training_step(inputs, labels, batch_size=min(size, count - totals.steps * size)))
            totals.steps += 1
        late = self.method.drain()
        if late is not None:
            totals.add(late)
        distributed.add_up(totals.tensors())
        self.step += totals.steps
        mean_loss = totals.mean_loss()
        if not math.isfinite(mean_loss):
            raise UserError(
                f"the loss became {mean_loss} in epoch {epoch}; the checkpoints of epoch {self.epoch} are intact. Try a lower optimizer.lr"
            )
        measured = self.method.finish_epoch()
        trained = time.perf_counter()
        figures = self.test_figures()
        return {
            "epoch": epoch,
            "train_loss": mean_loss,
            f"train_{self.task.name}": self.task.figures(totals.correct, count)[self.task.name],
            f"test_{self.task.name}": figures[self.task.name],
            "learning_rate": learning_rate,
            "train_seconds": round(trained - started, 3),
            "test_seconds": round(time.perf_counter() - trained, 3),
            **totals.of_layers(count),
            **measured,
            **{f"test_{name}": value for name, value in figures.items()},
            **untrained,
        }

    def _part_from_other_processes(self) -> None:
        """Let every process but the main one draw its own dropout masks: up to here all have the same random numbers."""
        if not distributed.is_main():
            torch.manual_seed(hash((self.config.seed, self.epoch, distributed.rank())))

    def _track(self, split, title: str, generator: torch.Generator | None, batch_size: int, note=lambda: ""):
        batches = Batches(split, batch_size, generator, distributed.rank(), distributed.world_size())
        for batch in self.console.track(batches, len(batches), title, note):
            self._check()
            yield batch

    def _content(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "method": self.method.state_dict(),
            "random": checkpoint.random_state(self.shuffling),
            "history": self.history,
        }


class _Totals:
    """Sums over the steps of an epoch, kept on the device so that no step waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), device=device)
        self.correct = torch.zeros((), device=device)
        self.layers: dict[str, LayerResult] = {}
        self.steps = 0

    def add(self, result: StepResult) -> None:
        self.loss += result.loss
        self.correct = self.correct + result.correct
        for name, layer in result.layers.items():
            total = self.layers.setdefault(name, LayerResult(torch.zeros_like(layer.loss)))
            total.loss += layer.loss
            if layer.correct is not None:
                total.correct = layer.correct if total.correct is None else total.correct + layer.correct

    def tensors(self) -> list[Tensor]:
        """Everything that several processes have to add up."""
        of_layers = [t for layer in self.layers.values() for t in (layer.loss, layer.correct) if t is not None]
        return [self.loss, self.correct, *of_layers]

    def of_layers(self, samples: int) -> dict[str, float]:
        """``loss_<layer>`` (mean over the steps) and ``error_<layer>`` (share of the samples), as far as reported."""
        metrics = {}
        for name, layer in self.layers.items():
            metrics[f"loss_{name}"] = layer.loss.item() / self.steps
            if layer.correct is not None:
                metrics[f"error_{name}"] = 1 - layer.correct.item() / samples
        return metrics

    def mean_loss(self) -> float:
        return self.loss.item() / max(self.steps, 1)

    def note(self) -> str:
        return f"loss {self.mean_loss():.4g}"


def pick_device(name: str) -> torch.device:
    """The device that `trainer.device` names; with several processes, cuda means one GPU each.

    Raises:
        UserError: no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"trainer.device: expected cpu, cuda or cuda:N, got {name}")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError("trainer.device: this PyTorch sees no CUDA device; use --trainer.device cpu")
        device = torch.device("cuda", distributed.local_rank() if device.index is None else device.index)
        if device.index >= torch.cuda.device_count():
            raise UserError(f"trainer.device: there are {torch.cuda.device_count()} CUDA devices, got {device}")
        torch.cuda.set_device(device)
    return device


@contextlib.contextmanager
def undisturbed(method: Method, seed: int, device: torch.device) -> Iterator[None]:
    """Inside, PyTorch's random numbers begin anew from `seed`; afterwards they, and the network's buffers, are as before."""
    buffers = {name: buffer.clone() for name, buffer in method.network.named_buffers()}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, buffer in method.network.named_buffers():
                    buffer.copy_(buffers[name])


def load_data(config: Config, device: torch.device) -> Dataset:
    """The data set of a run, its tensors on `device`."""
    dataset = data.load(config)
    dataset.train, dataset.test = dataset.train.to(device), dataset.test.to(device)
    return dataset


def build_method(config: Config, dataset: Dataset, device: torch.device) -> Method:
    """The method of a run with fresh weights, tried out on one sample so that wrong options show before anything is written.

    Raises:
        UserError: the options cannot be met, for example a network with fewer outputs than classes.
    """
    try:
        method = methods.get(config.method.name)(config, dataset.input_shape, dataset.classes, device)
        method.scores(first_batch(dataset, 1)[0])
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(f"cannot build the network: {error}") from None
    return method


def first_batch(dataset: Dataset, size: int) -> tuple[Tensor, Tensor]:
    """The first training samples as they are, for measurements and pictures."""
    return next(iter(Batches(dataset.train, size)))
