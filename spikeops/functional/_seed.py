"""Draws the seed of an op's random numbers."""

from __future__ import annotations

import torch


def draw(op: str, generator: torch.Generator | None, device: torch.device) -> torch.Tensor:
    """A seed on ``device``, int64 (1,), from ``generator`` or, by default, the device's own.

    The host never waits for a GPU: the seed of a CPU generator goes there from pinned memory, which torch's host allocator does
    not hand out again before the copy is done.

    Raises:
        RuntimeError: the generator is not on ``device``, while a CUDA graph is captured there; under vmap that was not told what to do
            with random numbers.
    """
    try:
        return _draw(op, generator, device)
    except RuntimeError as error:
        if not torch._C._are_functorch_transforms_active():
            raise
        raise RuntimeError(f"{op}: draws random numbers. {error}") from None


def _draw(op: str, generator: torch.Generator | None, device: torch.device) -> torch.Tensor:
    on_gpu = device.type == "cuda"
    if generator is None or generator.device == device:
        return torch.randint(2**63 - 1, (1,), generator=generator, device=device)
    if on_gpu and _is_capturing(device):
        raise RuntimeError(
            f"{op}: expected a generator on {device} while a CUDA graph is captured, got one on {generator.device}, whose one draw "
            f"every replay would repeat. Use torch.Generator({str(device)!r}), registered by graph.register_generator_state, or the default one."
        )
    pinned = on_gpu and generator.device.type == "cpu"
    seed = torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device, pin_memory=pinned)
    return seed.to(device, non_blocking=pinned)


def _is_capturing(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return torch.cuda.is_current_stream_capturing()
