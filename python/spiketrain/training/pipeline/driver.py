"""The first stage of a pipeline: starts the other ones, feeds them, collects what they learned."""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import torch
import torch.distributed as dist
from torch import Tensor

from spiketrain import distributed
from spiketrain.config import Config
from spiketrain.errors import UserError
from spiketrain.methods.base.layerwise import LayerwiseMethod
from spiketrain.methods.base.method import LayerResult, Method, StepResult
from spiketrain.training.pipeline import stage
from spiketrain.training.pipeline.channel import Batch, Sender, StageLost, receive_object, send_object

_START_SECONDS = 300  # for a process to import PyTorch and build its layers, even on a busy machine
_END_SECONDS = 10  # for a process to end after it was told to, or after it lost its neighbour


def check(method: Method, config: Config) -> None:
    """Whether `trainer.pipeline` can be met.

    Raises:
        UserError: the method cannot be cut into stages, or there are fewer layers than stages.
    """
    stages = config.trainer.pipeline
    if stages == 1:
        return
    if not isinstance(method, LayerwiseMethod):
        raise UserError(f"trainer.pipeline: the layers of {config.method.name} do not learn on their own; leave it at 1")
    if config.trainer.checkpoint_minutes:
        raise UserError("trainer.checkpoint_minutes: the processes of trainer.pipeline have no common place within an epoch; leave one of both out")
    if distributed.world_size() > 1:
        raise UserError("trainer.pipeline: starts its processes itself; start it without torchrun")
    if stages > len(method.layers):
        raise UserError(
            f"trainer.pipeline: expected at most {len(method.layers)} stages, as many as there are layers that learn "
            f"({', '.join(method.layers)}), got {stages}"
        )


@contextlib.contextmanager
def opened(
    method: Method, config: Config, input_shape: tuple[int, int, int], classes: int, batch: tuple[Tensor, Tensor]
) -> Iterator[None]:
    """Inside, the method trains as the first of `trainer.pipeline` stages. `batch` is one to measure the layers with."""
    if config.trainer.pipeline == 1:
        yield
        return
    method.pipeline = Pipeline(method, config, input_shape, classes, batch)
    try:
        yield
        method.pipeline.end()
    finally:
        method.pipeline.close()
        method.pipeline = None


