"""How modules show themselves: by the call that makes one like them."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import nn


def call_arguments(module: nn.Module, init: Callable[..., None], **kept_elsewhere: object) -> str:
    """The ``extra_repr`` of a module: arguments of ``init``, its class's, without default or other than that, as ``name=value``.

    Values are those of the module's attributes of the same names, so that a later change shows, or ``kept_elsewhere``. Tensors and
    modules are left out: the state dict holds the former, torch shows the latter below.
    """
    shown = []
    for name, parameter in list(inspect.signature(init).parameters.items())[1:]:
        value = kept_elsewhere[name] if name in kept_elsewhere else getattr(module, name)
        is_shown_elsewhere = isinstance(value, (torch.Tensor, nn.Module))
        if not is_shown_elsewhere and (parameter.default is parameter.empty or value != parameter.default):
            shown.append(f"{name}={value!r}")
    return ", ".join(shown)
