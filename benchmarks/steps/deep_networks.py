"""Training steps of SEW-ResNets: ours, in several ways to keep what the backward pass needs, and SpikingJelly's of the same equations."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import spikeops
import spikeops.nn as snn
from spikeops.surrogate import Rectangle
from spiketrain.models.sew_resnet import STAGES, sew_resnet18

CLASSES = 10
PLAIN = "plain"
# In float64 both add up in another order; spikes are then the same but by a chance of some 1e-12, and gradients differ by rounding.
TOLERANCE = 1e-8
MEMOPT_LEVEL = 1  # of SpikingJelly: the others measure on a CUDA device which modules to split


class Different(Exception):
    """A step computes something else than the plain one; the message says by how much."""


@dataclass(frozen=True)
class Size:
    """Of a network and its input.

    Args:
        time_steps: T
        batch: samples
        width: channels of the first stage
        depth: blocks of each stage
        side: of the images, in pixels
    """

    time_steps: int
    batch: int
    width: int = 64
    depth: int = 2
    side: int = 32


@dataclass(frozen=True)
class Way:
    """How one of our networks keeps what the backward pass needs.

    Args:
        packed: within `spikeops.pack_saved_spikes`
        bits: neurons with save="bits"
        recomputed: which share of the blocks, from the first on, is computed again
        change: what is done to the network before, such as an exchange of modules
        is_exact: whether loss and gradients are those of the plain way bit for bit; if not, they are compared in float64
    """

    packed: bool = False
    bits: bool = False
    recomputed: Fraction = Fraction(0)
    change: Callable[[nn.Module], nn.Module] | None = None
    is_exact: bool = True


WAYS: dict[str, Way] = {
    PLAIN: Way(),
    "packed": Way(packed=True),
    "bits": Way(bits=True),
    "packed, bits": Way(packed=True, bits=True),
    "packed, bits, an eighth checkpointed": Way(packed=True, bits=True, recomputed=Fraction(1, 8)),
    "packed, bits, half checkpointed": Way(packed=True, bits=True, recomputed=Fraction(1, 2)),
    "packed, bits, three quarters checkpointed": Way(packed=True, bits=True, recomputed=Fraction(3, 4)),
    "checkpoint": Way(packed=True, recomputed=Fraction(1)),
    "all": Way(packed=True, bits=True, recomputed=Fraction(1)),
    "fused": Way(change=spikeops.fuse, is_exact=False),
    "packed, fused": Way(packed=True, change=spikeops.fuse, is_exact=False),
    "packed, fused, an eighth checkpointed": Way(packed=True, recomputed=Fraction(1, 8), change=spikeops.fuse, is_exact=False),
    "checkpoint, fused": Way(packed=True, recomputed=Fraction(1), change=spikeops.fuse, is_exact=False),
}
# What a reader writes for each of the words that names of ways are made of.
MEANINGS = {
    PLAIN: "as PyTorch keeps it",
    "packed": "forward pass within `spikeops.pack_saved_spikes()`",
    "bits": '`save="bits"` for the neurons',
    "fused": "`spikeops.fuse(net)`: batch norm and neurons in one op",
    "an eighth checkpointed": "`snn.checkpoint` of an eighth of the blocks, those with the largest maps; half, three quarters: likewise",
    "checkpoint": "`snn.checkpoint` of all blocks, packed",
    "all": "checkpoint and bits",
    "SpikingJelly": "its own SEW-ResNet with `LIFNode`, multi-step, PyTorch",
    "memopt": f"`memopt.optimize_memory`, level {MEMOPT_LEVEL}, the one that needs no GPU",
}
PEERS = {"SpikingJelly": 0, "SpikingJelly, memopt": MEMOPT_LEVEL}
# Of blocks: the batch norm and neurons that follow a convolution, and with the convolution.
APART, AS_ONE = "batch norm, then LIF", "BatchNormLIF"


class Step:
    """A training step without the update, on random images. Gradients are added to those that are there, so that memory for them is
    there before.

    Args:
        net: what learns
        forward: from images to outputs (T, N, classes)
        forget: what has to be done after a step for the network to hold nothing of it
    """

    def __init__(
        self, net: nn.Module, forward: Callable[[Tensor], Tensor], size: Size, device: str, dtype: torch.dtype,
        forget: Callable[[], object] = lambda: None,
    ):  # fmt: skip
        self.net, self._forward, self.forget = net, forward, forget
        draw = torch.Generator().manual_seed(2)
        self.images = torch.randn(size.batch, 3, size.side, size.side, generator=draw, dtype=torch.float64).to(device, dtype)
        self.labels = torch.randint(CLASSES, (size.batch,), generator=draw).to(device)
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)

    def forward(self) -> Tensor:
        """The loss."""
        return F.cross_entropy(self._forward(self.images).mean(0), self.labels)

    def run(self) -> Tensor:
        loss = self.forward()
        loss.backward()
        self.forget()
        return loss.detach()

    def loss_and_gradients(self) -> list[Tensor]:
        for parameter in self.net.parameters():
            parameter.grad.zero_()
        return [self.run(), *(parameter.grad.clone() for parameter in self.net.parameters())]


def available() -> list[str]:
    """Names of all ways, our own first; those of others if they are installed."""
    try:
        has_peers = importlib.metadata.version("spikingjelly").startswith("2.")
    except importlib.metadata.PackageNotFoundError:
        has_peers = False
    return [*WAYS, *(PEERS if has_peers else ())]


def make(name: str, size: Size, device: str, dtype: torch.dtype = torch.float32) -> Step:
    """The step of this name, with weights that are the same for all.

    Raises:
        ValueError: a network that a library does not have.
    """
    if name in PEERS:
        return _spikingjelly(size, device, dtype, PEERS[name])
    way = WAYS[name]
    net = _ours(size, way).to(device, dtype)
    net.recomputed_blocks = math.ceil(way.recomputed * STAGES * size.depth)
    if way.change is not None:
        net = way.change(net)

    def forward(images):
        with spikeops.pack_saved_spikes() if way.packed else contextlib.nullcontext():
            return net(images)

    return Step(net, forward, size, device, dtype)


def compare(name: str, size: Size, device: str) -> str:
    """What the comparison of loss and gradients with those of the plain way came to, in words.

    Raises:
        Different: they are not the same.
    """
    if name == PLAIN:
        return "what the others are compared with"
    if name in WAYS and WAYS[name].is_exact:
        actual, expected = (make(way, size, device).loss_and_gradients() for way in (name, PLAIN))
        if not all(map(torch.equal, actual, expected)):
            raise Different("its loss or a gradient is not bit for bit that of the plain way")
        return "the same bits"
    size = replace(size, time_steps=min(size.time_steps, 4), batch=min(size.batch, 2))
    actual, expected = (make(way, size, device, torch.float64).loss_and_gradients() for way in (name, PLAIN))
    worst = max(_difference(a.reshape(e.shape), e) for a, e in zip(actual, expected, strict=True))
    if worst > TOLERANCE:
        raise Different(f"in float64 its loss or a gradient differs by {worst:.1e} of the largest value")
    return f"{worst:.0e} in float64"


def _difference(actual: Tensor, expected: Tensor) -> float:
    largest = expected.abs().max().item()
    difference = (actual - expected).abs().max().item()
    return difference / largest if largest else difference


def _ours(size: Size, way: Way) -> nn.Module:
    torch.manual_seed(1)
    return sew_resnet18(
        size.time_steps, (3, size.side, size.side), CLASSES, lambda shape, factor: _neurons(way, factor), width=size.width, depth=size.depth
    )  # fmt: skip


def _neurons(way: Way, threshold: float = 1.0) -> nn.Module:
    """LIF neurons with SpikingJelly's equation: input and leak by 1/tau, with tau 2, and a hard reset, here with a window for surrogate."""
    return snn.LIF(
        0.5, threshold, input_scale=0.5, reset="to", detach_reset=True, surrogate=Rectangle(1.0), save="bits" if way.bits else "input"
    )


