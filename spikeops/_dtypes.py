"""Which precision a neuron's state has."""

import torch

FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def state_dtype(data: torch.dtype) -> torch.dtype:
    """float64 for float64 data, float32 for everything else: 16-bit data has a float32 membrane potential."""
    return torch.float64 if data == torch.float64 else torch.float32
