"""Registers what is written in Python of an op: its fake kernel and its autograd formula, for the native op and its Triton twin.

The Triton ops live in a namespace of their own, with the native schemas, so that one process can run both and compare them."""

from __future__ import annotations

import importlib

import torch

from spikeops._library import triton_interpreted
from spikeops.functional import _memory

_NAMESPACES = ("spikeops", "spikeops_triton")
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def _triton_kernel(name: str):
    def run(*args):
        return importlib.import_module("spikeops.triton").IMPLEMENTATIONS[name](*args)

    return run


def op(name: str, fake, backward=None, setup_context=None):
    """Registers an op and returns ``call(ops, *args)``, which runs it: ``ops`` is its namespace, as from ``_backend.namespace``.

    Args:
        name: the op's name in the schemas (csrc/ops.cpp).
        fake: computes empty outputs with the shapes and strides of the real ones.
        backward: ``backward(ops, ctx, *grads)`` -> gradients of the op's arguments; ``ops`` is the namespace of the forward.
        setup_context: as in ``torch.library.register_autograd``.
    """
    schema = str(getattr(torch.ops.spikeops, name).default._schema).removeprefix("spikeops::")
    torch.library.define(f"spikeops_triton::{schema.split('(', 1)[0]}", "(" + schema.split("(", 1)[1])
    devices = ("cuda", "cpu") if triton_interpreted() else ("cuda",)
    torch.library.impl(f"spikeops_triton::{name}", devices, _triton_kernel(name))

    functions = {}
    for namespace in _NAMESPACES:
        qualified = f"{namespace}::{name}"
        torch.library.register_fake(qualified, fake)
        if backward is not None:
            ops = getattr(torch.ops, namespace)

            def formula(ctx, *grads, ops=ops):
                try:
                    return backward(ops, ctx, *grads)
                except RuntimeError as error:
                    raise _memory.as_torch_names_it(error) from None

            torch.library.register_autograd(qualified, formula, setup_context=setup_context)
            functions[namespace] = _function(getattr(ops, name).default, formula, setup_context)

    def call(ops, *args):
        try:
            # By name: the compilers of some versions of torch refuse a dictionary whose keys are namespaces.
            if functions and is_plain_eager(args[0]):
                return functions[ops.name].apply(*args)
            return getattr(ops, name)(*args)
        except RuntimeError as error:
            raise _memory.as_torch_names_it(error) from None

    return call


def _function(kernel, formula, setup_context) -> type[torch.autograd.Function]:
    """The registered autograd formula once more, without the detour through PyTorch's dispatcher, which costs a training step
    of a small network as much as its kernels: 15 us for each forward and each backward call."""

    class Formula(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *args):
            with torch._C._AutoDispatchBelowAutograd():
                output = kernel(*args)
            setup_context(ctx, args, output)
            return output

        backward = staticmethod(formula)

    return Formula


def is_plain_eager(x) -> bool:
    """Whether nobody looks on: neither a compiler, nor a dispatch mode, nor a transform of `torch.func`, nor a tensor that is not
    what it seems."""
    return (
        type(x) in _PLAIN
        and not torch.compiler.is_compiling()
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._are_functorch_transforms_active()
    )
