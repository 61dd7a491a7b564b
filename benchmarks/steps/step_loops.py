"""IDE and SPIDE in plain PyTorch, one time step after the other, as their papers describe them: the opponents of FeedbackRing.

They borrow the sub-networks of a FeedbackRing, so that both have the same weights, and nothing else of it. Only what the
measured presets need: constant input, no batch-norm in the middle of a sub-network's chain.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

BROYDEN_MEMORY = 27


class StepLoop:
    """A training step of a network with a `ring` and a `classifier` on its rate.

    Args:
        network: is copied
        lr, loss_scale: of SGD with momentum 0.9 and weight decay 5e-4, and of the loss
    """

    def __init__(self, network: nn.Module, lr: float, loss_scale: float = 1.0):
        self.network = copy.deepcopy(network).train()
        self.ring, self.classifier = self.network.ring, self.network.classifier
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr / loss_scale, 0.9, weight_decay=5e-4)
        self.loss_scale = loss_scale
        self.rate = {"ide": ide_rate, "spide": spide_rate}[self.ring.method]

    def training_step(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        with parametrize.cached():
            for layer in self.network.modules():
                if parametrize.is_parametrized(layer):
                    layer.weight  # noqa: B018  the norm restriction runs once per step, here, where it is differentiated
            loss = nn.functional.cross_entropy(self.classifier(self.rate(self.ring, images).flatten(1)), labels)
            (loss * self.loss_scale).backward()
        self.optimizer.step()
        return loss.detach()


class Ring:
    """The sub-networks of a ring by the layer they lead to (0: the feedback), their dropout masks and the simulation."""

    def __init__(self, ring: nn.Module, x: Tensor):
        self.ring, self.x = ring, x
        self.networks = [ring.feedback, *ring.layers]
        input_rate, *rates = ring.dropout
        self.dropout = rates[-1:] + rates[:-1] if ring.feedback is not None else [0.0, *rates]
        self.masks = {}
        self.mean_weight = sum(ring.leak**t for t in range(ring.time_steps))
        with torch.no_grad():
            current = ring.input_layer(x)
            self.input_mask = _mask(current, input_rate)
            self.undropped_current, self.current = current, current * self.input_mask

    def apply(self, index: int, x: Tensor) -> Tensor:
        """The drive into a layer, with dropout."""
        y = self.networks[index](x)
        if index not in self.masks:
            self.masks[index] = _mask(y, self.dropout[index])
        return y * self.masks[index]

    @torch.no_grad()
    def simulate(self) -> list[Tensor]:
        """Firing rate of each layer. Batch-norm of the layers is in evaluation mode meanwhile."""
        ring, count = self.ring, len(self.networks)
        membrane, spikes, rates = ([None] * count for _ in range(3))
        for layer in ring.layers:
            layer.eval()
        for t in range(ring.time_steps):
            for index in range(count):
                drive = self.current if index == 0 else self.apply(index, spikes[index - 1])
                if index == 0 and t and ring.feedback is not None:
                    drive = drive + self.apply(0, spikes[-1])
                before = torch.zeros_like(drive) if t == 0 else membrane[index]
                u = before + drive
                spikes[index] = (u >= ring.threshold).to(u.dtype)
                rates[index] = spikes[index] if t == 0 else ring.leak * rates[index] + spikes[index]
                membrane[index] = ring.leak * (u - ring.reset_amount * spikes[index])
        for layer in ring.layers:
            layer.train(ring.training)
        return [rate / self.mean_weight for rate in rates]


def _mask(like: Tensor, rate: float) -> Tensor:
    return torch.bernoulli(torch.full_like(like, 1 - rate)) / (1 - rate)


# --- IDE ------------------------------------------------------------------------------------------------------------------------


def ide_rate(ring: nn.Module, x: Tensor) -> Tensor:
    loop = Ring(ring, x)
    rate = loop.simulate()[-1]
    value = _equilibrium_map(loop, rate, ring.input_layer(x))
    return _Implicit.apply(loop, rate, value)


def _equilibrium_map(loop: Ring, q: Tensor, from_input: Tensor) -> Tensor:
    for index in range(len(loop.networks)):
        drive = loop.apply(index, q)
        if index == 0:
            drive = drive + from_input * loop.input_mask
        q = (drive / loop.ring.threshold).clamp(0, 1)
    return q


class _Implicit(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loop, rate, value):
        ctx.loop = loop
        ctx.point = (rate if len(loop.networks) == 1 else value).detach()
        return rate.clone()

    @staticmethod
    def backward(ctx, grad):
        loop = ctx.loop
        norms = [layer for layer in loop.ring.layers.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        statistics = [(norm.running_mean, norm.running_var) for norm in norms]
        for norm in norms:
            norm.running_mean, norm.running_var = norm.running_mean.clone(), norm.running_var.clone()
        with torch.enable_grad():
            point = ctx.point.requires_grad_()
            value = _equilibrium_map(loop, point, loop.undropped_current)
        for norm, (mean, variance) in zip(norms, statistics):
            norm.running_mean, norm.running_var = mean, variance

        def residual(v: Tensor) -> Tensor:
            return torch.autograd.grad(value, point, v, retain_graph=True)[0] - v + grad

        return None, None, _broyden(residual, torch.zeros_like(grad), loop.ring.solver_steps)


def _broyden(residual: Callable[[Tensor], Tensor], x: Tensor, steps: int) -> Tensor:
    """Broyden's good method with limited memory, H = -1 + U V^T per sample; the best iterate."""
    shape = x.shape
    x, r = x.flatten(1), residual(x).flatten(1)
    us, vs = x.new_zeros(2, *x.shape, BROYDEN_MEMORY).unbind(0)
    best, lowest = x, r.norm()
    step = -r
    for n in range(steps):
        x = x + step
        before, r = r, residual(x.view(shape)).flatten(1)
        if r.norm() < lowest:
            best, lowest = x, r.norm()
        change = r - before
        v = _inverse(vs, us, step)  # step^T H
        u = (step - _inverse(us, vs, change)) / (v * change).sum(1, keepdim=True)
        us[..., n % BROYDEN_MEMORY] = u.nan_to_num(0.0)
        vs[..., n % BROYDEN_MEMORY] = v.nan_to_num(0.0)
        step = -_inverse(us, vs, r)
    return best.view(shape)


