"""Whether two compute the same: what is compared before it is timed, and how near it has to be."""

from __future__ import annotations

import torch
from torch import Tensor

# Where a library adds up a step in another order than ours, its potential differs by some units of 2^-24; in about one of a million
# steps it then lies on the other side of the threshold. In 16 bits some libraries keep 11 binary digits of the potential.
SPIKES_THAT_DIFFER = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 2e-1}
# A spike that differs changes the gradients of its neuron in all steps, and of what the neuron leads to.
GRADIENTS_THAT_DIFFER = {torch.float32: 1e-3, torch.float16: 1e-1, torch.bfloat16: 5e-1}
NEAR = 1e-4  # of the largest value: above what float32 sums of some thousand terms in another order leave
NEAR_IN_NET = 1e-2  # of gradients, where one spike in 10^6 may differ; the loss itself has to be near


class Different(Exception):
    """It computes something else than the reference does; the message says what."""


def error(got: Tensor, wanted: Tensor) -> float:
    """Largest difference over the largest value."""
    largest = wanted.double().abs().max()
    difference = (got.double() - wanted.double()).abs().max()
    return (difference / largest).item() if largest > 0 else difference.item()


def of_layer(output: Tensor, gradients: list[Tensor], wanted: Tensor, wanted_gradients: list[Tensor], is_spikes: bool,
             has_same_gradient: bool = True) -> dict[str, float]:  # fmt: skip
    """By how much the output of a layer and its gradients, that of its input first, differ.

    Raises:
        Different: by too much.
    """
    dtype = wanted.dtype
    found = {"gradient_error": error(gradients[0], wanted_gradients[0])}
    if is_spikes:
        found["spikes_differ"] = (output != wanted).double().mean().item()
        found["firing_rate"] = wanted.double().mean().item()
        if found["spikes_differ"] > SPIKES_THAT_DIFFER[dtype]:
            raise Different(f"its spikes differ in {found['spikes_differ']:.2g} of all steps")
    else:
        found["output_error"] = error(output, wanted)
        if found["output_error"] > NEAR:
            raise Different(f"its output differs by {found['output_error']:.1e} of the largest value")
    if not has_same_gradient:
        return found
    share = _share_that_differs(gradients[0], wanted_gradients[0], NEAR if dtype == torch.float32 else 1e-2)
    if share > GRADIENTS_THAT_DIFFER[dtype]:
        raise Different(f"its gradient differs in {share:.2g} of its elements, by {found['gradient_error']:.1e} of the largest")
    for gradient, other in zip(gradients[1:], wanted_gradients[1:], strict=True):
        if (by := error(gradient.reshape(other.shape), other)) > NEAR_IN_NET:
            raise Different(f"the gradient of what it learns differs by {by:.1e} of the largest value")
    return found


def of_net(loss: Tensor, gradients: list[Tensor], wanted_loss: Tensor, wanted: list[Tensor]) -> dict[str, float]:
    """By how much the loss of a net and the gradients of its weights differ.

    Raises:
        Different: by too much.
    """
    found = {"loss_error": error(loss, wanted_loss)}
    if found["loss_error"] > NEAR:
        raise Different(f"its loss is {loss.item():.6g} instead of {wanted_loss.item():.6g}")
    found["gradient_error"] = max(
        error(gradient.reshape(other.shape), other) for gradient, other in zip(gradients, wanted, strict=True)
    )
    if found["gradient_error"] > NEAR_IN_NET:
        raise Different(f"its gradient differs by {found['gradient_error']:.1e} of the largest value")
    return found


def _share_that_differs(got, wanted, near):
    return ((got.float() - wanted.float()).abs() > near * wanted.float().abs().max()).double().mean().item()
