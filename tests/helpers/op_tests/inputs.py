"""Seeded arguments of ops, for one size, dtype, memory layout and device."""

import torch

from op_tests.layouts import TIME_MAJOR, lay_out
from op_tests.neurons import currents, parameter, spike_trains, state_dtype

# Four time steps of three neurons, for calls that are about their options.
ROW = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))


class Inputs:
    """Draws the arguments of ops.

    Args:
        T, shape: time steps and neurons
        grad: whether floating tensors require a gradient
        seed: of the numbers
        on_grid: currents are multiples of 1/8, so that many membrane potentials lie exactly at a threshold, and sums are exact
    """

    def __init__(self, T=6, shape=(3, 50), dtype=torch.float32, layout="contiguous", device="cpu", grad=False, seed=11, on_grid=False):
        self.draw = torch.Generator().manual_seed(seed)
        self.T, self.shape, self.dtype, self.layout, self.device, self.grad = T, shape, dtype, layout, device, grad
        self.on_grid = on_grid

    @property
    def state(self):
        """The dtype of membrane potentials and of what neurons are given once each."""
        return state_dtype(self.dtype)

    @property
    def order(self):
        """A layout for what is written in place: those that ops copy are for input."""
        return self.layout if self.layout in TIME_MAJOR else "contiguous"

    def leaf(self, tensor):
        return tensor.detach().requires_grad_(self.grad and tensor.is_floating_point())

    def x(self):
        """Currents (T, ...) that make neurons of threshold 1 fire every few steps."""
        if self.on_grid:
            eighths = torch.randint(-8, 17, (self.T, *self.shape), generator=self.draw) / 8
            return self.leaf(lay_out(eighths.to(self.dtype), self.layout, self.device))
        return self.leaf(currents(self.draw, self.T, self.shape, self.dtype, self.layout, self.device))

    def one_step(self):
        """Currents (...) of one time step, in the memory order of a step of x."""
        return self.leaf(self.x().detach()[0])

    def gradient(self, of_steps=True, dtype=None):
        shape = (self.T, *self.shape) if of_steps else self.shape
        values = torch.randn(shape, generator=self.draw, dtype=torch.float64).to(dtype or self.dtype)
        return self.leaf(lay_out(values, self.layout, self.device) if of_steps else values.to(self.device))

    def parameter(self, spread, low, high):
        """What neurons have one of, in the precision of the state; `spread` over them as in :data:`neurons.SPREADS`."""
        values = parameter(self.draw, spread, self.shape, self.state, low, high, self.device)
        return values if spread == "number" else self.leaf(values)

    def decay(self, spread):
        return self.parameter(spread, 0.3, 0.9)

    def v_init(self, spread="per_neuron"):
        return self.parameter(spread, -0.5, 1.5)

    def per_neuron(self, low, high, dtype=None):
        """Numbers (...), in a memory order that can be written in place."""
        values = low + (high - low) * torch.rand(1, *self.shape, generator=self.draw, dtype=torch.float64)
        values = (8 * values).round() / 8 if self.on_grid else values
        return lay_out(values.to(dtype or self.dtype), self.order, self.device)[0]

    def nonsense(self):
        """(T, ...) to be written to."""
        return lay_out(torch.full((self.T, *self.shape), torch.nan, dtype=self.dtype), self.order, self.device)

    def spikes(self, dtype=None):
        return spike_trains(self.draw, self.T, self.shape, dtype or self.dtype, self.layout, self.device)

    def packed(self):
        """Words of 16 time steps each, with any bits set."""
        words = -(-self.T // 16)
        values = torch.randint(-(2**15), 2**15, (words, *self.shape), generator=self.draw).to(torch.int16)
        return lay_out(values, self.layout, self.device).view(torch.uint16)

    def probabilities(self):
        return torch.rand(self.shape, generator=self.draw).to(self.device, self.dtype)

    def seed(self, value=1234567890123456789):
        return torch.tensor([value], device=self.device)