def _inverse(us: Tensor, vs: Tensor, r: Tensor) -> Tensor:
    return -r + torch.einsum("bnm,bm->bn", us, torch.einsum("bkm,bk->bm", vs, r))


# --- SPIDE ----------------------------------------------------------------------------------------------------------------------


def spide_rate(ring: nn.Module, x: Tensor) -> Tensor:
    loop = Ring(ring, x)
    rates = loop.simulate()
    from_input = ring.input_layer(x)
    back = 0 if ring.feedback is None else ring.feedback(rates[-1])
    drives = [from_input + back, *(layer(rate) for layer, rate in zip(ring.layers, rates))]
    return _Spikes.apply(loop, rates, *drives)


class _Spikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loop, rates, *drives):
        ctx.loop, ctx.rates = loop, rates
        return rates[-1].clone()

    @staticmethod
    def backward(ctx, grad):
        loop, rates, ring = ctx.loop, ctx.rates, ctx.loop.ring
        # Of leaky neurons that fire at every step the rate is 1 but for rounding.
        masks = [((rate > 0) & (rate < 1 - 1e-6)).to(rate.dtype) for rate in rates]
        transposed = [_transposed(loop, index, rates[index - 1]) for index in range(len(rates))]
        membrane, emitted, betas = [torch.zeros_like(r) for r in rates], [None] * len(rates), [torch.zeros_like(r) for r in rates]
        for t in range(ring.backward_time_steps):
            for index in reversed(range(len(rates))):
                u = membrane[index]
                if index == len(rates) - 1:
                    u = u + grad
                    if t and ring.feedback is not None:
                        u = u + transposed[0](emitted[0] * masks[0]) / ring.reset_amount
                else:
                    u = u + transposed[index + 1](emitted[index + 1] * masks[index + 1]) / ring.reset_amount
                sign = (u >= ring.backward_threshold).to(u.dtype) - (u <= -ring.backward_threshold).to(u.dtype)
                emitted[index] = ring.amplitude * sign
                betas[index] = ring.leak * betas[index] + emitted[index]
                membrane[index] = ring.leak * (u - emitted[index])
        mean_weight = sum(ring.leak**t for t in range(ring.backward_time_steps))
        return None, None, *(beta / mean_weight * mask / ring.reset_amount for beta, mask in zip(betas, masks))


def _transposed(loop: Ring, index: int, x: Tensor) -> Callable[[Tensor], Tensor] | None:
    """Multiplies by the transpose of a sub-network's linear part, dropout included."""
    if loop.networks[index] is None:
        return None
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = loop.apply(index, x)
    return lambda v: torch.autograd.grad(y, x, v, retain_graph=True)[0]
