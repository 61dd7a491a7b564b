"""Autograd functions of ops: the fast one of plain training, the one that transforms of `torch.func` can take apart, and derivatives
of what is written in plain PyTorch.

An op's first derivative is a kernel. Derivatives of that, and forward-mode derivatives, are those of the op's definition in
:mod:`spikeops.reference`: slow, exact, and worked out only when asked for.
"""

from __future__ import annotations

import torch
from torch._functorch.utils import unwrap_dead_wrappers

below_autograd = torch._C._AutoDispatchBelowAutograd


def fast(kernel, formula, setup_context):
    """For plain eager calls, (the kernel, to be run `below_autograd`; the same with its autograd formula): without the detour through
    PyTorch's dispatcher, which costs a training step of a small network as much as its kernels."""
    run = kernel._op

    class Formula(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *args):
            with below_autograd():
                output = run(*args)
            setup_context(ctx, args, output)
            return output

        backward = staticmethod(formula)

    # Function.apply looks for transforms first, the node's for other forms of a formula: of neither there are any here.
    Formula._backward_cls.apply = formula
    return run, super(torch.autograd.Function, Formula).apply


def transformable_function(kernel, formula, setup_context, forward_mode, vmap_rule) -> type[torch.autograd.Function]:
    """The same in the form that `torch.func` and forward mode ask for, which costs some ten microseconds more for each call."""

    class Transformable(torch.autograd.Function):
        @staticmethod
        def forward(*args):
            with below_autograd():
                return kernel(*args)

        @staticmethod
        def setup_context(ctx, inputs, output):
            setup_context(ctx, inputs, output)
            ctx.set_materialize_grads(False)
            tensors, ctx.rebuild = _split(inputs)
            ctx.save_for_forward(*tensors)

        backward = staticmethod(formula)

        @staticmethod
        def jvp(ctx, *tangents):
            return forward_mode(ctx.rebuild(ctx.saved_tensors), tangents)

        @staticmethod
        def vmap(info, in_dims, *args):
            return vmap_rule(info, in_dims, *args)

    return Transformable


def of_definition(definition):
    """(backward, setup_context) of an op whose derivative is that of its definition."""

    def setup_context(ctx, inputs, output):
        ctx.set_materialize_grads(False)
        tensors, ctx.rebuild = _split(inputs)
        ctx.save_for_backward(*tensors)

    def backward(ops, ctx, *grads):
        args = ctx.rebuild(ctx.saved_tensors)
        places = [i for i, needed in enumerate(ctx.needs_input_grad[: len(args)]) if needed]
        gradients = [None] * len(args)
        if places and any(grad is not None for grad in grads):
            function = _At(definition, args, places)
            for place, gradient in zip(places, pull_back(function, function.primals, grads)):
                gradients[place] = gradient
        return tuple(gradients)

    return backward, setup_context


def pull_back(function, primals, cotangents) -> tuple[torch.Tensor, ...]:
    """Gradients of ``function``'s arguments from those of its outputs, a tuple; None for an output stands for zeros. What has no place among
    the outputs, None, has none among the gradients either."""
    places: list[int] = []

    def of_present(*primals):
        found = function(*primals)
        places[:] = _present(found)
        return tuple(found[place] for place in places)

    outputs, pull = torch.func.vjp(of_present, *primals)
    return pull(tuple(torch.zeros_like(o) if cotangents[p] is None else cotangents[p] for o, p in zip(outputs, places)))


def _present(outputs) -> list[int]:
    """Where there is one: absent gradients are None."""
    return [place for place, output in enumerate(outputs) if output is not None]


def push_forward(definition, args, tangents):
    """The tangents of the outputs of ``definition(*args)`` from those of the arguments, None for an argument without one.

    What carries gradients back is linear in them, and its transpose carries tangents forward: so nothing on the way needs a forward
    formula of its own."""
    places = [i for i, tangent in enumerate(tangents) if isinstance(tangent, torch.Tensor)]
    function = _At(definition, args, places)
    outputs = function(*function.primals)
    present = _present(outputs)

    def pull(*cotangents):
        return pull_back(function, function.primals, _placed(present, cotangents, len(outputs)))

    _, push = torch.func.vjp(pull, *(torch.zeros_like(outputs[place]) for place in present))
    pushed = _placed(present, push(tuple(tangents[place] for place in places)), len(outputs))
    return pushed if function.returns_tuple else pushed[0]


def _placed(places, values, count: int) -> tuple:
    """Values at places, None elsewhere."""
    found = dict(zip(places, values))
    return tuple(found.get(place) for place in range(count))


class _At:
    """``definition`` as a function of its arguments at some places, which returns a tuple."""

    def __init__(self, definition, args, places):
        self.definition, self.args, self.places = definition, args, places
        self.primals = tuple(args[place] for place in places)

    def __call__(self, *primals):
        args = list(self.args)
        for place, primal in zip(self.places, primals):
            args[place] = primal
        outputs = self.definition(*args)
        self.returns_tuple = isinstance(outputs, tuple)
        return outputs if self.returns_tuple else (outputs,)


def _split(args):
    """(tensors among the arguments, None for others; a function that puts the others back)."""
    others = tuple(None if isinstance(arg, torch.Tensor) else arg for arg in args)

    def rebuild(tensors):
        tensors = unwrap_dead_wrappers(tuple(tensors))  # of transforms that are over, where a vjp is called later
        return tuple(other if tensor is None else tensor for tensor, other in zip(tensors, others))

    return tuple(arg if isinstance(arg, torch.Tensor) else None for arg in args), rebuild
