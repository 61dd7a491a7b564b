"""Time steps of neurons in feedback networks, in place on their state.

Called for every layer in every time step, so the native ops check their arguments themselves, in C++; :func:`_explain` then says
in words what did not fit.
"""

from __future__ import annotations

import torch

from spikeops import reference
from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _layout


def feedback_step_(
    membrane: torch.Tensor,
    spikes: torch.Tensor,
    rate: torch.Tensor,
    drive: torch.Tensor | None = None,
    *,
    current: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    count: torch.Tensor | None = None,
    fired: torch.Tensor | None = None,
    leak: float = 1.0,
    threshold: float = 1.0,
    reset_amount: float | None = None,
) -> torch.Tensor:
    """K time steps of integrate-and-fire neurons inside a feedback network, in one pass over memory and in place.

    The forward step of IDE (Xiao et al., "Training Feedback Spiking Neural Networks by Implicit Differentiation on the Equilibrium
    State", NeurIPS 2021, arXiv:2109.14247) and of SPIDE (Xiao et al., Neural Networks 2023, arXiv:2302.00232). For each
    neuron, ``k = 0 .. K-1``, in this order::

        u = membrane + mask * drive[k] + current          membrane potential (what is not given does not count)
        spikes[k] = s = 1 if u >= threshold else 0
        rate = leak * rate + s                            firing rate, up to its normalisation
        count = count + s
        membrane = leak * (u - reset_amount * s)          reset by subtraction, then leak

    Divide ``rate`` by ``sum_t leak^t`` (by the number of steps for leak 1) for the firing rate. K is 1 where the next step's drive
    depends on these spikes, and may be larger where no feedback links the steps. Not differentiable. Nothing is allocated where
    all tensors have the memory order of ``membrane``, and nothing is read back from a GPU: a loop of steps can be captured in a
    CUDA graph.

    Args:
        membrane: membrane potentials (...), dense in memory in any order of the dimensions. float64 where spikes are float64, else
            float32. Updated.
        spikes: (K, ...), or (...) for one step; float32, float64, float16 or bfloat16: the data type. Written: 0 or 1.
        rate: (...), dtype of membrane. Updated.
        drive: input through synapses, shape and dtype of spikes.
        current: further input (...), the same in all steps, or (K, ...); dtype of spikes.
        mask: factor on drive (...), such as a dropout mask; dtype of spikes.
        count: number of spikes (...), dtype of membrane. Updated.
        fired: int32 (K,): set to 1 for the steps in which any neuron fired, to 0 for the others.
        leak: factor on the membrane potential per time step, in (0, 1]; 1 for neurons that do not leak.
        threshold: membrane potential at which a neuron fires.
        reset_amount: subtracted from the membrane potential by a spike; the threshold by default.

    ``membrane``, ``spikes``, ``rate`` and ``count`` must have the same order of dimensions in memory; ``drive``, ``current`` and
    ``mask`` in another one are copied.

    Returns:
        ``spikes``.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device, memory order or value, or a tensor that requires a
        gradient outside ``torch.no_grad()``. RuntimeError: no kernel for the device.

    Example:
        >>> membrane, spikes, rate = torch.zeros(3), torch.empty(3), torch.zeros(3)
        >>> SF.feedback_step_(membrane, spikes, rate, torch.tensor([0.5, 1.0, 1.5]))
        tensor([0., 1., 1.])
        >>> membrane
        tensor([0.5000, 0.0000, 0.5000])
    """
    if reset_amount is None:
        reset_amount = threshold
    numbers = {"leak": leak, "threshold": threshold, "reset_amount": reset_amount}
    _explain("feedback_step_", membrane, spikes, rate, drive, current, ("mask", mask), count, fired, numbers)
    reference.feedback_step_(membrane, spikes, rate, drive, current=current, mask=mask, count=count, fired=fired, leak=leak,
                             threshold=threshold, reset_amount=reset_amount)  # fmt: skip
    return spikes


def ternary_step_(
    membrane: torch.Tensor,
    spikes: torch.Tensor,
    rate: torch.Tensor,
    drive: torch.Tensor | None = None,
    *,
    current: torch.Tensor | None = None,
    gate: torch.Tensor | None = None,
    count: torch.Tensor | None = None,
    fired: torch.Tensor | None = None,
    drive_scale: float = 1.0,
    leak: float = 1.0,
    threshold: float = 0.5,
    amplitude: float | None = None,
) -> torch.Tensor:
    """K time steps of ternary neurons, which fire +1, -1 or not at all: :func:`feedback_step_` for a backward pass by spikes.

    The backward step of SPIDE (Xiao et al., "SPIDE: A purely spike-based method for training feedback spiking neural networks",
    Neural Networks 2023, arXiv:2302.00232). For each neuron, ``k = 0 .. K-1``, in this order::

        u = membrane + current + drive_scale * drive[k]   membrane potential (what is not given does not count)
        sign = (u >= threshold) - (u <= -threshold)
        spikes[k] = sign * gate                           sign * amplitude without a gate
        rate = leak * rate + amplitude * sign             the gradient that the spikes stand for, up to its normalisation
        count = count + |sign|
        membrane = leak * (u - amplitude * sign)

    Args:
        membrane, spikes, rate, drive, current, count: as in :func:`feedback_step_`; ``spikes`` are signed and scaled.
        gate: what a positive spike sends on (...), dtype of spikes: the amplitude times a mask of the neurons that take part in the
            gradient, times a dropout mask.
        fired: int32 (K,): set to 1 for the steps in which any neuron sent on anything but 0, to 0 for the others.
        drive_scale: factor on drive.
        leak: as in :func:`feedback_step_`.
        threshold: neurons fire at this membrane potential, and at its negative. Above 0.
        amplitude: size of a spike; twice the threshold by default.

    Returns:
        ``spikes``.

    Raises:
        As :func:`feedback_step_`.

    Example:
        >>> membrane, spikes, rate = torch.zeros(3), torch.empty(3), torch.zeros(3)
        >>> SF.ternary_step_(membrane, spikes, rate, torch.tensor([0.3, 0.6, -0.6]))
        tensor([ 0.,  1., -1.])
        >>> membrane
        tensor([ 0.3000, -0.4000,  0.4000])
    """
    if amplitude is None:
        amplitude = 2 * threshold
    numbers = {"drive_scale": drive_scale, "leak": leak, "threshold": threshold, "amplitude": amplitude}
    _explain("ternary_step_", membrane, spikes, rate, drive, current, ("gate", gate), count, fired, numbers)
    reference.ternary_step_(membrane, spikes, rate, drive, current=current, gate=gate, count=count, fired=fired,
                            drive_scale=drive_scale, leak=leak, threshold=threshold, amplitude=amplitude)  # fmt: skip
    return spikes