class Pipeline:
    """The running stages, of which this process is the first.

    Args:
        method: all layers; between two epochs they hold what all stages have learned
        config, input_shape, classes: to build the same method in the other processes
        batch: inputs and labels to measure the layers with, so that the stages get about equal shares
    """

    def __init__(
        self, method: LayerwiseMethod, config: Config, input_shape: tuple[int, int, int], classes: int, batch: tuple[Tensor, Tensor]
    ) -> None:
        count = config.trainer.pipeline
        self.method = method
        self.stages = share_out(layer_seconds(method, *batch), count)
        self.threads = config.trainer.threads or max(1, (os.cpu_count() or 1) // count)  # while all stages work
        self._threads_alone = torch.get_num_threads()
        self._next = Sender(1)
        self._processes: list[subprocess.Popen] = []
        self._reports: list[Connection] = []
        store = dist.TCPStore("127.0.0.1", 0, count, is_master=True, wait_for_workers=False)
        plans = [
            stage.Plan(config, input_shape, classes, self.stages, number, store.port, self.threads, os.getpid())
            for number in range(count)
        ]
        try:
            for plan in plans[1:]:
                process, report = stage.start(plan)
                self._processes.append(process)
                self._reports.append(report)
            for number, report in enumerate(self._reports, start=1):
                if not report.poll(_START_SECONDS) or self._heard_from(number) != stage.READY:
                    self._fail()
            stage.join(plans[0], store)
        except BaseException:
            self.close()
            raise

    def start_epoch(self, epoch: int) -> None:
        """Send every stage the state of its layers."""
        torch.set_num_threads(self.threads)
        with self._naming_the_culprit():
            for number, names in list(enumerate(self.stages))[1:]:
                send_object({"epoch": epoch, "state": self.method.layers_state(names)}, number)

    def step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult:
        """Train the layers of this stage and hand their spikes on. The result is theirs alone, without a prediction."""
        spikes, results = self.method.train_layers(self.stages[0], inputs, labels, batch_size)
        with self._naming_the_culprit():
            self._next.send(Batch(spikes, labels, batch_size))
        loss = sum(result.loss for result in results.values())
        return StepResult(loss, torch.zeros_like(loss), results)

    def drain(self) -> StepResult:
        """Wait until all stages have trained on all batches, and take over their layers. The sum of what they report."""
        layers = {}
        with self._naming_the_culprit():
            self._next.end()
            for number in range(1, len(self.stages)):
                answer = receive_object(number)
                self.method.load_layers_state(answer["state"])
                device = next(self.method.network.parameters()).device
                for name, sums in answer["totals"].items():
                    layers[name] = LayerResult(**{key: value.to(device) for key, value in sums.items()})
        torch.set_num_threads(self._threads_alone)
        *_, last = layers.values()
        return StepResult(sum(result.loss for result in layers.values()), last.correct, layers)

    def end(self) -> None:
        """Let the other stages go."""
        with self._naming_the_culprit():
            for number in range(1, len(self.stages)):
                send_object(None, number)
            for process in self._processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_END_SECONDS)

    def close(self) -> None:
        """Stop what still runs."""
        torch.set_num_threads(self._threads_alone)
        for process in self._processes:
            process.kill()  # between two epochs a stage holds nothing that is not here too
            process.wait()
        if dist.is_initialized():
            dist.destroy_process_group()

    @contextlib.contextmanager
    def _naming_the_culprit(self) -> Iterator[None]:
        try:
            yield
        except StageLost:
            self._fail()

    def _fail(self) -> None:
        """Raise the error that names the stage that failed first; the ones beside it stopped because they lost it."""
        deadline = time.monotonic() + _END_SECONDS
        culprits: list[int] = []
        while not culprits and time.monotonic() < deadline:
            time.sleep(0.05)
            culprits = [n for n, p in enumerate(self._processes, 1) if p.poll() not in (None, 0, stage.LOST_NEIGHBOUR)]
        if not culprits:
            raise UserError("a stage of the pipeline does not answer; the checkpoint of the last complete epoch is intact")
        number = culprits[0]
        status = self._processes[number - 1].returncode
        reason = self._heard_from(number)
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed ({reason or f'exit status {status}'})"
        raise UserError(f"{stage.describe(self.stages, number)} {how}; the checkpoint of the last complete epoch is intact")

    def _heard_from(self, number: int) -> str | None:
        """The next word of a stage, if there is one."""
        report = self._reports[number - 1]
        try:
            return report.recv() if report.poll() else None
        except EOFError:
            return None


def layer_seconds(method: LayerwiseMethod, inputs: Tensor, labels: Tensor) -> dict[str, float]:
    """How long each layer takes to learn from a batch. The method is left as it was."""
    before = copy.deepcopy(method.state_dict())
    seconds = {}
    for _ in range(2):  # the first time is for warming up
        outputs = inputs
        for name in method.layers:
            started = time.perf_counter()
            outputs, _ = method.train_layers([name], outputs, labels, len(labels))
            if outputs.is_cuda:
                torch.cuda.synchronize(outputs.device)
            seconds[name] = time.perf_counter() - started
    method.load_state_dict(before)
    return seconds


def share_out(seconds: dict[str, float], stages: int) -> list[list[str]]:
    """The layers cut into stages of which the slowest takes as little time as possible, then the second slowest, and so on."""
    names = list(seconds)

    def cut(places: tuple[int, ...]) -> list[list[str]]:
        return [names[start:end] for start, end in itertools.pairwise((0, *places, len(names)))]

    possible = (cut(places) for places in itertools.combinations(range(1, len(names)), stages - 1))
    return min(possible, key=lambda shares: sorted((sum(seconds[name] for name in share) for share in shares), reverse=True))
