"""Training steps replayed as CUDA graphs.

A step of a small network is some hundreds of small kernels, which a GPU finishes faster than Python launches them. Captured once, they are
launched together. What a graph computes is what the step would: the same kernels on the same memory, in the same order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from spikeops._graph_site import CaptureError, Site
from spikeops.nn.feedback.settings import current_settings
from spiketrain import distributed
from spiketrain.methods.base.method import Method, StepResult

# Steps of each shape that run as they are before one is captured: libraries choose their algorithms, optimisers make their moments.
WARM_UP_STEPS = 3
OURS = ("spiketrain", "spikeops", "torch")

Mode = Literal["auto", "on", "off"]


class CapturedSteps:
    """The training steps of a method: replayed as CUDA graphs where that is wanted and possible, else just done.

    There is one graph for each shape of a batch. It gives way to another when what the host gives the steps changes, such as the learning
    rate (:meth:`Method.graph_key`). All run on one stream and in one pool of memory.

    Args:
        method: whose steps
        device: of the method
        mode: "auto": those of our own methods with networks of our own or PyTorch's modules, on a CUDA device, in one process; "on": of
            networks from outside, too, which must then do the same in every step but for the values of tensors; "off": none
        say: where to tell that a step could not be captured
    """

    def __init__(self, method: Method, device: torch.device, mode: Mode, say: Callable[[str], None]) -> None:
        self._method, self._device, self._say = method, device, say
        self._is_wanted = mode != "off" and device.type == "cuda" and distributed.world_size() == 1 and (mode == "on" or _is_ours(method))
        self.forget()

    def forget(self) -> None:
        """Let go of all graphs: the method has been given other tensors to work on, such as those of a checkpoint."""
        self._graphs: dict[tuple, _Graph] = {}
        self._done: Counter[tuple] = Counter()  # steps of each shape
        self._latest: tuple | None = None
        self._site: Site | None = None

    def step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult:
        """`Method.training_step`. What it returns is to be read before the next step."""
        key = self._method.graph_key() if self._is_wanted and len(labels) else None
        if key is None:
            return self._method.training_step(inputs, labels, batch_size)
        try:
            return self._step(inputs, labels, batch_size, (key, current_settings()))
        except CaptureError as error:
            self._is_wanted = False
            self.forget()
            self._say(f"training steps are not replayed as CUDA graphs, but launched one kernel at a time: {error.reason}")
            return self._method.training_step(inputs, labels, batch_size)

    def _step(self, inputs: Tensor, labels: Tensor, batch_size: int, key: tuple) -> StepResult:
        shape = inputs.shape, inputs.stride(), inputs.dtype, labels.shape, labels.dtype, batch_size
        graph = self._graphs.get(shape)
        if graph is not None and graph.key == key:
            result = graph.replay(inputs, labels)
            self._method.steps += 1
            return result
        is_settled, self._latest = key == self._latest, key
        self._done[shape] += 1
        if self._site is None:
            self._site = Site(self._device)
        # A key that changes in every step, as while the learning rate warms up, is not worth a graph.
        if self._done[shape] <= WARM_UP_STEPS or not is_settled:
            return self._on_the_stream_of_graphs(lambda: self._method.training_step(inputs, labels, batch_size))
        steps = self._method.steps
        try:
            # The new one first, and then the old one goes: PyTorch takes no graph into a pool that all others have left.
            graph = self._graphs[shape] = _Graph(self._method, self._site, inputs, labels, batch_size, key)
        except CaptureError:
            self._method.steps = steps
            raise
        return graph.replay(inputs, labels)

    def _on_the_stream_of_graphs(self, run: Callable[[], StepResult]) -> StepResult:
        """Where autograd then remembers to add up gradients."""
        stream, current = self._site.stream, torch.cuda.current_stream(self._device)
        with self._site.turn():
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                result = run()
            current.wait_stream(stream)
        return result


class _Graph:
    """One training step. Capturing it counts it on the host; the first replay then does it.

    Raises:
        CaptureError: it could not be captured; nothing has been done, but the host may have counted.
    """

    def __init__(self, method: Method, site: Site, inputs: Tensor, labels: Tensor, batch_size: int, key: tuple) -> None:
        self.key, self._site = key, site
        with site.turn():
            self._inputs, self._labels = site.own(lambda: (inputs.clone(), labels.clone()))

        def run() -> None:
            self._result = method.training_step(self._inputs, self._labels, batch_size)

        with torch.cuda.device(site.device):
            self._graph = site.capture(run)

    def replay(self, inputs: Tensor, labels: Tensor) -> StepResult:
        with self._site.turn():
            self._inputs.copy_(inputs)
            self._labels.copy_(labels)
            self._graph.replay()
        return self._result


def _is_ours(method: Method) -> bool:
    """Whether nothing in a step is from outside, which might do something on the host in each one."""
    return all(type(part).__module__.split(".")[0] in OURS for part in (method, *method.network.modules()))
