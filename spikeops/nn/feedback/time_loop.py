"""The time loop of a ring, shared by the forward pass and SPIDE's backward pass.

Both step the same structure: a chain of populations of neurons, a drive into the first at every step, an operator from each to
the next within the step, and perhaps one from the last back to the first that takes a step. They differ in the neurons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from spikeops import functional as SF
from spikeops.nn.feedback.incoming import Incoming
from spikeops.nn.feedback.operators import Operator

# Without feedback, populations take their steps in chunks: as many as keep a chunk's spikes of one population in the cache,
# or, on a GPU, keep it busy.
CHUNK_BYTES = {"cpu": 16 << 20, "cuda": 256 << 20}

Optional = tuple[torch.Tensor | None, ...]


@dataclass(frozen=True)
class SpikingNeurons:
    """Integrate-and-fire neurons of the forward pass; ``masks``: dropout of the drive into each population."""

    masks: Optional
    leak: float
    threshold: float
    reset_amount: float

    def spike_size(self, index: int) -> float:
        return 1.0

    def step(self, index: int, state: State, spikes, drive, current, fired) -> None:
        SF.feedback_step_(
            state.membrane, spikes, state.rate, drive, current=current, mask=None if drive is None else self.masks[index],
            count=state.count, fired=fired, leak=self.leak, threshold=self.threshold, reset_amount=self.reset_amount,
        )  # fmt: skip


@dataclass(frozen=True)
class TernaryNeurons:
    """Signed neurons of SPIDE's backward pass; ``gates``: the value that each of them emits with a spike."""

    gates: Optional
    drive_scale: float
    leak: float
    threshold: float
    amplitude: float

    def spike_size(self, index: int) -> float:
        """Gates are 0 or of one magnitude. On a GPU nobody asks."""
        gate = self.gates[index]
        return self.amplitude if gate.is_cuda else gate.max().item() or self.amplitude

    def step(self, index: int, state: State, spikes, drive, current, fired) -> None:
        SF.ternary_step_(
            state.membrane, spikes, state.rate, drive, current=current, gate=self.gates[index], count=state.count,
            fired=fired, drive_scale=self.drive_scale, leak=self.leak, threshold=self.threshold, amplitude=self.amplitude,
        )  # fmt: skip


