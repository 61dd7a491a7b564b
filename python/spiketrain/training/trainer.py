"""The loop that all methods share: epochs of training and testing, checkpoints, metrics, pictures."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiketrain import data, distributed, methods, plugins
from spiketrain.config import Config
from spiketrain.data.base import Batches, Dataset
from spiketrain.data.tasks import CLASSIFICATION
from spiketrain.errors import UserError, shortened
from spiketrain.methods.base.method import Method
from spiketrain.reports import confusion, plots
from spiketrain.reports.console import Console
from spiketrain.training import checkpoint, devices, pipeline, sessions, state
from spiketrain.training.events import Events
from spiketrain.training.interrupt import Stopped
from spiketrain.training.progress import EpochProgress
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
        self.device = devices.pick(config.trainer.device)
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
        self._run: RunDirectory | None = None
        self.saved_steps = 0  # training steps after the last complete epoch that the last checkpoint holds
        self._saved = 0.0  # when the last checkpoint was written, on the clock of time.monotonic
        self._progress: EpochProgress | None = None  # of the epoch that is being trained
        self._position: dict[str, Any] | None = None  # within an epoch, from where to go on
        self._confusion: Tensor | None = None  # of the latest test
        self._best_confusion: Tensor | None = None  # of the best epoch, if that was trained by this process
        self._changed = True  # whether the configuration is not that of the checkpoint
        self._part_from_other_processes()

    def restore(self, content: dict[str, Any]) -> None:
        """Go back to the state of a checkpoint, within an epoch if it was saved there.

        Raises:
            UserError: the checkpoint belongs to another network, method or data set, or holds what no run has written.
        """
        with state.fitting():
            state.check_history(content["history"], self.task)
            state.load_method(self.method, content["method"])
            is_own = state.restore_process(content, self.method.network, self.shuffling)
            self._position = state.position_of(content)
            if self._position is not None:  # tried out here, before anything is written
                self._begun(self._position)
        self.epoch, self.step, self.history = content["epoch"], content["step"], content["history"]
        self.saved_steps = self._position["steps"] if self._position is not None else 0
        self._changed = content["config"] != self.config.to_dict()
        if len(set(distributed.gather((self.epoch, self.step, self.saved_steps)))) > 1:
            raise UserError("the processes have read different checkpoints: another run of the same directory has just ended")
        if not is_own:
            self._part_from_other_processes()

    def write(self, run: RunDirectory) -> None:
        """Write a run as it is, before any training: to be looked at, or to be trained."""
        run.lock()
        try:
            run.begin(self._content(), self.config, is_best=True)
        finally:
            run.release()

    def fit(self, run: RunDirectory, check: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Train until `trainer.epochs` epochs are complete and return the metrics of the best one.

        The first checkpoint is written before the first step, so a run can be resumed from any moment on. `check` is called
        between two steps and may raise to stop. The run directory is locked until the end.
        """
        self._check, self._run = check, run
        is_main = distributed.is_main()
        if is_main:
            run.lock()
        try:
            content = self._content()
            if is_main:
                run.clean()
                if self._changed:
                    run.begin(content, self.config)
                run.write_config(self.config)
                run.write_metrics(self.history)
                run.add_session(sessions.of_this_process(self.epoch, self.saved_steps, self.device))
            best = self._fit(run, is_main)
        finally:
            if is_main:
                run.release()
        distributed.gather(None)  # no process leaves before the main one has written everything
        return best

    def _fit(self, run: RunDirectory, is_main: bool) -> dict[str, float]:
        events = Events(run.path, self.epoch + 1, self.console) if is_main else None
        parameters = sum(p.numel() for p in self.method.network.parameters())
        train, test = len(self.dataset.train), len(self.dataset.test)
        self.console.say(
            f"{self.config.preset}: {self.dataset.name}, {train} training and {test} test samples, {parameters} weights; {devices.described(self.device)}"
        )
        self.console.say(f"run directory {run.path}")
        self.console.header(self.task)
        self._saved = time.monotonic()
        try:
            with self._stages():
                while self.epoch < self.config.trainer.epochs:
                    metrics = self._run_epoch(self.epoch + 1)
                    self.epoch += 1
                    self.history.append(metrics)
                    is_best = self.best is metrics
                    if is_best:
                        self._best_confusion = self._confusion
                    self._save(is_best)
                    if is_main:
                        self.console.row(metrics, is_best)
                        events.add(metrics, self.epoch)
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
        classes = self.dataset.classes if self.task is CLASSIFICATION else 0
        counts = torch.zeros(classes, classes + 1, dtype=torch.int64, device=self.device)
        with undisturbed(self.method, self.config.seed, self.device):
            for inputs, labels in self._track(self.dataset.test, "testing", None, self.config.trainer.eval_batch_size):
                if len(labels):
                    scores = self.method.scores(inputs)
                    tally = tally + self.task.tally(scores, labels)
                    counts += confusion.count(scores, labels, classes) if classes else 0
        distributed.add_up([tally, counts] if classes else [tally])
        self._confusion = counts
        return self.task.figures(tally, len(self.dataset.test))

    def draw_confusion(self, epoch: int, folder: Path, kind: str = "png") -> list[Path]:
        """The confusion matrix of the latest test, where the task has one. Returns its path."""
        if self._confusion is None or not self._confusion.numel():
            return []
        path = folder / f"confusion.{kind}"
        confusion.save_confusion(self._confusion, self.dataset, self.config, epoch, path)
        return [path]

    def _draw(self, run: RunDirectory) -> None:
        """The pictures of the run so far. If they cannot be written, the run is none the worse."""
        if not self.history:
            return
        try:
            plots.save_pictures(self.history, self.method, self.dataset, self.config, run.path)
            self._confusion = self._best_confusion
            self.draw_confusion(self.best["epoch"], run.path)
        except Exception as error:  # a picture is not worth the result, whatever is wrong with it
            self.console.say(f"the pictures could not be drawn: {type(error).__name__}: {shortened(error, 200)}")

    def _run_epoch(self, epoch: int) -> dict[str, float]:
        position, self._position = self._position, None
        progress = EpochProgress(self.device, self.shuffling.get_state())
        if position is None and epoch == 1 and self.task.measures_untrained:
            figures = self.test_figures()
            progress.untrained = {f"untrained_{name}": value for name, value in figures.items()}
            self.console.say(f"before training: test {self.task.title} {self.task.show(figures[self.task.name])}")
        learning_rate = self.method.start_epoch(epoch)
        if position is not None:
            progress = self._begun(position)
            self.console.say(f"going on in epoch {epoch} after {progress.steps} steps")
        size, count = self.config.trainer.batch_size, len(self.dataset.train)
        self._progress = progress
        train = self._track(self.dataset.train, f"epoch {epoch}", self.shuffling, size, progress.note, skip=progress.steps)
        for inputs, labels in train:
            progress.add(self.method.training_step(inputs, labels, batch_size=min(size, count - progress.steps * size)))
            progress.steps += 1
        self._progress = None
        late = self.method.drain()
        if late is not None:
            progress.add(late)
        distributed.add_up(progress.tensors())
        self.step += progress.steps
        mean_loss = progress.mean_loss()
        if not math.isfinite(mean_loss):
            raise UserError(
                f"the loss became {mean_loss} in epoch {epoch}; the checkpoints of epoch {self.epoch} are intact. Try a lower optimizer.lr"
            )
        measured = self.method.finish_epoch()
        train_seconds = progress.seconds()
        started = time.perf_counter()
        figures = self.test_figures()
        return {
            "epoch": epoch,
            "train_loss": mean_loss,
            f"train_{self.task.name}": self.task.figures(progress.correct, count)[self.task.name],
            f"test_{self.task.name}": figures[self.task.name],
            "learning_rate": learning_rate,
            "train_seconds": round(train_seconds, 3),
            "test_seconds": round(time.perf_counter() - started, 3),
            **progress.of_layers(count),
            **measured,
            **{f"test_{name}": value for name, value in figures.items()},
            **progress.untrained,
        }

    def _begun(self, position: dict[str, Any]) -> EpochProgress:
        """The progress of an epoch that was begun before, up to a position within it."""
        progress = EpochProgress(self.device, self.shuffling.get_state())
        progress.restore(position, position["process"]["sums"])
        self.method.load_epoch_state(position["process"]["method"])
        return progress

    def _part_from_other_processes(self) -> None:
        """Let every process but the main one draw its own dropout masks: up to here all have the same random numbers."""
        if not distributed.is_main():
            torch.manual_seed(hash((self.config.seed, self.epoch, distributed.rank())))

    def _track(self, split, title: str, generator: torch.Generator | None, batch_size: int, note=lambda: "", skip: int = 0):
        batches = Batches(split, batch_size, generator, distributed.rank(), distributed.world_size())
        for number, batch in enumerate(self.console.track(batches, len(batches), title, note)):
            if number >= skip:  # the augmentation draws for those that are left out, too
                self._between_steps()
                yield batch

    def _between_steps(self) -> None:
        """Stop here if that was asked for, and save the place if `trainer.checkpoint_minutes` says so."""
        asked = None
        try:
            self._check()
        except KeyboardInterrupt as error:
            asked = error
        if minutes := self.config.trainer.checkpoint_minutes:
            due = time.monotonic() - self._saved > 60 * minutes
            stops, due = distributed.any_of([asked is not None, due], self.device)
            if self._progress is not None and self._progress.steps and (stops or due):
                self._save(is_best=False)
            if stops and asked is None:  # another process was asked
                asked = Stopped()
        if asked is not None:
            raise asked

    def _save(self, is_best: bool) -> None:
        """Write a checkpoint, of the place within the epoch if one is under way."""
        content = self._content()
        if distributed.is_main():
            self._run.save(content, is_best)
        self.saved_steps = self._progress.steps if self._progress is not None else 0
        self._saved = time.monotonic()

    def _content(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "method": self.method.state_dict(),
            "history": self.history,
            "model": {"preset": self.config.preset, "versions": checkpoint.versions(), **self.dataset.description()},
            **state.of_processes(self.method, self.shuffling, self._progress, self._position),
        }


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
    cls = methods.get(config.method.name)
    try:
        method = cls(config, dataset.input_shape, dataset.classes, device)
        method.scores(first_batch(dataset, 1)[0])
    except (ValueError, TypeError, IndexError, RuntimeError, MemoryError, OverflowError, ZeroDivisionError) as error:
        raise UserError(f"cannot build the network: {shortened(str(error) or type(error).__name__, 250)}") from None
    except UserError as error:
        raise UserError(shortened(error)) from None
    except Exception as error:
        if cls.__module__.startswith("spiketrain."):
            raise
        raise UserError(f"method {shortened(config.method.name, 80)}: {plugins.described(error)}") from error
    return method


def first_batch(dataset: Dataset, size: int) -> tuple[Tensor, Tensor]:
    """The first training samples as they are, for measurements and pictures."""
    return next(iter(Batches(dataset.train, size)))
