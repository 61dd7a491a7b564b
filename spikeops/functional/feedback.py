"""Time steps of neurons in feedback networks, in place on their state.

The native ops check their arguments themselves; :func:`_explain` says in words what did not fit (see ``_in_place.py``).
"""

from __future__ import annotations

from functools import partial

import torch

from spikeops import _backend, reference
from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _in_place, _register
from spikeops.functional._other_words import FEEDBACK, explain_other_words

# The arguments that are numbers, in the order of the schemas (csrc/feedback.cpp), and the name of the one called `factor` there.
_NUMBERS = {
    "feedback_step_": ("leak", "threshold", "reset_amount"),
    "ternary_step_": ("drive_scale", "leak", "threshold", "amplitude"),
}
_FACTORS = {"feedback_step_": "mask", "ternary_step_": "gate"}


@explain_other_words(FEEDBACK)
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
        count: number of spikes (...), dtype of membrane. Updated. In float32 exact up to 2^24.
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
    _in_place.refuse_transforms("feedback_step_")
    tensors = membrane, spikes, rate, drive, current, mask, count, fired
    numbers = _in_place.plain_numbers((leak, threshold, reset_amount))
    if _backend.is_reference():
        _explain("feedback_step_", *tensors, *numbers)
        named = dict(zip(_NUMBERS["feedback_step_"], numbers))
        reference.feedback_step_(membrane, spikes, rate, drive, current=current, mask=mask, count=count, fired=fired, **named)
    else:
        _run("feedback_step_", tensors, numbers)
    return spikes


@explain_other_words(FEEDBACK)
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
    _in_place.refuse_transforms("ternary_step_")
    tensors = membrane, spikes, rate, drive, current, gate, count, fired
    numbers = _in_place.plain_numbers((drive_scale, leak, threshold, amplitude))
    if _backend.is_reference():
        _explain("ternary_step_", *tensors, *numbers)
        named = dict(zip(_NUMBERS["ternary_step_"], numbers))
        reference.ternary_step_(membrane, spikes, rate, drive, current=current, gate=gate, count=count, fired=fired, **named)
    else:
        _run("ternary_step_", tensors, numbers)
    return spikes


def _run(op, tensors, numbers):
    _in_place.run(op, (*tensors, *numbers), tensors, numbers, _written(*tensors), partial(_explain, op, *tensors, *numbers))


def _written(membrane, spikes, rate, drive, current, factor, count, fired):
    if count is None and fired is None:
        return membrane, spikes, rate
    return [tensor for tensor in (membrane, spikes, rate, count, fired) if tensor is not None]


def _explain(op, membrane, spikes, rate, drive, current, factor, count, fired, *numbers):
    """Raises an error that names the first argument that does not fit; returns if all do."""
    _check_numbers(op, numbers)
    _checks.floating(op, "spikes", spikes)
    data, state = spikes.dtype, state_dtype(spikes.dtype)
    _checks.fit(op, data, **dict(zip(_NUMBERS[op], numbers)))
    where = f"spikes are {str(data).removeprefix('torch.')}"
    _in_place.check_dtype(op, "membrane", membrane, state, where)
    _in_place.check_dense(op, membrane)
    step = membrane.shape
    steps = _number_of_steps(op, spikes, membrane)
    sequence = [torch.Size((steps, *step)), *([step] if steps == 1 else [])]

    # name -> (tensor, dtype, shapes, whether it is written)
    expected = {
        "membrane": (membrane, state, [step], True),
        "spikes": (spikes, data, sequence, True),
        "rate": (rate, state, [step], True),
        "drive": (drive, data, sequence, False),
        "current": (current, data, [step, *sequence], False),
        _FACTORS[op]: (factor, data, [step], False),
        "count": (count, state, [step], True),
    }
    for name, (value, dtype, shapes, is_written) in expected.items():
        if value is None and name not in ("membrane", "spikes", "rate"):
            continue
        _in_place.check_dtype(op, name, value, dtype, where)
        _checks.shape(op, name, value, shapes)
        if is_written:
            _in_place.check_order(op, name, value, membrane)
        _in_place.check_device_and_gradient(op, name, value, membrane)
    if fired is not None:
        _in_place.check_dtype(op, "fired", fired, torch.int32, where)
        _checks.shape(op, "fired", fired, [torch.Size((steps,)), *([torch.Size(())] if steps == 1 else [])])
        _in_place.check_contiguous(op, "fired", fired)
        _in_place.check_device_and_gradient(op, "fired", fired, membrane)


def _check_numbers(op, numbers):
    given = dict(zip(_NUMBERS[op], numbers))
    for name, value in given.items():
        _checks.number(op, name, value)
    if not 0 < given["leak"] <= 1:
        raise ValueError(
            f"{op}: expected leak to be above 0 and at most 1, got {given['leak']}. Hint: for a time constant use leak=1 - 1/tau or exp(-1/tau)."
        )
    if op == "ternary_step_":
        _checks.positive(op, "threshold", given["threshold"])


def _number_of_steps(op, spikes, membrane):
    if spikes.shape == membrane.shape:
        return 1
    if spikes.shape[1:] != membrane.shape or spikes.dim() == 0:
        with_time = ", ".join(map(str, ("K", *membrane.shape)))
        raise ValueError(
            f"{op}: expected spikes to have the shape of membrane, {tuple(membrane.shape)}, or ({with_time}) for K time steps, got "
            f"{tuple(spikes.shape)}."
        )
    _checks.time_steps(op, "spikes", spikes)
    return spikes.shape[0]


for _op in _NUMBERS:
    _register.op(_op, partial(_explain, _op))
