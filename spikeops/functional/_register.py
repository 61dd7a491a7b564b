"""Registers what is written in Python of an op: its fake kernel, its derivatives and what vmap makes of it, for the native op and
its Triton twin.

The Triton ops live in a namespace of their own, with the native schemas, so that one process can run both and compare them."""

from __future__ import annotations

import importlib

import torch
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.compiler import is_dynamo_compiling

from spikeops._library import triton_interpreted
from spikeops.functional import _derivatives, _memory, _transforms

_NAMESPACES = ("spikeops", "spikeops_triton")
_LIBRARIES = {namespace: torch.library.Library(namespace, "FRAGMENT") for namespace in _NAMESPACES}


def _triton_kernel(name: str):
    def run(*args):
        return importlib.import_module("spikeops.triton").IMPLEMENTATIONS[name](*args)

    return run


def op(name: str, fake, backward=None, setup_context=None, *, definition=None, is_linear=False, vmap=None, function: str = ""):
    """Registers an op and returns ``call(ops, *args)``, which runs it: ``ops`` is its namespace, as from ``_backend.namespace``.

    Args:
        name: the op's name in the schemas (csrc/<family>.cpp).
        fake: computes empty outputs with the shapes and strides of the real ones.
        backward: ``backward(ops, ctx, *grads)`` -> gradients of the op's arguments; ``ops`` is the namespace of the forward. It calls
            what differentiates in its turn, where it runs with gradients on.
        setup_context: as in ``torch.library.register_autograd``.
        definition: the op in plain PyTorch, of the same arguments: its derivatives, in both modes, are the op's, if there is no
            ``backward``.
        is_linear: in its first argument, the only tensor: forward mode is then the op itself. Without definition it is refused for
            other ops.
        function: the public one that calls it, for messages, where its name is another than the op's.
        vmap: ``vmap(call, ops)`` -> the rule of ``torch.library.register_vmap``, as ``_vmap`` makes it.
    """
    parsed = getattr(torch.ops.spikeops, name).default._schema
    schema = str(parsed).removeprefix("spikeops::")
    torch.library.define(f"spikeops_triton::{schema.split('(', 1)[0]}", "(" + schema.split("(", 1)[1])
    devices = ("cuda", "cpu") if triton_interpreted() else ("cuda",)
    torch.library.impl(f"spikeops_triton::{name}", devices, _triton_kernel(name))
    if definition is not None and backward is None:
        backward, setup_context = _derivatives.of_definition(definition)

    fast, transformable = {}, {}
    tensors = 1 + max(place for place, argument in enumerate(parsed.arguments) if "Tensor" in str(argument.type))  # and what is before

    def call(ops, *args):
        try:
            # By name: the compilers of some versions of torch refuse a dictionary whose keys are namespaces.
            if fast and not is_dynamo_compiling():
                wants_gradient = _transforms.wants_gradient(args[:tensors])
                if wants_gradient is not None:
                    run, with_formula = fast[ops.name]
                    if wants_gradient:
                        return with_formula(*args)
                    with _derivatives.below_autograd():
                        return run(*args)
                if not torch.compiler.is_compiling() and _transforms.are_active() and not _transforms.functionalizes():
                    return transformable[ops.name].apply(*args)
            return getattr(ops, name)(*args)
        except RuntimeError as error:
            raise _memory.as_torch_names_it(error) from None

    for namespace in _NAMESPACES:
        ops, qualified = getattr(torch.ops, namespace), f"{namespace}::{name}"
        torch.library.register_fake(qualified, fake)
        rule = None if vmap is None else vmap(call, ops)
        if rule is not None:
            torch.library.register_vmap(qualified, rule)
        if backward is not None:

            def formula(ctx, *grads, ops=ops):
                return backward(ops, ctx, *grads)

            kernel = getattr(ops, name).default
            fast[namespace] = _derivatives.fast(kernel, formula, setup_context)
            transformable[namespace] = _derivatives.transformable_function(
                kernel, formula, setup_context, _forward_mode(function or name, call, ops, definition, is_linear), rule
            )  # fmt: skip
            _LIBRARIES[namespace].impl(name, _autograd_kernel(kernel, transformable[namespace]), "Autograd")

    return call


def _forward_mode(name, call, ops, definition, is_linear):
    """The function ``(args, tangents)`` -> tangents of the outputs."""

    def of_itself(args, tangents):
        return call(ops, tangents[0], *args[1:])

    def of_definition(args, tangents):
        return _derivatives.push_forward(definition, args, tangents)

    def refused(args, tangents):
        raise NotImplementedError(
            f"{name.removesuffix('_forward')}: there is no forward-mode derivative (torch.func.jvp, jacfwd, hessian, "
            "torch.autograd.forward_ad), since a surrogate gradient is a rule of the backward pass. Use reverse mode: torch.func.grad, "
            "vjp or jacrev, twice for second derivatives, or spikeops.backend('reference'), which is slow and carries tangents through "
            "the surrogate."
        )

    return of_itself if is_linear else of_definition if definition is not None else refused


def _autograd_kernel(kernel, transformable):
    """What PyTorch's dispatcher runs for the op where gradients may be wanted: in compiled, exported and traced code. Unlike that of
    `torch.library.register_autograd`, it serves the transforms of `torch.func` and loses no forward-mode tangent."""

    def run(*args):
        tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
        if torch.is_grad_enabled() and any(arg.requires_grad for arg in tensors) or any(map(_transforms.has_tangent, tensors)):
            with enable_single_level_autograd_function():
                return SingleLevel.apply(*args)
        with _derivatives.below_autograd():
            return kernel(*args)

    class SingleLevel(torch.autograd.function._SingleLevelFunction):
        @staticmethod
        def forward(ctx, *args):
            # On, so that the transforms further out see the op as well.
            with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True), _derivatives.below_autograd():
                output = kernel(*args)
            transformable.setup_context(ctx, args, output)
            return output

        backward = transformable.backward
        jvp = transformable.jvp

    return run
