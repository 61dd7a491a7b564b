"""Registers what is written in Python of an op: its fake kernel, its derivatives and what vmap makes of it, for the native op and
its Triton twin.

The Triton ops live in a namespace of their own, with the native schemas, so that one process can run both and compare them."""

from __future__ import annotations

import importlib

import torch
from torch.autograd import forward_ad

from spikeops._library import triton_interpreted
from spikeops.functional import _derivatives

_NAMESPACES = ("spikeops", "spikeops_triton")
_PLAIN = (torch.Tensor, torch.nn.Parameter)
_LIBRARIES = {namespace: torch.library.Library(namespace, "FRAGMENT") for namespace in _NAMESPACES}


def _triton_kernel(name: str):
    def run(*args):
        return importlib.import_module("spikeops.triton").IMPLEMENTATIONS[name](*args)

    return run


def op(name: str, fake, backward=None, setup_context=None, *, definition=None, vmap=None):
    """Registers an op and returns ``call(ops, *args)``, which runs it: ``ops`` is its namespace, as from ``_backend.namespace``.

    Args:
        name: the op's name in the schemas (csrc/ops.cpp).
        fake: computes empty outputs with the shapes and strides of the real ones.
        backward: ``backward(ops, ctx, *grads)`` -> gradients of the op's arguments; ``ops`` is the namespace of the forward. It calls
            what differentiates in its turn, where it runs with gradients on.
        setup_context: as in ``torch.library.register_autograd``.
        definition: the op in plain PyTorch, of the same arguments. Its derivative is the op's in forward mode, and where there is no
            ``backward``, also in the other.
        vmap: ``vmap(call, ops)`` -> the rule of ``torch.library.register_vmap``, as ``_vmap`` makes it.
    """
    schema = str(getattr(torch.ops.spikeops, name).default._schema).removeprefix("spikeops::")
    torch.library.define(f"spikeops_triton::{schema.split('(', 1)[0]}", "(" + schema.split("(", 1)[1])
    devices = ("cuda", "cpu") if triton_interpreted() else ("cuda",)
    torch.library.impl(f"spikeops_triton::{name}", devices, _triton_kernel(name))
    if definition is not None and backward is None:
        backward, setup_context = _derivatives.of_definition(definition)

    fast, transformable = {}, {}

    def call(ops, *args):
        # By name: the compilers of some versions of torch refuse a dictionary whose keys are namespaces.
        if fast:
            if is_plain_eager(args[0]):
                return fast[ops.name].apply(*args)
            if not torch.compiler.is_compiling() and _differentiates_in_layers():
                return transformable[ops.name].apply(*args)
        return getattr(ops, name)(*args)

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
            fast[namespace] = _derivatives.fast_function(kernel, formula, setup_context)
            transformable[namespace] = _derivatives.transformable_function(
                name.removesuffix("_forward"), kernel, formula, setup_context, definition, rule
            )  # fmt: skip
            _LIBRARIES[namespace].impl(name, _autograd_kernel(kernel, fast[namespace], transformable[namespace]), "Autograd")

    return call


def _autograd_kernel(kernel, fast, transformable):
    """What PyTorch's dispatcher runs for the op where gradients may be wanted: in compiled, exported and traced code. Unlike that of
    `torch.library.register_autograd`, it serves the transforms of `torch.func` and loses no forward-mode tangent."""

    def run(*args):
        if _differentiates_in_layers():
            return transformable.apply(*args)
        if torch.is_grad_enabled() and any(isinstance(arg, torch.Tensor) and arg.requires_grad for arg in args):
            return fast.apply(*args)
        with torch._C._AutoDispatchBelowAutograd():
            return kernel(*args)

    return run


def is_plain_eager(x) -> bool:
    """Whether nobody looks on: neither a compiler or tracer, nor a dispatch mode, nor a transform of `torch.func`, nor forward-mode
    differentiation, nor a tensor that is not what it seems."""
    return (
        type(x) in _PLAIN
        and not torch.compiler.is_compiling()
        and torch._C._len_torch_dispatch_stack() == 0
        and not _differentiates_in_layers()
        and torch._C._get_tracing_state() is None
    )


def _differentiates_in_layers() -> bool:
    """Whether a transform of `torch.func` is active, or forward-mode differentiation."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
