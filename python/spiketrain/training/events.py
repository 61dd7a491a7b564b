"""TensorBoard's log of a run."""

from __future__ import annotations

from pathlib import Path

from spiketrain.errors import shortened
from spiketrain.reports.console import Console


class Events:
    """The metrics of each epoch for TensorBoard. What cannot be written is said once and does not stop the run.

    Args:
        folder: where the event files lie
        first: the epoch to come; events of it and of later ones, from before a resume, are void
    """

    def __init__(self, folder: Path, first: int, console: Console) -> None:
        self.console = console
        self._writer = None
        self._guarded(lambda: self._open(folder, first))

    def _open(self, folder: Path, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first)

    def add(self, metrics: dict[str, float], epoch: int) -> None:
        def write() -> None:
            for name in metrics.keys() - {"epoch"}:
                # train_loss is shown as loss in the group train.
                self._writer.add_scalar(name if name == "learning_rate" else name.replace("_", "/", 1), metrics[name], epoch)
            self._writer.flush()

        if self._writer is not None:
            self._guarded(write)

    def close(self) -> None:
        if self._writer is not None:
            self._guarded(self._writer.close)

    def _guarded(self, action) -> None:
        try:
            action()
        except ModuleNotFoundError:
            raise
        except Exception as error:  # of TensorBoard's own thread, or of the file system
            self._writer = None
            self.console.say(f"no more events for TensorBoard: {type(error).__name__}: {shortened(error, 200)}")
