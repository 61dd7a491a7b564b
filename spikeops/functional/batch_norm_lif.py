"""Batch norm with leaky integrate-and-fire neurons behind it, in one walk through time."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from spikeops import _backend, _layout, reference
from spikeops._dtypes import state_dtype
from spikeops.functional import _batch_norm, _checks, _derivatives, _provenance, _reduce, _register, _transforms, _vmap
from spikeops.functional._batch_norm import NormOptions
from spikeops.functional._lif_options import RESET_NAMES, RESETS, LIFOptions, Reset, checked_options
from spikeops.functional._other_words import NEURON, explain_other_words
from spikeops.surrogate import ATan, Surrogate
from spikeops.surrogate._of_numbers import from_coefficients

_OP = "batch_norm_lif"
# Statistics of kernels/math/batch_norm_lif.h.
_GIVEN, _OWN, _GATHERED = range(3)


@explain_other_words(NEURON)
def batch_norm_lif(
    x: torch.Tensor,
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    decay: float = 0.5,
    threshold: float = 1.0,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    tdbn_alpha: float | None = None,
    synchronized: bool = False,
    process_group: Any = None,
    input_scale: float = 1.0,
    reset: Reset = "subtract",
    reset_amount: float | None = None,
    v_reset: float = 0.0,
    v_rest: float = 0.0,
    strict: bool = False,
    detach_reset: bool = False,
    surrogate: Surrogate = ATan(2.0),
    v_init: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch norm over all time steps, samples and places, and :func:`lif` of what it makes, as one op::

        y = (x - mean) * (weight / sqrt(var + eps)) + bias       for each channel
        spikes, v_last = lif(y, decay, threshold, ...)

    It is ``lif(batch_norm(x), ...)`` with ``torch.nn.functional.batch_norm`` of x folded to (T * B, C, ...), forward and backward, running
    statistics included, in fewer passes over memory: y is nowhere stored. Of x and the spikes a float32 neuron moves, in bytes for each
    time step,

    ===========================  =======  ========  ======================
    .                            forward  backward  kept for the backward
    ===========================  =======  ========  ======================
    batch norm, then ``lif``     20       32        8: x and y
    this, in training            12       24        4: x
    this, statistics given       8        12        4: x
    ===========================  =======  ========  ======================

    and keeps the mean and the inverse standard deviation of each channel besides. The backward pass runs the neurons once more, adds up
    the gradients of bias and weight on its way, and corrects the gradient of x in place.

    Sums over a channel are taken in float64 and in a fixed order, so that statistics and gradients do not depend on the number of threads;
    y is worked out in the precision of the state, float32 for 16-bit x, in the order of operations above.

    Args:
        x: input current (T, B, C, ...), float32, float64, float16 or bfloat16: T time steps, B samples, C channels. A time step that is
            dense in memory in any order of its dimensions (channels-last, say) is used as it is; other strides are copied.
        running_mean, running_var: (C) statistics, both or none. In training they are moved, in place; else they are used. Without them
            statistics are always those of x.
        weight, bias: (C), of the affine map; 1 and 0 if left out. They get gradients.
        decay, threshold: of the neurons, as in :func:`lif`; numbers.
        training: use the statistics of x, through which gradients pass.
        momentum: weight of the statistics of x in the running ones, between 0 and 1. (The cumulative average that ``momentum=None`` of
            torch's modules means is ``1 / (number of batches so far)``.)
        eps: added to the variance.
        tdbn_alpha: multiply the normalised input by ``tdbn_alpha * threshold``, as threshold-dependent batch norm does (tdBN: Zheng, Wu,
            Deng, Hu & Li, "Going Deeper With Directly-Trained Larger Spiking Neural Networks", AAAI 2021, arXiv:2011.05280): 1 for
            plain layers, ``1 / sqrt(n)`` where n branches are added. None: do not.
        synchronized: in training, use the statistics of the x of all processes of ``process_group``, as torch.nn.SyncBatchNorm does; their
            batches may differ in size. All processes must make the call, and its backward pass. Without torch.distributed it changes
            nothing.
        process_group: of torch.distributed; None for that of all processes.
        input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate: of the neurons, as in :func:`lif`.
        v_init: membrane potential before the first step, broadcastable to ``x.shape[1:]``; gets a gradient. 0 by default.

    Decays and thresholds that are learned, traces and other options of :func:`lif` are not for this op: use batch norm and ``lif``. Second
    derivatives are those of the definition, in plain PyTorch, but for synchronized statistics, which have none; forward mode is refused
    (docs/transforms.md).

    Returns:
        ``(spikes, v_last)``: spikes (T, B, C, ...), 0 or 1, in x's dtype and layout; v_last (B, C, ...), the membrane potential after the
        last reset, in float32 for 16-bit x.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device or value; in training, one value per channel, of which there is
        no variance. RuntimeError: no kernel for the device.

    Example:
        >>> x = torch.arange(6.0).reshape(3, 2, 1)
        >>> spikes, v = SF.batch_norm_lif(x, decay=0.5, training=True)
        >>> spikes.squeeze(), v.squeeze()
        (tensor([[0., 0.],
                [0., 0.],
                [0., 1.]]), tensor([0.3660, 0.3907]))
    """
    options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    norm = NormOptions(training, _batch_norm.checked_momentum(_OP, momentum), eps, tdbn_alpha, synchronized, process_group)
    return run_batch_norm_lif(x, (running_mean, running_var), (weight, bias), decay, threshold, norm, options, v_init)


