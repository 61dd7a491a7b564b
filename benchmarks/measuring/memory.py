"""Memory that a call takes on the CPU, from what PyTorch's allocator tells its profiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from torch import Tensor
from torch.autograd.profiler import profile


def peak_bytes(run: Callable[[], object]) -> int:
    """Memory that a call takes at most beyond what is there before it. What a kernel takes elsewhere than from PyTorch is not seen."""
    with profile(profile_memory=True) as profiler:
        run()
    return max(accumulate(_changes(profiler), initial=0))


def kept_bytes(forward: Callable[[], Tensor]) -> int:
    """Memory that is taken between the forward pass and the backward pass: the output, and what the latter needs."""
    with profile(profile_memory=True) as profiler:
        output = forward()
    total = sum(_changes(profiler))
    del output
    return total


def _changes(profiler) -> Iterator[int]:
    """Bytes taken, or given back, one after the other."""
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    return (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
