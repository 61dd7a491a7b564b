"""Gradients added up over the processes, in messages that go out while the backward pass still computes.

The messages are the same in each step, and in a run that goes on after a stop, so that sums are in the same order: that of a ring of processes
depends on where in a message a number stands. `DistributedDataParallel` lays its messages out anew after the first step.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from spiketrain.distributed import group
from spiketrain.errors import UserError

MESSAGE = 2**21  # numbers: 8 MB of float32; smaller networks send one message


class GradientSums:
    """The gradients of some parameters, which become their sums over all processes; None where no process has computed any, as with one
    process: an optimiser leaves such a parameter alone, weight decay and momentum included.

    Args:
        parameters: all that get gradients; in all processes the same, in the same order
        overlaps: whether messages may go out during a backward pass. Not where that pass itself sends some, as synchronized batch norms do:
            all processes have to send theirs in one order.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], overlaps: bool = True) -> None:
        self.parameters = list(parameters)
        self.overlaps = overlaps
        self._messages = _messages(self.parameters)
        self._place = {parameter: number for number, message in enumerate(self._messages) for parameter in message}
        self._arrivals: Counter[nn.Parameter] = Counter()  # in the backward pass under way
        self._missing: list[int] = []  # of each message, how many gradients are not computed yet
        self._sent: list[tuple[dist.Work, Tensor]] = []
        self._computed: list[bool] = []  # of each parameter in the messages sent, whether this process has a gradient
        self._is_tried = len(self._messages) < 2 or not overlaps  # whether it is known that each gradient is computed at once

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """For the one backward pass of a step: inside, each message goes out once its gradients are there.

        Raises:
            UserError: a gradient was added to after it had been sent. One that always comes in parts, as of weights that several checkpoints
                of `torch.utils.checkpoint` share, is found in the first step, and then nothing is sent before the end.
        """
        if group.world_size() == 1 or not self.overlaps or len(self._messages) < 2:
            yield
            return
        self._arrivals.clear()
        self._missing = [len(message) for message in self._messages]
        hooks = [parameter.register_post_accumulate_grad_hook(self._arrived) for parameter in self.parameters]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def add_up(self) -> None:
        """Let each gradient be its sum over the processes: send what has not been sent, wait for all."""
        if group.world_size() == 1:
            return
        if not self._is_tried:
            (comes_in_parts,) = group.any_of([max(self._arrivals.values(), default=0) > 1], self.parameters[0].device)
            self._is_tried, self.overlaps = True, not comes_in_parts
        while len(self._sent) < len(self._messages):
            self._send()
        for (work, flat), message in zip(self._sent, self._messages):
            work.wait()
            sizes = [parameter.numel() for parameter in message]
            for parameter, summed in zip(message, flat[: sum(sizes)].split(sizes)):
                if summed.data_ptr() != parameter.grad.data_ptr():
                    parameter.grad.copy_(summed.view_as(parameter))
        if not all(self._computed):
            self._leave_out_what_nobody_computed()
        self._sent, self._computed = [], []

    def _arrived(self, parameter: nn.Parameter) -> None:
        self._arrivals[parameter] += 1
        if not self._is_tried:
            return
        if self._arrivals[parameter] > 1:
            raise UserError("the gradient of a weight came in two parts, but not in the first training step: several processes cannot add it up")
        self._missing[self._place[parameter]] -= 1
        # In their order, so that all processes send the same.
        while len(self._sent) < len(self._messages) and self._missing[len(self._sent)] == 0:
            self._send()

    def _send(self) -> None:
        message = self._messages[len(self._sent)]
        for parameter in message:
            # One that had no part in this process's loss may have one in another's.
            self._computed.append(parameter.grad is not None)
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        parts = [parameter.grad.reshape(-1) for parameter in message]
        if message is self._messages[-1]:
            parts.append(parts[0].new_tensor(self._computed))
        flat = parts[0] if len(parts) == 1 else torch.cat(parts)  # one gradient may be its own sum
        self._sent.append((dist.all_reduce(flat, async_op=True), flat))

    def _leave_out_what_nobody_computed(self) -> None:
        """How many processes have a gradient is told at the end of the last message."""
        *_, (_, flat) = self._sent
        parameters = [parameter for message in self._messages for parameter in message]
        for parameter, processes in zip(parameters, flat[-len(parameters) :].tolist()):
            if processes == 0:
                parameter.grad = None


def _messages(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters from the last to the first, as a backward pass comes by them; each message of one type, on one device."""
    messages: list[list[nn.Parameter]] = []
    for parameter in reversed(parameters):
        last = messages[-1][-1] if messages else None
        is_full = last is None or sum(other.numel() for other in messages[-1]) >= MESSAGE
        if is_full or (last.dtype, last.device) != (parameter.dtype, parameter.device):
            messages.append([])
        messages[-1].append(parameter)
    return messages