def _spikingjelly(size: Size, device: str, dtype: torch.dtype, level: int) -> Step:
    """Its own SEW-ResNet with the stem for small images; the image is shown at each time step."""
    from spikingjelly.activation_based import functional, layer, memopt, neuron, surrogate
    from spikingjelly.activation_based.model import sew_resnet

    if size.width != 64:
        raise ValueError(f"its network has 64 channels in the first stage, not {size.width}")
    net = sew_resnet.SEWResNet(
        sew_resnet.BasicBlock, [size.depth] * STAGES, num_classes=CLASSES, cnf="ADD", spiking_neuron=neuron.LIFNode,
        tau=2.0, detach_reset=True, surrogate_function=surrogate.Rect(),
    )  # fmt: skip
    net.conv1 = layer.Conv2d(3, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    functional.set_step_mode(net, "m")
    with torch.no_grad():
        for theirs, ours in zip(net.parameters(), _ours(size, Way()).parameters(), strict=True):
            theirs.copy_(ours)
    net.to(device, dtype)
    if device == "cpu":
        net.to(memory_format=torch.channels_last)

    def forward(images):
        return net(images.expand(size.time_steps, *images.shape))

    def forget():
        functional.reset_net(net)

    if level:
        images = torch.randn(size.batch, 3, size.side, size.side, device=device, dtype=dtype)
        memopt.optimize_memory(net, sew_resnet.BasicBlock, lambda _: forward(images), level=level)
        forget()
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()
    return Step(net, forward, size, device, dtype, forget)


def block(size: Size, stage: int, is_one: bool, has_convolution: bool) -> Callable[[], object]:
    """Both passes of a convolution of this stage (from 0 on), with spikes for input, batch norm and neurons, or of the last two alone."""
    channels, side = size.width * 2**stage, size.side // 2**stage
    shape = size.time_steps, size.batch, channels, side, side
    torch.manual_seed(1)
    layers = [snn.TimeDistributed(nn.BatchNorm2d(channels)), _neurons(Way())]
    if has_convolution:
        layers.insert(0, snn.TimeDistributed(snn.SpikeConv2d(channels, channels, 3, padding=1, bias=False)))
    net = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    net = spikeops.fuse(net) if is_one else net
    x = torch.randn(shape)
    x = (x > 1).to(x.dtype) if has_convolution else x
    x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, shape[:2]).requires_grad_()
    upstream = torch.randn(shape).flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, shape[:2])
    wanted = [x, *net.parameters()]
    return lambda: torch.autograd.grad(net(x), wanted, upstream)
