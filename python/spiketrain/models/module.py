"""Any module as a network to train: what is asked of it, and what of it can be seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from spikeops import nn as snn
from spikeops.nn.neurons import LIFNeurons
from spikeops.nn.time import at_all_steps
from spiketrain import plugins
from spiketrain.errors import UserError, shortened, shown

NEURONS = (LIFNeurons, snn.ALIF, snn.BatchNormLIF, snn.CubaLIF, snn.RecurrentLIF)


class ModuleNetwork(nn.Module):
    """A module that takes (T, N, *input_shape) and returns (T, N, outputs) or (N, outputs), each batch by itself.

    Input: images (N, *input_shape), repeated at all time steps, or events (T, N, *input_shape). Output: (T, N, outputs), with T = 1 of a module
    that returns (N, outputs).

    Args:
        module: that module
        where: what messages call it
        input_shape: of a sample
        time_steps: of images

    Attributes:
        outputs: how many it has, counted by `try_out`
    """

    def __init__(self, module: nn.Module, where: str, input_shape: tuple[int, ...], time_steps: int) -> None:
        super().__init__()
        self.module = module
        self.where, self.input_shape, self.time_steps = where, input_shape, time_steps
        self.outputs = 0

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == len(self.input_shape) + 1:
            outputs = at_all_steps(self.module, x, self.time_steps)
            batch = (self.time_steps, x.shape[0])  # not `len`, which torch.export takes for a constant
        else:
            outputs = self.module(x)
            batch = tuple(x.shape[:2])
        if not isinstance(outputs, Tensor):
            raise UserError(f"{self.where}: expected outputs {_wanted(batch)}, got {shown(outputs)}")
        if not outputs.is_floating_point():
            raise UserError(f"{self.where}: expected outputs of a floating type, got {str(outputs.dtype).removeprefix('torch.')}")
        if outputs.dim() == 2 and outputs.shape[0] == batch[1]:
            return outputs.unsqueeze(0)
        if outputs.dim() != 3 or outputs.shape[:2] != batch:
            raise UserError(f"{self.where}: expected outputs {_wanted(batch)}, got {tuple(outputs.shape)}")
        return outputs

    def try_out(self, device: torch.device) -> None:
        """Count the outputs, by a small batch of random input that leaves no trace.

        Raises:
            UserError: the module fails, returns something else, keeps state from batch to batch, or has nothing to learn.
        """
        count = 3 if self.time_steps == 2 else 2  # samples, not to be taken for time steps
        x = torch.rand(self.time_steps, count, *self.input_shape, generator=torch.Generator().manual_seed(0)).to(device)
        was_training = self.training
        buffers = {name: buffer.clone() for name, buffer in self.named_buffers() if not isinstance(buffer, nn.UninitializedBuffer)}
        self.eval()
        try:
            first, again = (self._seeded(x, device) for _ in range(2))
            self.outputs = first.shape[2]
            parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
            if not parameters:
                raise UserError(f"{self.where}: it has no parameters to learn")
            if not first.requires_grad or all(g is None for g in torch.autograd.grad(first.sum(), parameters, allow_unused=True)):
                raise UserError(f"{self.where}: no gradient gets from its outputs to its parameters")
            if not torch.allclose(first, again, rtol=1e-3, atol=1e-4 * _size(first), equal_nan=True):
                raise UserError(
                    f"{self.where}: returns something else for the same batch a second time. Its neurons keep their state: let forward "
                    "begin anew"
                )
        except (UserError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # foreign code can raise anything
            raise UserError(f"{self.where}: {plugins.described(error)}") from error
        finally:
            self.train(was_training)
        with torch.no_grad():
            for name, buffer in self.named_buffers():
                if name in buffers and buffer.shape == buffers[name].shape:
                    buffer.copy_(buffers[name])

    def _seeded(self, x: Tensor, device: torch.device) -> Tensor:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            return self(x)

    def neurons(self) -> dict[str, nn.Module]:
        """The layers of neurons that spike, by name: what a method `neurons` of the module says, else the neurons of `spikeops.nn` in it."""
        own = getattr(self.module, "neurons", None)
        if not callable(own):
            return {name or "neurons": module for name, module in self.module.named_modules() if isinstance(module, NEURONS)}
        found = own()
        if not isinstance(found, dict) or not all(isinstance(neurons, nn.Module) for neurons in found.values()):
            raise UserError(f"{self.where}: expected of its neurons() a dictionary of names and modules, got {shortened(shown(found), 60)}")
        return found


def _wanted(batch: tuple[int, int]) -> str:
    """The shapes that there may be."""
    return f"({batch[0]}, {batch[1]}, classes), or ({batch[1]}, classes), for {batch[0]} time steps and {batch[1]} samples"


def _size(x: Tensor) -> float:
    """The largest magnitude, 1 where there is none."""
    largest = x.detach().abs().max().item() if x.numel() else 0.0
    return largest if math.isfinite(largest) and largest else 1.0
