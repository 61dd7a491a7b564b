"""What one would write without fused kernels: plain PyTorch, one time step after the other.

Where the project's reference is already the plain loop (TSSL-BP, the synapse, packing, latency coding), the registry takes
that. The ones here are leaner than the reference, because they leave out the options that are not used in the measurement.
"""

import torch

from spikeops.surrogate import ATan

DECAY, THRESHOLD = 0.5, 1.0
SURROGATE = ATan(2.0)


class _Spike(torch.autograd.Function):
    """Heaviside step with a surrogate derivative."""

    @staticmethod
    def forward(ctx, distance):
        ctx.save_for_backward(distance)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, grad_spike):
        (distance,) = ctx.saved_tensors
        return grad_spike * SURROGATE.derivative(distance)


def _lif_steps(x):
    v = torch.zeros_like(x[0])
    for x_t in x:
        u = DECAY * v + x_t
        spike = _Spike.apply(u - THRESHOLD)
        v = u - THRESHOLD * spike
        yield spike


def lif(x):
    """Spikes (T, ...) of leaky integrate-and-fire neurons with subtractive reset, for currents x (T, ...)."""
    return torch.stack(list(_lif_steps(x)))


def lif_rate(x):
    """Mean firing rate (...) of :func:`lif`, without keeping the spike train."""
    return sum(_lif_steps(x)) / len(x)


def feedback_steps(drive, membrane, rate, spikes):
    """Integrate-and-fire neurons of a feedback network, in place: the input (T, ...), their state (...), the spikes (T, ...)."""
    for x, spike in zip(drive, spikes):
        membrane.add_(x)
        spike.copy_(membrane >= THRESHOLD)
        rate.add_(spike)
        membrane.sub_(spike, alpha=THRESHOLD)
    return spikes


def ternary_steps(drive, membrane, rate, spikes):
    """The same for neurons that fire +A, -A or not at all, A twice the threshold."""
    for x, spike in zip(drive, spikes):
        membrane.add_(x)
        torch.mul((membrane >= THRESHOLD).to(x.dtype) - (membrane <= -THRESHOLD).to(x.dtype), 2 * THRESHOLD, out=spike)
        rate.add_(spike)
        membrane.sub_(spike)
    return spikes


def poisson_encode(p, T):
    """Spikes (T, ...) drawn with probabilities p (...)."""
    return (torch.rand(T, *p.shape, dtype=p.dtype, device=p.device) < p).to(p.dtype)
