"""How weights are updated: the update rules, and the one step that all methods take with them."""

from __future__ import annotations

import torch
from torch import nn

from spiketrain import distributed
from spiketrain.config import OptimizerConfig


def make_optimizer(network: nn.Module, options: OptimizerConfig) -> torch.optim.Optimizer:
    """The update rule that the options name, over all parameters of the network."""
    if options.name == "sgd":
        return torch.optim.SGD(network.parameters(), options.lr, momentum=options.momentum, weight_decay=options.weight_decay)
    rule = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.name]
    return rule(
        network.parameters(), options.lr, betas=tuple(options.betas), eps=options.eps, weight_decay=options.weight_decay, fused=True
    )


def update_weights(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], rate: float, options: OptimizerConfig) -> None:
    """One step of an optimiser with gradients that are added up over the processes and clipped, and weights kept in bounds."""
    distributed.add_up(p.grad for p in parameters)
    if options.clip_norm:
        nn.utils.clip_grad_norm_(parameters, options.clip_norm)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    if options.weight_clamp:
        with torch.no_grad():
            for parameter in parameters:
                parameter.clamp_(-options.weight_clamp, options.weight_clamp)
