"""Registers the two ops of a neuron with many options: forward, and backward from x alone.

    <name>_forward(x, *parameters, numbers, modes, *others) -> outputs
    <name>_backward(*gradients of the outputs, x, *parameters, numbers, modes, *others, *needs) -> gradient of x, of each parameter

Parameters are tensors that broadcast to one time step, or None; `numbers` and `modes` are lists, the last of the modes the number of
time steps of an x that has no time axis, else 0; `needs` says for each parameter whether its gradient is wanted, which comes back with a
number for each neuron, or None.
"""

from __future__ import annotations

from typing import NamedTuple

from spikeops import _layout
from spikeops._dtypes import state_dtype
from spikeops.functional import _derivatives, _reduce, _register, _vmap
from spikeops.functional._vmap import PARAMETER, SEQUENCE, STEP


class Output(NamedTuple):
    layout: str
    is_state: bool  # in the precision of the state, else of x

    def empty(self, x):
        make = _layout.empty_sequence if self.layout == SEQUENCE else _layout.empty_step
        return make(x, dtype=state_dtype(x.dtype) if self.is_state else x.dtype)


SPIKES, LAST_STATE, RATE = Output(SEQUENCE, False), Output(STEP, True), Output(STEP, False)


def register(
    name: str, outputs: tuple[Output, ...], parameters: int, definition, others: int = 0, has_spikes: bool = True, function: str = ""
):
    """Returns ``call(ops, x, *parameters, numbers, modes, *others)``, as ``_register.op`` does.

    Args:
        name: of the ops, without _forward and _backward.
        outputs: of the forward op.
        parameters: how many there are.
        definition: the forward op in plain PyTorch.
        others: how many arguments follow the modes.
        has_spikes: without them there is a derivative in forward mode, that of the definition.
        function: the public one, where its name is another than the ops'.
    """
    tensors, arguments = 1 + parameters, 3 + parameters + others
    no_gradients = (None,) * arguments

    def split(args):
        """(gradients, x, parameters, all options, needs) of the backward op."""
        grads, forward, needs = args[: len(outputs)], args[len(outputs) : len(outputs) + arguments], args[len(outputs) + arguments :]
        return grads, forward[0], forward[1:tensors], forward[tensors:], needs

    def fake(*args):
        x = _layout.sequence(args[0], args[tensors + 1][-1])
        made = tuple(output.empty(x) for output in outputs)
        return made if len(made) > 1 else made[0]

    def backward_fake(*args):
        _, x, _, (_, modes, *_), needs = split(args)
        x = _layout.sequence(x, modes[-1])
        state = state_dtype(x.dtype)
        per_neuron = (_layout.empty_step(x, state) if need else None for need in needs)
        return _layout.empty_step(x) if modes[-1] else _layout.empty_sequence(x), *per_neuron

    def setup_context(ctx, inputs, output):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:tensors])
        ctx.options = inputs[tensors:]

    def backward(ops, ctx, *grads):
        for grad in grads:
            if grad is not None:
                break
        else:
            return no_gradients
        inputs, needs = ctx.saved_tensors, ctx.needs_input_grad[1:tensors]
        found = backward_call(ops, *grads, *inputs, *ctx.options, *needs)
        if True in needs:
            found = found[0], *(None if grad is None else _reduce.sum_to(ops, grad, to) for grad, to in zip(found[1:], inputs[1:]))
        return *found, *no_gradients[tensors:]

    def backward_definition(*args):
        grads, x, given, options, needs = split(args)
        state, step = state_dtype(x.dtype), x.shape if options[1][-1] else x.shape[1:]
        chosen = [i for i, needed in enumerate(needs) if needed]
        wide = [p.to(state).expand(step) if needed else p for p, needed in zip(given, needs)]

        def of_chosen(x, *values):
            all_of_them = list(wide)
            for i, value in zip(chosen, values):
                all_of_them[i] = value
            result = definition(x, *all_of_them, *options)
            return result if isinstance(result, tuple) else (result,)

        grad_x, *found = _derivatives.pull_back(of_chosen, (x, *(wide[i] for i in chosen)), grads)
        per_neuron = [None] * parameters
        for i, grad in zip(chosen, found):
            per_neuron[i] = grad
        return grad_x, *per_neuron

    def layout_of_x(modes):
        return STEP if modes[-1] else SEQUENCE

    def input_layouts(modes):
        return layout_of_x(modes), *(PARAMETER,) * parameters, *(None,) * (2 + others)

    def layouts(*args):
        return input_layouts(args[tensors + 1]), tuple(output.layout for output in outputs)

    def backward_layouts(*args):
        _, _, _, (_, modes, *_), needs = split(args)
        inputs = (*(output.layout for output in outputs), *input_layouts(modes), *(None,) * parameters)
        return inputs, (layout_of_x(modes), *(STEP if need else None for need in needs))

    backward_call = _register.op(
        f"{name}_backward", backward_fake, definition=backward_definition, vmap=_vmap.as_neurons(backward_layouts)
    )
    return _register.op(
        f"{name}_forward", fake, backward, setup_context, definition=None if has_spikes else definition,
        vmap=_vmap.as_neurons(layouts), function=function,
    )  # fmt: skip
