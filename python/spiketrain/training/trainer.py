"""The loop that all methods share: epochs of training and testing, checkpoints, metrics, pictures."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spiketrain import distributed
from spiketrain.config import Config
from spiketrain.data.base import Batches, Split
from spiketrain.data.tasks import CLASSIFICATION
from spiketrain.distributed import batch_norm
from spiketrain.errors import UserError, shortened
from spiketrain.methods.base.method import Method
from spiketrain.reports import confusion, plots
from spiketrain.reports.console import Console
from spiketrain.training import checkpoint, devices, memory, pipeline, sessions, state
from spiketrain.training.captured_steps import CapturedSteps
from spiketrain.training.events import Events
from spiketrain.training.interrupt import Stopped
from spiketrain.training.parts import build_method, first_batch, load_data
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
        distributed.start()
        distributed.watch(config.trainer.lost_seconds)
        self.console = console or Console(config.trainer.progress, quiet=not distributed.is_main())
        self.dataset = load_data(config, self.device)
        checkpoint.seed_everything(config.seed)
        self.method = build_method(config, self.dataset, self.device)
        pipeline.check(self.method, config)
        self._steps = CapturedSteps(self.method, self.device, config.trainer.cuda_graphs, self.console.say)
        self._check_shares()
        self.shuffling = torch.Generator().manual_seed(config.seed)
        self.epoch = 0  # complete epochs
        self.step = 0  # training steps in them
        self.history: list[dict[str, float]] = []
        self.task = self.dataset.task
        self.judge = "test" if self.dataset.validation is None else "validation"  # by which samples the best epoch is chosen
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
            state.check_history(content["history"], self.task, self.judge)
            state.load_method(self.method, content["method"])
            self._steps.forget()
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
            distributed.note_run(run.path)
            best = self._fit(run, is_main)
        finally:
            if is_main:
                run.release()
        distributed.gather(None)  # no process leaves before the main one has written everything
        return best

    def _fit(self, run: RunDirectory, is_main: bool) -> dict[str, float]:
        events = Events(run.path, self.epoch + 1, self.console) if is_main else None
        parameters = sum(p.numel() for p in self.method.network.parameters())
        kinds = {"training": self.dataset.train, "validation": self.dataset.validation, "test": self.dataset.test}
        *first, last = (f"{len(split)} {kind}" for kind, split in kinds.items() if split is not None)
        self.console.say(
            f"{self.config.preset}: {self.dataset.name}, {', '.join(first)} and {last} samples, {parameters} weights; "
            f"{devices.described(self.device)}"
        )
        self.console.say(f"run directory {run.path}")
        self.console.header(self.task, self.judge)
        self._saved = time.monotonic()
        try:
            with self._stages():
                while self.epoch < self.config.trainer.epochs:
                    metrics = self._run_epoch(self.epoch + 1)
                    self.epoch += 1
                    self.history.append(metrics)
                    is_best = self.best is metrics
                    if is_best and self.judge == "test":
                        self._best_confusion = self._confusion
                    self._save(is_best)
                    if is_main:
                        self.console.row(metrics, is_best)
                        events.add(metrics, self.epoch)
            if self.task.tested(self.best) is None:
                figures = self._test_best(run)
                if is_main:
                    events.add(figures, self.best["epoch"])
        finally:
            if is_main:
                events.close()
                self._draw(run)
        return self.best

    def _test_best(self, run: RunDirectory) -> dict[str, float]:
        """Test the epoch that the validation samples have chosen, write that down in its row, and return it. The method stays as it is.

        Whether it is the last one or not, its weights are those of its checkpoint, as `eval` takes them.
        """
        content, error = None, ""
        if distributed.is_main():
            try:
                content = run.load_best()
            except UserError as refused:
                error = str(refused)
        content, error = distributed.share((content, error))
        if error or content["epoch"] != self.best["epoch"]:
            raise UserError(error or f"best.ckpt is of epoch {content['epoch']}, the best one is {self.best['epoch']}: it cannot be tested")
        latest = copy.deepcopy(self.method.state_dict())
        started = time.perf_counter()
        with undisturbed(self.method, self.config.seed, self.device):
            with state.fitting():
                state.load_method(self.method, content["method"])
            try:
                figures = self.test_figures()
            finally:
                self.method.load_state_dict(latest)
                self._steps.forget()
        self._best_confusion = self._confusion
        row = {f"test_{name}": value for name, value in figures.items()}
        self.best.update(row, **_speed("test", time.perf_counter() - started, len(self.dataset.test)))
        self._save(is_best=False)
        self.console.say(f"epoch {self.best['epoch']}, the best on the validation samples: test {self.task.title} {self.task.show(figures[self.task.name])}")
        return row

    def _stages(self) -> contextlib.AbstractContextManager:
        """The processes of `trainer.pipeline`, if there are any."""
        shape, classes = self.dataset.input_shape, self.dataset.classes
        batch = first_batch(self.dataset, self.config.trainer.batch_size)
        return pipeline.opened(self.method, self.config, shape, classes, batch)

    @property
    def best(self) -> dict[str, float]:
        """Metrics of the epoch with the best figure of the samples that choose it, the first one if several have it."""
        return self.task.best(self.history)

    def test_figures(self) -> dict[str, float]:
        """The task's figures of the test samples: the share that the network gets right, or its errors."""
        return self._figures(self.dataset.test, "testing")

    def _figures(self, split: Split, title: str) -> dict[str, float]:
        """The task's figures of samples.

        Testing leaves no trace in the method: however often it is done, training goes on alike, and it ends the same way again.
        """
        tally = torch.zeros((), dtype=torch.float64, device=self.device)  # counts and squares of many samples
        classes = self.dataset.classes if self.task is CLASSIFICATION else 0
        counts = torch.zeros(classes, classes + 1, dtype=torch.int64, device=self.device)
        with undisturbed(self.method, self.config.seed, self.device):
            for inputs, labels in self._track(split, title, None, self.config.trainer.eval_batch_size):
                if len(labels):
                    scores = self.method.scores(inputs)
                    tally = tally + self.task.tally(scores, labels)
                    counts += confusion.count(scores, labels, classes) if classes else 0
        distributed.add_up([tally, counts] if classes else [tally])
        self._confusion = counts
        return self.task.figures(tally, len(split))

    def _judging_figures(self) -> dict[str, float]:
        """Those by which the best epoch is chosen."""
        return self.test_figures() if self.dataset.validation is None else self._figures(self.dataset.validation, "validating")

    @property
    def confusion(self) -> Tensor | None:
        """int64 (classes, classes + 1) of the latest test: how many samples of each class were taken for which; None where there are no classes."""
        return self._confusion if self._confusion is not None and self._confusion.numel() else None

    def draw_confusion(self, epoch: int, folder: Path, kind: str = "png") -> list[Path]:
        """The confusion matrix of the latest test, where the task has one. Returns its path."""
        if self.confusion is None:
            return []
        path = folder / f"confusion.{kind}"
        confusion.save_confusion(self.confusion, self.dataset, self.config, epoch, path)
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
            figures = self._judging_figures()
            progress.untrained = {f"untrained_{name}": value for name, value in figures.items()}
            self.console.say(f"before training: {self.judge} {self.task.title} {self.task.show(figures[self.task.name])}")
        learning_rate = self.method.start_epoch(epoch)
        if position is not None:
            progress = self._begun(position)
            self.console.say(f"going on in epoch {epoch} after {progress.steps} steps")
        size, count = self.config.trainer.batch_size, len(self.dataset.train)
        self._progress = progress
        train = self._track(self.dataset.train, f"epoch {epoch}", self.shuffling, size, progress.note, skip=progress.steps)
        for inputs, labels in train:
            progress.add(self._steps.step(inputs, labels, batch_size=min(size, count - progress.steps * size)))
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
        batch_norm.average_statistics(self.method.network, has_samples=distributed.rank() < min(size, count))
        train_seconds = progress.seconds()
        started = time.perf_counter()
        figures = self._judging_figures()
        seconds = time.perf_counter() - started
        return {
            "epoch": epoch,
            "train_loss": mean_loss,
            f"train_{self.task.name}": self.task.figures(progress.correct, count)[self.task.name],
            f"{self.judge}_{self.task.name}": figures[self.task.name],
            "learning_rate": learning_rate,
            **_speed("train", train_seconds, count),
            **_speed(self.judge, seconds, len(self.dataset.test if self.dataset.validation is None else self.dataset.validation)),
            "peak_memory_mb": memory.peak_megabytes(self.device),
            **progress.of_layers(count),
            **measured,
            **{f"{self.judge}_{name}": value for name, value in figures.items()},
            **progress.untrained,
        }

    def _begun(self, position: dict[str, Any]) -> EpochProgress:
        """The progress of an epoch that was begun before, up to a position within it."""
        progress = EpochProgress(self.device, self.shuffling.get_state())
        progress.restore(position, position["process"]["sums"])
        self.method.load_epoch_state(position["process"]["method"])
        return progress

    def _check_shares(self) -> None:
        """Refuse a step in which a process has no sample for a batch norm that shares its statistics and needs some."""
        processes, size, count = distributed.world_size(), self.config.trainer.batch_size, len(self.dataset.train)
        least = min(size, count % size or size)
        synchronized = [name for name, module in self.method.network.named_modules() if _needs_samples(module)]
        if least < processes and synchronized:
            raise UserError(
                f"field trainer.batch_size: {size} leaves {least} of {count} samples for the {processes} processes in a step, and "
                f"{shortened(synchronized[0], 60)} shares its statistics among all: choose another"
            )

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


def _needs_samples(module: nn.Module) -> bool:
    """Whether it is `snn.BatchNormLIF` with statistics of all processes, or the like. `torch.nn.SyncBatchNorm` takes part without any sample."""
    return getattr(module, "synchronized", False) is True


def _speed(part: str, seconds: float, samples: int) -> dict[str, float]:
    """The columns on how long so many samples took."""
    return {f"{part}_seconds": round(seconds, 3), f"{part}_samples_per_second": float(f"{samples / max(seconds, 1e-9):.4g}")}


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
