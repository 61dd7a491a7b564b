"""Who looks on while an op runs, and refusals where what they want cannot be had."""

from __future__ import annotations

import torch
from torch import is_grad_enabled
from torch.autograd import forward_ad

_FUNCTIONALIZE = torch._C._functorch.TransformType.Functionalize
_VMAP = torch._C._functorch.TransformType.Vmap
_PLAIN = (torch.Tensor, torch.nn.Parameter)
is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
# Several gradients at once, as `torch.autograd.grad(..., is_grads_batched=True)` sends them back: it says so in no other way.
is_batch_of_gradients = torch._C._functorch.is_legacy_batchedtensor
_dispatch_modes, _transforms_active = torch._C._len_torch_dispatch_stack, torch._C._are_functorch_transforms_active
_tracing_state = torch._C._get_tracing_state


def is_plain_eager(x) -> bool:
    """Whether nobody looks on: neither a compiler or tracer, nor a dispatch mode, nor a transform of `torch.func`, nor forward-mode
    differentiation, nor a tensor that is not what it seems."""
    return not torch.compiler.is_compiling() and type(x) in _PLAIN and wants_gradient((x,)) is not None


def wants_gradient(args) -> bool | None:
    """None unless all tensors among arguments are plain and eager; else whether autograd would follow one of them. Ops ask it each
    time, but for code that Dynamo traces."""
    if _dispatch_modes() or _transforms_active() or forward_ad._current_level >= 0 or _tracing_state() is not None:
        return None
    wanted, enabled = False, is_grad_enabled()
    for arg in args:
        if arg is None:
            continue
        if type(arg) in _PLAIN:
            if is_wrapped(arg):
                return None
            if enabled and arg.requires_grad:
                wanted = True
        elif isinstance(arg, torch.Tensor):
            return None
    return wanted


def is_exporting() -> bool:
    """Whether torch.export traces. Before torch 2.12 `torch.compiler.is_exporting` says so in all compiled code."""
    return torch.compiler._is_exporting_flag


def are_active() -> bool:
    """Whether a transform of `torch.func` is active, or forward-mode differentiation."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def functionalizes() -> bool:
    """Whether torch.func.functionalize is among the transforms: the one that takes no autograd function apart."""
    return any(layer.key() == _FUNCTIONALIZE for layer in torch._C._functorch.get_interpreter_stack() or ())


def has_tangent(x: torch.Tensor) -> bool:
    # Compiled code enters the level of forward mode, the only one there is, without telling Python.
    return forward_ad.unpack_dual(x, level=0).tangent is not None


def refuse(op: str, why: str) -> None:
    """Raises an error under transforms of `torch.func` and in forward mode."""
    if not torch.compiler.is_compiling() and are_active():
        raise NotImplementedError(
            f"{op}: is not for transforms of torch.func (vmap, grad, jvp, ...), nor for torch.autograd.forward_ad: {why}"
        )


def refuse_derivatives(op: str, tensors, why: str) -> None:
    """The same only if tensors are, or may be, differentiated. Plain autograd shows by itself that an output has no gradient."""
    if torch.compiler.is_compiling() or not are_active():
        return
    if forward_ad._current_level >= 0 or any(tensor is not None and tensor.requires_grad for tensor in tensors):
        raise NotImplementedError(f"{op}: there is no derivative for torch.func (grad, vjp, jvp, ...) or torch.autograd.forward_ad: {why}")


def refuse_forward_mode(what: str) -> None:
    """Raises an error in forward mode."""
    if not torch.compiler.is_compiling() and forward_ad._current_level >= 0:
        raise NotImplementedError(f"{what} Use reverse mode: torch.func.grad, vjp or jacrev.")


def batches() -> bool:
    """Whether vmap is among the transforms."""
    return any(layer.key() == _VMAP for layer in torch._C._functorch.get_interpreter_stack() or ())
