"""What the benchmarks are told of an op. At which sizes it is measured, and how, is theirs (benchmarks/ops)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeops.surrogate import ATan

FORWARD, FORWARD_GRAD, BACKWARD, FULL = "forward", "forward_grad", "backward", "full"
MODES = (FORWARD, FORWARD_GRAD, BACKWARD, FULL)
"""forward: without gradient. forward_grad: keeps what the backward pass needs. backward: by itself. full: both passes."""

# Sizes by the way in which an op is used: on whole sequences; again and again for few time steps; for long trials of networks. A
# variant is an op that is measured by itself already, with other options.
SEQUENCES, STEPS, TRIALS, VARIANTS = "sequences", "steps", "trials", "variants"

SPIKES_PER_WORD = 16  # of packed spikes

# What neurons are measured with.
DECAY, THRESHOLD = 0.5, 1.0
SURROGATE = ATan(2.0)


@dataclass(frozen=True)
class Op:
    """An op that turns one tensor into another, some of them with the help of state that they update.

    Args:
        fused: (input, T, *state) -> output, by whichever backend is chosen
        eager: the same in plain PyTorch, one time step after the other: what one would write without fused kernels
        make_input: (T, N, dtype, device) -> input
        tests: the files under tests/ops that prove it
        moves: (T, N) -> bytes of float32 data that a forward and a backward pass move at least; None for one that there is not
        has_gradient: whether the modes with gradients make sense
        backward_reads_input: False for linear ops, and those that keep something else
        keeps: (T, N) -> bytes, other than the input, that a forward pass writes for a backward pass
        is_random: whether outputs of the two can only be compared by their mean
        of: the public function, where its name is another
        published: input (N, 1, 1, 1, T) -> output, in the published formulation, where there is one
        make_state: input -> tensors that calls update, and a last one that they fill: the output
        sizes: at which it is measured: SEQUENCES, STEPS, TRIALS (in float32 only) or VARIANTS
        is_packed: whether its input is packed words, which are the same for all dtypes
    """

    name: str
    fused: Callable[..., Tensor]
    eager: Callable[..., Tensor]
    make_input: Callable[..., Tensor]
    tests: tuple[str, ...]
    moves: Callable[[int, int], tuple[int, int | None]]
    has_gradient: bool = False
    backward_reads_input: bool = True
    keeps: Callable[[int, int], int] = lambda T, N: 0
    is_random: bool = False
    of: str = ""
    published: Callable[[Tensor], Tensor] | None = None
    make_state: Callable[[Tensor], tuple[Tensor, ...]] = lambda x: ()
    sizes: str = SEQUENCES
    is_packed: bool = False

    def __str__(self):
        return self.name

    @property
    def function(self) -> str:
        """Its name in spikeops.functional."""
        return self.of or self.name

    @property
    def is_stepwise(self) -> bool:
        return self.sizes == STEPS

    @property
    def is_trial(self) -> bool:
        return self.sizes == TRIALS

    @property
    def is_variant(self) -> bool:
        return self.sizes == VARIANTS

    @property
    def modes(self) -> tuple[str, ...]:
        if self.is_variant:
            return (FULL,)
        return MODES if self.has_gradient else (FORWARD,)

    def minimum_bytes(self, mode: str, input_bytes: int, output_bytes: int, kept_bytes: int = 0) -> int:
        """Bytes that `mode` moves at least: every input is read once per pass, every output written once. State is both.

        The backward pass reads the output's gradient, reads the input again where the gradient depends on it, and writes the
        input's gradient; what is kept in its place is written by the one and read by the other. For T x N values in and out: forward 2 T N values, backward 3, both 5. What a neuron has only one of
        (its last membrane potential, say) is not counted, except as state.
        """
        forward = input_bytes + output_bytes
        backward = output_bytes + input_bytes * (2 if self.backward_reads_input else 1) + kept_bytes
        with_gradient = forward + kept_bytes
        return {FORWARD: forward, FORWARD_GRAD: with_gradient, BACKWARD: backward, FULL: with_gradient + backward}[mode]


def currents(T, N, dtype, device):
    """Gaussian currents that make LIF neurons fire in about a fifth of the time steps."""
    return (0.3 + 0.5 * torch.randn(T, N, device=device)).to(dtype)


def spikes(T, N, dtype, device):
    return (torch.rand(T, N, device=device) < 0.2).to(dtype)


def packed(T, N, dtype, device):
    return torch.randint(2**16, (words(T), N), dtype=torch.int32, device=device).to(torch.uint16)


def probabilities(T, N, dtype, device):
    return torch.rand(N, device=device).to(dtype)


def words(T):
    """Packed words along time."""
    return math.ceil(T / SPIKES_PER_WORD)