def run_batch_norm_lif(
    x: torch.Tensor,
    running: tuple[torch.Tensor | None, torch.Tensor | None],
    affine: tuple[torch.Tensor | None, torch.Tensor | None],
    decay: float,
    threshold: float,
    norm: NormOptions,
    options: LIFOptions,
    v_init: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`batch_norm_lif` with its arguments together."""
    decay, norm = _checks.decay(_OP, "decay", decay), _batch_norm.checked_norm(_OP, norm)
    threshold, options = checked_options(_OP, threshold, options)
    _check_tensors(x, running, affine, v_init)
    input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate = options
    reset_amount = threshold if reset_amount is None else reset_amount
    gain = None if norm.tdbn_alpha is None else norm.tdbn_alpha * threshold
    _checks.fit(
        _OP, x.dtype, threshold=threshold, input_scale=input_scale, reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest, eps=norm.eps,
        tdbn_alpha=0.0 if gain is None else gain,
    )  # fmt: skip
    weight, bias = affine
    learns = norm.training or running[0] is None
    together = learns and _batch_norm.processes(norm) > 1
    if learns and not together:
        _batch_norm.check_count(_OP, x)
    if _backend.is_reference():
        options = options._replace(reset_amount=reset_amount)
        outputs = reference.batch_norm_lif(
            x, *running, weight, bias, decay, threshold, v_init=v_init, **norm._asdict(), **options._asdict()
        )
        return _provenance.mark_first(outputs)
    ops = _backend.namespace(_OP, x.device)
    if gain is not None:
        gains = torch.full((x.shape[2],), gain, dtype=state_dtype(x.dtype), device=x.device)
        weight = gains if weight is None else weight.to(gains.dtype) * gains
    if v_init is not None and _transforms.are_active():
        v_init = v_init.expand(x.shape[1:])  # whose batch vmap puts in front of the channels
    kind, scale, peak = surrogate.coefficients
    numbers = (decay, threshold, input_scale, reset_amount, v_reset, v_rest, scale, peak, norm.eps)
    modes = (RESETS[reset], int(strict), int(detach_reset), kind)
    arguments = weight, bias, v_init, numbers
    if together:
        run = torch.compiler.disable(_run_together) if torch.compiler.is_compiling() else _run_together
        return run(ops, x, running, norm, *arguments, (*modes, _GATHERED))
    if learns:
        statistics = _batch_norm.own(ops, x, norm.eps)
        _move(running, statistics, norm)
        mean, inv_std = statistics.mean, statistics.inv_std
    else:
        mean, variance = (numbers.detach() for numbers in running)
        inv_std = _batch_norm.inverse_deviation(variance, norm.eps, state_dtype(x.dtype))
    return _provenance.mark_first(_forward(ops, x, mean, inv_std, *arguments, (*modes, _OWN if learns else _GIVEN)))


def _check_tensors(x, running, affine, v_init):
    _checks.sequence(_OP, "x", x)
    if x.dim() < 3:
        raise ValueError(f"{_OP}: expected x to have shape (T, B, C, ...), got shape {tuple(x.shape)}.")
    for name, value in zip(("running_mean", "running_var", "weight", "bias"), (*running, *affine)):
        if value is not None:
            _batch_norm.of_channels(_OP, name, value, x)
    if (running[0] is None) != (running[1] is None):
        given, missing = ("running_var", "running_mean") if running[0] is None else ("running_mean", "running_var")
        raise ValueError(f"{_OP}: expected running_mean and running_var, or neither, got {given} without {missing}.")
    if v_init is not None:
        _checks.per_neuron(_OP, "v_init", v_init, x, x.shape[1:])


def _move(running, statistics, norm):
    if running[0] is not None:
        _batch_norm.update(_OP, *running, statistics, norm.momentum)


# --- statistics of several processes ----------------------------------------------------------------------------------------


def _run_together(ops, x, running, norm, *arguments):
    statistics = _batch_norm.gathered(_OP, ops, x, norm.eps, norm.process_group)
    _move(running, statistics, norm)
    return _provenance.mark_first(_Together.apply(ops, norm.process_group, statistics, x, *arguments))


class _Together(torch.autograd.Function):
    """With gradients through the statistics of the numbers of all processes."""

    @staticmethod
    def forward(ctx, ops, group, statistics, x, weight, bias, v_init, numbers, modes):
        ctx.set_materialize_grads(False)
        ctx.given = ops, group, statistics.count, (numbers, modes)
        tensors = x, statistics.mean, statistics.inv_std, weight, bias, v_init
        ctx.save_for_backward(*tensors)
        return _forward(ops, *tensors, numbers, modes)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_spikes, grad_v):
        ops, group, count, options = ctx.given
        tensors = ctx.saved_tensors
        x, mean, inv_std, weight, _, _ = tensors
        of_weight, of_bias, of_v_init = ctx.needs_input_grad[4:7]
        grad_y, sums, *parameters = _gradients(ops, grad_spikes, grad_v, tensors, options, of_weight, of_bias, of_v_init)
        # By all, whoever needs it: some processes must not wait for others.
        means = sums.clone()
        torch.distributed.all_reduce(means, group=group)
        grad_x = _norm_backward(ops, grad_y, x, mean, inv_std, weight, means / count) if ctx.needs_input_grad[3] else None
        return None, None, None, grad_x, *parameters, None, None


# --- the ops ----------------------------------------------------------------------------------------------------------------


def _gradients(ops, grad_spikes, grad_v, tensors, options, of_weight, of_bias, of_v_init):
    """(gradient of x or of what is normalised, sums, gradients of weight, bias and v_init, None for those not wanted)."""
    _, _, _, weight, bias, v_init = tensors
    grad_x, sums, grad_v_init = _backward(ops, grad_spikes, grad_v, *tensors, *options, of_v_init)
    return (
        grad_x, sums, sums[1].to(weight.dtype) if of_weight else None, sums[0].to(bias.dtype) if of_bias else None,
        _reduce.sum_to(ops, grad_v_init, v_init) if of_v_init else None,
    )  # fmt: skip


def _fake(x, *_):
    x = _layout.time_major(x)
    return _layout.empty_sequence(x), _layout.empty_step(x, state_dtype(x.dtype))


def _backward_fake(grad_spikes, grad_v, x, *others):
    x, state = _layout.time_major(x), state_dtype(x.dtype)
    sums = x.new_empty(2, x.shape[2], dtype=torch.float64)
    return _layout.empty_sequence(x), sums, _layout.empty_step(x, state) if others[-1] else None


def _setup_context(ctx, inputs, output):
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:6])
    ctx.options = inputs[6:]


def _formula(ops, ctx, grad_spikes, grad_v):
    if grad_spikes is None and grad_v is None:
        return (None,) * 8
    of_weight, of_bias, of_v_init = ctx.needs_input_grad[3:6]
    grad_x, _, *parameters = _gradients(ops, grad_spikes, grad_v, ctx.saved_tensors, ctx.options, of_weight, of_bias, of_v_init)
    return grad_x, None, None, *parameters, None, None


def _statistics_of(x, mean, inv_std, numbers, modes):
    """The same numbers, as functions of x where they are its own."""
    if modes[-1] != _OWN:
        return mean, inv_std
    own_mean, variance, _ = reference.channel_moments(x)
    own_inv_std = 1 / torch.sqrt(variance + numbers[-1])
    return tuple(value + (f - f.detach()).to(value.dtype) for value, f in ((mean, own_mean), (inv_std, own_inv_std)))


def _neurons(y, v_init, numbers, modes):
    decay, threshold, input_scale, reset_amount, v_reset, v_rest, scale, peak, _ = numbers
    reset, strict, detach_reset, kind, _ = modes
    return reference.lif(
        y, decay, threshold, input_scale=input_scale, reset=RESET_NAMES[reset], reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest,
        strict=bool(strict), detach_reset=bool(detach_reset), surrogate=from_coefficients(kind, scale, peak), v_init=v_init,
    )  # fmt: skip


def _backward_definition(grad_spikes, grad_v, x, mean, inv_std, weight, bias, v_init, numbers, modes, need_v_init):
    state = state_dtype(x.dtype)
    mean, inv_std = _statistics_of(x, mean, inv_std, numbers, modes)
    y = reference.normalise(x, mean, inv_std, weight, bias)
    primals = (y, v_init.to(state).expand(y.shape[1:])) if need_v_init else (y,)
    grads = None if grad_spikes is None else grad_spikes.to(state), grad_v
    grad_y, *of_v_init = _derivatives.pull_back(lambda y, v=v_init: _neurons(y, v, numbers, modes), primals, grads)
    axes = [axis for axis in range(x.dim()) if axis != 2]
    grad_v_init = of_v_init[0] if need_v_init else None
    normalised = reference.normalise(x, mean, inv_std, None, None)
    sums = torch.stack((grad_y.double().sum(axes), (grad_y * normalised).double().sum(axes)))
    grad = grad_y
    if modes[-1] == _OWN:
        means = (sums / normalised[:, :, :1].numel()).to(state)
        grad = grad - _spread(means[0], x) - normalised * _spread(means[1], x)
    if modes[-1] != _GATHERED:
        grad = grad * _spread(inv_std if weight is None else inv_std * weight.to(state), x)
    return grad.to(x.dtype), sums, grad_v_init


def _spread(numbers, x):
    return numbers.view(-1, *[1] * (x.dim() - 3))


def _norm_definition(grad_y, x, mean, inv_std, weight, means):
    state = state_dtype(x.dtype)
    normalised = reference.normalise(x, mean, inv_std, None, None)
    of_y, of_product = (_spread(numbers.to(state), x) for numbers in means)
    scale = inv_std if weight is None else inv_std * weight.to(state)
    return ((grad_y.to(state) - of_y - normalised * of_product) * _spread(scale, x)).to(x.dtype)


_NEURONS = (2, 0, 0, 0, 0, 1, None, None)  # the axis of the channels in the arguments of the forward op

_backward = _register.op(
    "batch_norm_lif_backward", _backward_fake, definition=_backward_definition,
    vmap=_vmap.as_channels(lambda *args: ((2, 1, *_NEURONS, None), (2, 1, 1 if args[-1] else None))),
)  # fmt: skip
_norm_backward = _register.op(
    "batch_norm_backward", lambda grad_y, x, *_: _layout.empty_sequence(_layout.time_major(x)), definition=_norm_definition,
    vmap=_vmap.as_channels(lambda *_: ((2, 2, 0, 0, 0, 1), (2,))),
)  # fmt: skip
_forward = _register.op(
    "batch_norm_lif_forward", _fake, _formula, _setup_context, function=_OP, vmap=_vmap.as_channels(lambda *_: (_NEURONS, (2, 1))),
)  # fmt: skip
