"""How weights are updated: the update rules, and the one step that all methods take with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from spiketrain.config import OptimizerConfig
from spiketrain.distributed.gradients import GradientSums


def make_optimizer(network: nn.Module, options: OptimizerConfig) -> torch.optim.Optimizer:
    """The update rule that the options name, over all parameters of the network: weights, and decays that neurons learn, where there
    are any, in a group without weight decay. Their logits are 0 at a decay of a half, which nothing should draw them to."""
    weights = [parameter for name, parameter in network.named_parameters() if not _is_decay(name)]
    decays = [parameter for name, parameter in network.named_parameters() if _is_decay(name)]
    groups = [{"params": weights}, *([{"params": decays, "weight_decay": 0.0}] if decays else [])]
    if options.name == "sgd":
        return torch.optim.SGD(groups, options.lr, momentum=options.momentum, weight_decay=options.weight_decay)
    rule = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.name]
    return rule(groups, options.lr, betas=tuple(options.betas), eps=options.eps, weight_decay=options.weight_decay, fused=True)


def _is_decay(name: str) -> bool:
    """Whether a parameter is what the neurons of `spikeops.nn` learn a decay by."""
    return name.endswith("decay_logit")


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over the moments of a saved optimiser. Its settings stay what they are: those of the configuration.

    Raises:
        ValueError: the state is not one of an optimiser of these parameters.
    """
    own, saved = optimizer.state_dict()["param_groups"], state["param_groups"]
    if not isinstance(saved, list) or not all(isinstance(group, dict) for group in saved):
        raise ValueError("the optimizer's state has no groups of parameters")
    if [group["params"] for group in own] != [group["params"] for group in saved]:
        raise ValueError("the optimizer's state is that of other parameters")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, moments in state["state"].items():
        if type(index) is not int or not 0 <= index < len(parameters):
            raise ValueError("the optimizer's state is that of other parameters")
        for name, moment in moments.items():
            # PyTorch does not look, and would go on with what broadcasts.
            fits = moment is None or (
                isinstance(moment, torch.Tensor)
                and moment.is_floating_point()
                and (moment.shape == parameters[index].shape or (name == "step" and moment.dim() == 0))
                and bool(moment.isfinite().all())
            )
            if not fits:
                raise ValueError(f"the optimizer's {name} of parameter {index} has another shape or type, or is not finite")
    optimizer.load_state_dict({"state": state["state"], "param_groups": own})


def update_weights(optimizer: torch.optim.Optimizer, gradients: GradientSums, rate: float, options: OptimizerConfig) -> None:
    """One step of an optimiser with gradients that are added up over the processes and clipped, and weights kept in bounds."""
    gradients.add_up()
    if options.clip_norm:
        nn.utils.clip_grad_norm_(gradients.parameters, options.clip_norm)
    # PyTorch wants to be told where a graph is to hold a step of Adam, and warns where none is. Fused, both are the same.
    is_captured = any(parameter.is_cuda for parameter in gradients.parameters) and torch.cuda.is_current_stream_capturing()
    for group in optimizer.param_groups:
        group["lr"] = rate
        if "capturable" in group:
            group["capturable"] = is_captured
    optimizer.step()
    if options.weight_clamp:
        with torch.no_grad():
            for weight in optimizer.param_groups[0]["params"]:
                if weight.requires_grad:
                    weight.clamp_(-options.weight_clamp, options.weight_clamp)