@dataclass(frozen=True)
class TimeLoop:
    """Everything a pass needs; no tensor of it requires gradients.

    Attributes:
        shapes: of each population's state, (B, ...).
        operators: from each population to the next, one fewer than populations.
        feedback: from the last population to the first, one step later; None: there is none.
        current: into the first population, the same at every step (B, ...) or, with per_step, (T, B, ...).
        count: also count spikes, where the rates are not plain sums of them.
    """

    neurons: SpikingNeurons | TernaryNeurons
    shapes: tuple[torch.Size, ...]
    operators: tuple[Operator, ...]
    feedback: Operator | None
    current: torch.Tensor
    per_step: bool
    steps: int
    count: bool

    title: ClassVar[str] = "time loop"

    @property
    def device(self) -> torch.device:
        return self.current.device

    def run(self, trains: list[torch.Tensor] | None = None) -> Outcome:
        """Tensors with 4 dimensions are channels-last.

        Args:
            trains: where to keep the spikes, an :func:`empty_sequence` of all steps per population; None: they are not kept.
        """
        states = [State.zeros(shape, self.current, self.count) for shape in self.shapes]
        if self.feedback is None:
            self._run_in_chunks(states, trains)
        else:
            self._run_in_steps(states, trains)
        return Outcome(
            sums=tuple(state.rate for state in states),
            counts=tuple(state.rate if state.count is None else state.count for state in states),
            # A membrane potential that once was not finite stays so.
            finite=torch.stack([state.membrane.isfinite().all() for state in states]).all(),
        )

    def _run_in_steps(self, states: list[State], trains: list[torch.Tensor] | None) -> None:
        # A row per step, or one for all.
        rows = [(torch.empty_like(state.membrane),) for state in states] if trains is None else [t.unbind() for t in trains]
        length = len(rows[0])
        spikes = [row[-1] for row in rows]
        flags = [_flags(self.current, 1) for _ in states]
        # What drives each population, the one before it; the first one, the last one a step before.
        incoming = [self._incoming(index, operator) for index, operator in enumerate((self.feedback, *self.operators))]
        for t in range(self.steps):
            current = self.current[t] if self.per_step else self.current
            for index, state in enumerate(states):
                drive = incoming[index].drive(spikes[index - 1], flags[index - 1]) if index or t else None
                spikes[index] = rows[index][t % length]
                self.neurons.step(index, state, spikes[index], drive, None if index else current, flags[index])

    def _run_in_chunks(self, states: list[State], trains: list[torch.Tensor] | None) -> None:
        chunk = self._chunk_length(states)
        room = [empty_sequence(chunk, state.membrane) for state in states] if trains is None else trains
        flags = [_flags(self.current, chunk) for _ in states]
        incoming = [None, *(self._incoming(index, operator) for index, operator in enumerate(self.operators, 1))]
        for start in range(0, self.steps, chunk):
            length = min(chunk, self.steps - start)
            current = self.current[start : start + length] if self.per_step else self.current
            first = 0 if trains is None else start
            spikes = [sequence[first : first + length] for sequence in room]
            now = [None if flag is None else flag[:length] for flag in flags]
            for index, state in enumerate(states):
                drive = incoming[index] and incoming[index].drive(spikes[index - 1].flatten(0, 1), now[index - 1])
                drive = None if drive is None else drive.unflatten(0, (length, -1))
                self.neurons.step(index, state, spikes[index], drive, None if index else current, now[index])

    def _incoming(self, index: int, operator: Operator) -> Incoming:
        before = index - 1 if index else len(self.shapes) - 1
        return Incoming(operator, self.neurons.spike_size(before))

    def _chunk_length(self, states: list[State]) -> int:
        largest = max(state.membrane.numel() * state.membrane.element_size() for state in states)
        budget = CHUNK_BYTES["cuda" if self.current.is_cuda else "cpu"]
        return max(1, min(self.steps, budget // max(1, largest)))


@dataclass(frozen=True)
class Outcome:
    """What a time loop comes to.

    Attributes:
        sums: decay-weighted sum of the spikes of each population, (B, ...).
        counts: their number; the same tensors where nothing decays.
        finite: whether all membrane potentials were finite at all steps, 0-d bool.
    """

    sums: tuple[torch.Tensor, ...]
    counts: tuple[torch.Tensor, ...]
    finite: torch.Tensor


@dataclass(frozen=True)
class State:
    membrane: torch.Tensor
    rate: torch.Tensor
    count: torch.Tensor | None

    @staticmethod
    def zeros(shape: torch.Size, like: torch.Tensor, count: bool) -> State:
        membrane, rate, spikes = (_empty(shape, like).zero_() if wanted else None for wanted in (True, True, count))
        return State(membrane, rate, spikes)


def _flags(like: torch.Tensor, steps: int) -> torch.Tensor | None:
    """Whether any neuron fired, per step. Only on the CPU: reading it on a GPU would make the host wait at every step."""
    return torch.zeros(steps, dtype=torch.int32) if like.device.type == "cpu" else None


def _empty(shape, like: torch.Tensor) -> torch.Tensor:
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def empty_sequence(steps: int, like: torch.Tensor) -> torch.Tensor:
    """(steps, B, ...), each step dense in the order of ``like``."""
    return _empty((steps * like.shape[0], *like.shape[1:]), like).unflatten(0, (steps, like.shape[0]))


def mean_weight(leak: float, steps: int, dtype: torch.dtype) -> torch.Tensor:
    """What the decay-weighted sum of the spikes is divided by: the sum of leak^t over the steps, in the data's precision."""
    leak = torch.tensor(leak, dtype=dtype)
    if leak == 1:  # in that precision
        return torch.tensor(steps, dtype=dtype)
    return (1 - leak**steps) / (1 - leak)
