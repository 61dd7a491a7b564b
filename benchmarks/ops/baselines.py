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


def local_learning_steps(currents, weight, labels, membrane, class_membrane, count, squared_error, spikes, gradients):
    """A layer that learns by ELL, in place: the input (T, N, U), the classifier (K, U), labels (N,), the state, spikes, gradients."""
    target = torch.nn.functional.one_hot(labels, len(weight)).to(currents.dtype)
    for x, gradient in zip(currents, gradients):
        membrane.sub_((membrane >= THRESHOLD).to(x.dtype), alpha=THRESHOLD).mul_(DECAY).add_(x)
        torch.ge(membrane, THRESHOLD, out=spikes)
        derivative = torch.exp(-(membrane - THRESHOLD).abs())
        class_membrane.sub_((class_membrane >= THRESHOLD).to(x.dtype), alpha=THRESHOLD).mul_(DECAY).add_(spikes @ weight.t())
        class_spikes = (class_membrane >= THRESHOLD).to(x.dtype)
        difference = class_spikes - target
        count.add_(class_spikes)
        squared_error.add_(difference.square().sum(1))
        error = difference * torch.exp(-(class_membrane - THRESHOLD).abs())
        torch.mul(error.to(x.dtype) @ weight, derivative, out=gradient)
    return gradients


def local_gradient_in_time(gradient, derivatives):
    """From the gradient of the last membrane potential (...) to those of all currents (T + 1, ...)."""
    gradients = [gradient]
    for derivative in reversed(derivatives.unbind()):
        gradients.append(gradients[-1] * (DECAY * (1 - THRESHOLD * derivative)))
    return torch.stack(gradients[::-1])


def poisson_encode(p, T):
    """Spikes (T, ...) drawn with probabilities p (...)."""
    return (torch.rand(T, *p.shape, dtype=p.dtype, device=p.device) < p).to(p.dtype)