def _explain(op, membrane, spikes, rate, drive, current, factor, count, fired, numbers):
    """Raises an error that names the first argument that does not fit; returns if all do."""
    _check_numbers(op, numbers)
    _checks.floating(op, "spikes", spikes)
    state = state_dtype(spikes.dtype)
    _check_dtype(op, "membrane", membrane, state, spikes.dtype)
    if not (membrane.numel() == 0 or _layout.is_dense(membrane.shape, membrane.stride())):
        raise ValueError(
            f"{op}: expected membrane, which is updated in place, to be dense in memory, got shape {tuple(membrane.shape)} with "
            f"strides {membrane.stride()}. Call membrane.contiguous() first."
        )
    steps = _number_of_steps(op, spikes, membrane)
    with_time = (steps, *membrane.shape)

    given = {"membrane": membrane, "spikes": spikes, "rate": rate}
    _check_in_place(op, "spikes", spikes, membrane)
    for name, value in (("rate", rate), ("count", count)):
        if value is not None or name == "rate":
            _check_dtype(op, name, value, state, spikes.dtype)
            _check_shape(op, name, value, membrane.shape)
            _check_in_place(op, name, value, membrane)
            given[name] = value
    one_step = (membrane.shape,) if steps == 1 else ()
    factor_name, factor = factor
    for name, value, shapes in (
        ("drive", drive, (with_time, *one_step)), ("current", current, (membrane.shape, with_time)), (factor_name, factor, (membrane.shape,))
    ):  # fmt: skip
        if value is not None:
            _check_dtype(op, name, value, spikes.dtype, spikes.dtype)
            _check_shape(op, name, value, *shapes)
            given[name] = value
    if fired is not None:
        _check_dtype(op, "fired", fired, torch.int32, spikes.dtype)
        _check_shape(op, "fired", fired, (steps,), *([()] if steps == 1 else []))
        if not fired.is_contiguous():
            raise ValueError(f"{op}: expected fired, which is written in place, to be contiguous, got strides {fired.stride()}.")
        given["fired"] = fired
    for name, value in given.items():
        if value.device != membrane.device:
            raise ValueError(
                f"{op}: expected {name} on the device of membrane, {membrane.device}, got {value.device}. "
                f"Call {name}.to(membrane.device) first."
            )
        if value.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{op}: expected tensors without gradients, since the op is not differentiable, but {name} requires one. Call it "
                f"under torch.no_grad(), or with {name}.detach()."
            )


def _check_numbers(op, numbers):
    for name, value in numbers.items():
        _checks.number(op, name, value)
    leak = numbers["leak"]
    if not 0 < leak <= 1:
        raise ValueError(f"{op}: expected leak to be above 0 and at most 1, got {leak}.")
    if "amplitude" in numbers:
        _checks.positive(op, "threshold", numbers["threshold"])


def _number_of_steps(op, spikes, membrane):
    if spikes.shape == membrane.shape:
        return 1
    if spikes.shape[1:] != membrane.shape or spikes.dim() == 0:
        raise ValueError(
            f"{op}: expected spikes to have the shape of membrane, {tuple(membrane.shape)}, or (K, *{tuple(membrane.shape)}) for K "
            f"time steps, got shape {tuple(spikes.shape)}."
        )
    _checks.time_steps(op, "spikes", spikes)
    return spikes.shape[0]


def _check_dtype(op, name, value, expected, data):
    _checks.tensor(op, name, value)
    if value.dtype != expected:
        wanted, got, data = (str(dtype).removeprefix("torch.") for dtype in (expected, value.dtype, data))
        raise TypeError(
            f"{op}: expected {name} to be {wanted} where spikes are {data}, got {got}. Call {name}.to(torch.{wanted}) first."
        )


def _check_shape(op, name, value, *shapes):
    if value.shape not in shapes:
        wanted = " or ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(f"{op}: expected {name} to have shape {wanted}, got shape {tuple(value.shape)}.")


def _check_in_place(op, name, value, membrane):
    """A tensor that is written must have the memory order of membrane."""
    time_axes = value.dim() - membrane.dim()
    strides = value.stride()[time_axes:]
    same_order = all(s == m for s, m, n in zip(strides, membrane.stride(), membrane.shape) if n != 1)
    steps_follow = time_axes == 0 or value.shape[0] == 1 or value.stride(0) == membrane.numel()
    if value.numel() and not (same_order and steps_follow):
        raise ValueError(
            f"{op}: expected {name}, which is written in place, in the memory order of membrane, with strides {membrane.stride()} "
            f"for shape {tuple(membrane.shape)}, got strides {value.stride()} for shape {tuple(value.shape)}."
        )
