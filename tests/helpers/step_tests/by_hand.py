"""An epoch by hand: plain PyTorch around a method's network, without anything of the trainer, the update or the processes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spiketrain import data, methods

# Twenty digits in steps of 8, 8 and 4; what is clipped and clamped is so in every step. Nothing is drawn, so that nothing depends on
# who draws: no dropout, no augmentation, and SPIDE's estimated norm is far below its range.
RUN = {
    "seed": 3,
    "data": {"name": "digits", "augment": False},
    "trainer": {"epochs": 3, "batch_size": 8, "eval_batch_size": 7, "limit_test": 17, "threads": 1, "progress": "off"},
}
ADAMW = {"name": "adamw", "lr": 0.01, "weight_decay": 0.01, "clip_norm": 0.1, "weight_clamp": 0.6, "warmup_steps": 2}
ADAM = {**ADAMW, "name": "adam", "weight_decay": 0.001}
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.001, "clip_norm": 0.5, "weight_clamp": 0.3, "warmup_steps": 2}
PLAIN = {"layers": "4C3-P2-12-10", "padding": 1, "time_steps": 5, "conv_weight_scale": 3.0, "linear_weight_scale": 2.0}
RING = {"layers": "4C3s-6C3-10", "feedback": "4C3", "padding": 1, "time_steps": 5}
LOCAL = {"layers": "6C3-P2-12", "padding": 1, "time_steps": 4, "conv_weight_scale": 3.0, "linear_weight_scale": 3.0}
OF_LAYERS = {"layers": "12-14-10", "time_steps": 4, "linear_weight_scale": 5.0}

CASES = {
    "tssl_bp": {"method": {"name": "tssl_bp", "loss": "softmax"}, "network": PLAIN, "optimizer": {**ADAMW, "clip_norm": 1.0}},
    "bptt": {"method": {"name": "bptt"}, "network": PLAIN, "optimizer": {**ADAM, "clip_norm": 1.3}},
    "bptt, recurrent": {
        "method": {"name": "bptt", "decay": 0.8, "current_decay": 0.5, "readout_decay": 0.9, "loss": "max"},
        "network": {"layers": "14R-10", "time_steps": 5, "linear_weight_scale": 2.0, "recurrent_weight_scale": 2.0},
        "optimizer": SGD,
    },
    "ide": {"method": {"name": "ide", "solver_steps": 8}, "network": RING, "optimizer": SGD},
    "spide": {
        "method": {"name": "spide", "backward_time_steps": 20, "scale_factor": 50.0, "norm_range": 100.0},
        "network": RING,
        "optimizer": {**SGD, "clip_norm": 25.0},
    },
    "ell": {"method": {"name": "ell"}, "network": LOCAL, "optimizer": ADAM},
    "fell": {"method": {"name": "fell"}, "network": LOCAL, "optimizer": ADAM},
    "bell": {"method": {"name": "bell"}, "network": LOCAL, "optimizer": ADAM},
    "local_ce": {"method": {"name": "local_ce", "neuron": "lif"}, "network": OF_LAYERS, "optimizer": ADAM},
    "local_ce_corr": {"method": {"name": "local_ce_corr", "neuron": "lif"}, "network": OF_LAYERS, "optimizer": ADAM},
}
# Whose processes add up gradients of all weights at once.
WITH_ONE_GRADIENT = ("tssl_bp", "bptt", "bptt, recurrent", "ide", "spide")
LOGITS = {
    "tssl_bp": lambda outputs: outputs.sum(0), "bptt": lambda outputs: outputs.mean(0),
    "bptt, recurrent": lambda outputs: outputs.max(0).values, "ide": lambda outputs: outputs, "spide": lambda outputs: outputs,
}  # fmt: skip


@dataclass
class Epoch:
    """What an epoch comes to: the weights, the mean over its steps of the loss, how many of the samples were right, and the batch-norms'
    statistics, of several processes their mean."""

    weights: dict[str, Tensor]
    loss: float
    correct: int
    statistics: dict[str, Tensor]


def config_of(name, samples: int = 20):
    config = methods.load_config({**RUN, **CASES[name]})
    config.trainer.limit_train = samples
    return config


def epoch_by_hand(name, start, samples: int = 20, processes: int = 1) -> Epoch:
    """The first epoch from a state of the network, where so many processes share each batch.

    The gradient is that of the mean loss over a batch: the sum over the processes of what each finds for its samples, every n-th of the
    batch. In IDE and SPIDE each works on its part as on a batch of its own. Clipped as one, applied once, weights clamped after that.
    """
    config = config_of(name, samples)
    dataset = data.load(config)
    replicas = []
    for _ in range(processes):
        torch.manual_seed(config.seed)
        replica = methods.get(config.method.name)(config, dataset.input_shape, dataset.classes, torch.device("cpu"))
        replica.network.load_state_dict(start)
        replica.network.train()
        replicas.append(replica.network if name in WITH_ONE_GRADIENT else replica)
    by_hand = _all_at_once if name in WITH_ONE_GRADIENT else _layer_by_layer
    return by_hand(name, config, dataset, replicas)


def batches(config, dataset):
    """(samples, labels) in the order of the first epoch."""
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(config.seed))
    for index in order.split(config.trainer.batch_size):
        yield dataset.train.batch(index), dataset.train.labels[index]


def _all_at_once(name, config, dataset, networks) -> Epoch:
    main, scale = networks[0], getattr(config.method, "scale_factor", 1.0)
    parameters = list(main.parameters())
    update, losses, correct, clipped = _Update(parameters, config.optimizer), [], 0, []
    for step, (inputs, labels) in enumerate(batches(config, dataset), start=1):
        total, loss = [torch.zeros_like(parameter) for parameter in parameters], 0.0
        for rank, network in enumerate(networks):
            network.load_state_dict(dict(main.named_parameters()), strict=False)
            x, wanted = inputs[rank :: len(networks)], labels[rank :: len(networks)]
            if len(x) == 0:
                continue
            logits = LOGITS[name](network(x))
            part = F.cross_entropy(logits, wanted, reduction="sum") / len(labels)
            for gradient, one in zip(total, torch.autograd.grad(part * scale, list(network.parameters()))):
                gradient += one
            loss += part.item()
            correct += int((logits.argmax(1) == wanted).sum())
        clipped.append(update(total, step, scale))
        losses.append(loss)
    assert not config.optimizer.clip_norm or any(clipped), "choose a smaller clip_norm, which matters"
    statistics = {
        key: torch.stack([dict(network.named_buffers())[key] for network in networks]).mean(0)
        for key, _ in main.named_buffers()
        if "running" in key
    }
    return Epoch({key: value.clone() for key, value in main.named_parameters()}, sum(losses) / len(losses), correct, statistics)


def _layer_by_layer(name, config, dataset, methods_of_processes) -> Epoch:
    """Of layers that learn on their own, by their own ``learn`` or from their own loss, on whole batches."""
    (method,) = methods_of_processes
    updates = {key: _Update([p for p in layer.parameters() if p.requires_grad], config.optimizer) for key, layer in method.layers.items()}
    losses, correct = [], 0
    for step, (inputs, labels) in enumerate(batches(config, dataset), start=1):
        x, loss = inputs, 0.0
        for key, layer in method.layers.items():
            rule = updates[key].at(step)
            if name.startswith("local"):
                output = layer(x)
                of_layer, logits = layer.loss(output, labels)
                of_layer.backward()
                rule.step()
                x, of_layer = layer.handed_on(output).detach(), of_layer.detach()
            else:
                learned = layer.learn(method.network.before(key, x), labels, rule)
                x, of_layer, logits = learned.spikes, learned.loss, learned.count
            loss += of_layer.item()
        losses.append(loss)
        correct += int((logits.argmax(1) == labels).sum())
    return Epoch({key: value.clone() for key, value in method.network.named_parameters()}, sum(losses) / len(losses), correct, {})


class _Update:
    """Clip, step, clamp, of these parameters."""

    def __init__(self, parameters, options):
        self.parameters, self.options = parameters, options
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.name]
        own = {"momentum": options.momentum} if options.name == "sgd" else {"betas": tuple(options.betas), "eps": options.eps}
        self.optimizer = kind(parameters, lr=options.lr, weight_decay=options.weight_decay, **own)

    def __call__(self, gradients, step, scale=1.0) -> bool:
        """Whether it was clipped."""
        options = self.options
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        factor = min(1.0, options.clip_norm / (norm.item() + 1e-6)) if options.clip_norm else 1.0
        for parameter, gradient in zip(self.parameters, gradients):
            parameter.grad = factor * gradient
        self.optimizer.param_groups[0]["lr"] = options.lr * min(1.0, step / options.warmup_steps) / scale
        self.optimizer.step()
        with torch.no_grad():
            for parameter in self.parameters:
                parameter.copy_(parameter.clamp(-options.weight_clamp, options.weight_clamp))
        return factor < 1

    def at(self, step):
        """As an optimiser, for training step `step`, that takes the gradients the parameters have."""
        update = self

        class Rule:
            def step(self):
                update([torch.zeros_like(p) if p.grad is None else p.grad for p in update.parameters], step)
                for parameter in update.parameters:
                    parameter.grad = None

        return Rule()
