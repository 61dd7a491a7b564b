"""What the weights of any network are used for, counted where they are: by hooks on its convolutions and fully connected layers.

A layer whose input is spikes adds a weight for each spike and synapse (a *synaptic operation*); one whose input is real numbers multiplies
each with its weights (*MACs*), at every time step that differs from the one before. Spikes are whole numbers, 2 where two spikes have
been added up, and whole numbers times the factor of an average pooling that spikes have gone through, which is the weights' to bear. An image
is none, whatever its pixels. Counts are of a forward pass as the network computes it, per sample, those that lead to zero padding left out.

Whatever multiplies elsewhere, as attention does outside of `SpikeProducts`, or ``x @ self.weight``, is not overlooked: then nothing is counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from spikeops import nn as snn
from spiketrain import plugins
from spiketrain.errors import UserError
from spiketrain.methods.base.activity import Activity, LayerOperations
from spiketrain.models.layers import MeanOverSpace, SumPool2d
from spiketrain.models.module import NEURONS
from spiketrain.models.spikformer import SpikeProducts

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TRANSPOSED = {nn.ConvTranspose1d: F.conv_transpose1d, nn.ConvTranspose2d: F.conv_transpose2d, nn.ConvTranspose3d: F.conv_transpose3d}
_PLACES = {1: (nn.AvgPool1d, nn.AdaptiveAvgPool1d), 2: (nn.AvgPool2d, nn.AdaptiveAvgPool2d), 3: (nn.AvgPool3d, nn.AdaptiveAvgPool3d)}
POOLS = (SumPool2d, MeanOverSpace, *(kind for kinds in _PLACES.values() for kind in kinds))
COUNTED = (nn.Linear, *CONVOLUTIONS, snn.RecurrentLIF, snn.LocalClassifier, SpikeProducts)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU)
# Of PyTorch's operators those that multiply matrices, whole or as they are taken apart.
_PRODUCTS = {
    "mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "matmul", "linear", "einsum", "tensordot", "inner", "bilinear",
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "_convolution", "mkldnn_convolution",
    "scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu", "spike_linear", "spike_conv2d",
}  # fmt: skip
_BORING = ("module", "stages", "blocks", "block", "branch", "layers", "encoder")
_CLOSE = 1e-4  # to a whole number, for spikes times the factor of a pooling


class Uncountable(Exception):
    """A network some of whose operations nobody has counted; the message says which."""


def note(
    activity: Activity, network: nn.Module, neurons: list[nn.Module], inputs: Tensor, time_steps: int, run: Callable[[], object], *, is_image: bool
) -> None:
    """Note in an activity what `count` counts, or why it cannot."""
    try:
        activity.operations = count(network, neurons, inputs, time_steps, run, is_image=is_image)
    except Uncountable as reason:
        activity.uncounted = str(reason)


def count(
    network: nn.Module, neurons: list[nn.Module], inputs: Tensor, time_steps: int, run: Callable[[], object], *, is_image: bool
) -> list[LayerOperations]:
    """The operations of each layer of weights, per sample of a batch.

    Args:
        network: whose modules are looked at
        neurons: its layers of neurons, whose parameters are no weights
        inputs: images (N, ...) or events (T, N, ...), as `run` feeds them
        time_steps: T
        run: a forward pass in evaluation mode
        is_image: whether `inputs` have no axis of time

    Raises:
        Uncountable: it multiplies in other places, too.
    """
    counter = _Counter(inputs, time_steps, is_image)
    handles = []
    names = _names(network)
    for name, module in network.named_modules():
        if isinstance(module, (*COUNTED, *POOLS)):
            handles.append(module.register_forward_pre_hook(counter.enter))
            handles.append(module.register_forward_hook(counter.leaving(names[name])))
    try:
        with counter:
            run()
    except (Uncountable, UserError):
        raise
    except Exception as error:  # foreign code that works, but not where each of its operators is looked at
        raise Uncountable(f"it cannot be run where its operations are seen ({plugins.described(error)})") from error
    finally:
        for handle in handles:
            handle.remove()
    if counter.outside:
        raise Uncountable(f"it multiplies outside of convolutions and fully connected layers ({', '.join(sorted(counter.outside))})")
    known = {id(module) for layer in neurons for module in layer.modules()}
    for name, module in network.named_modules():
        if id(module) in known or isinstance(module, (*COUNTED, *NEURONS, *_NORMS)):
            continue
        for parameter, values in module.named_parameters(recurse=False):
            if values.dim() > 1:
                raise Uncountable(f"the weights {f'{name}.{parameter}'.removeprefix('.')} are those of no convolution or fully connected layer")
    for name, layer in counter.layers.items():
        uses = counter.uses[name]
        layer.synapses *= uses // time_steps if uses % time_steps == 0 else uses  # a network without spikes has no time steps
    return list(counter.layers.values())


def _names(network: nn.Module) -> dict[str, str]:
    """Each module's name without the parts that say nothing to who reads it, where that is the name of no other one."""
    short: dict[str, str] = {}
    modules = [name for name, module in network.named_modules() if isinstance(module, COUNTED)]
    for name in modules:
        short[name] = ".".join(part for part in name.split(".") if part not in _BORING and not part.isdigit())
    used = list(short.values())
    clear = {name: text if text and used.count(text) == 1 else name.removeprefix("module.") or "network" for name, text in short.items()}
    return {name: clear.get(name, name) for name, _ in network.named_modules()}


class _Counter(TorchDispatchMode):
    """Sees every operator of a forward pass, and by hooks the inputs of the layers of weights.

    Attributes:
        layers: what was counted, by the names of the layers; `synapses` for one frame
        uses: how many frames each layer had, per sample
        outside: products that were computed in none of them
    """

    def __init__(self, inputs: Tensor, time_steps: int, is_image: bool) -> None:
        super().__init__()
        self.inputs, self.time_steps, self.is_image = inputs, time_steps, is_image
        self.samples = inputs.shape[0 if is_image else 1]
        self.layers: dict[str, LayerOperations] = {}
        self.uses: Counter[str] = Counter()
        self.outside: set[str] = set()
        self._scales: list[float] = []
        self._inside = 0

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        name = operator.overloadpacket.__name__
        if not self._inside and name in _PRODUCTS:
            self.outside.add(name)
        return operator(*arguments, **(options or {}))

    def enter(self, module: nn.Module, arguments: tuple) -> None:
        self._inside += 1

    def leaving(self, name: str) -> Callable:
        def leave(module: nn.Module, arguments: tuple, output: Tensor | tuple) -> None:
            self._look(name, module, arguments, output)
            self._inside -= 1

        return leave

    def _look(self, name: str, module: nn.Module, arguments: tuple, output: Tensor | tuple) -> None:
        x = arguments[0] if arguments else None
        if isinstance(module, snn.RecurrentLIF):
            spikes = output[0] if isinstance(output, tuple) else output
            fan_out = module.weight.shape[0] if module.weight.dim() > 1 else 1
            self._add(f"{name}, within", spikes.double().sum().item() * fan_out, 0.0, module.weight.numel(), len(spikes))
        elif not isinstance(x, Tensor):
            self.outside.add(f"{name}, whose input is given by a keyword")
        elif isinstance(module, POOLS):
            self._note_pool(module, x, output)
        elif isinstance(module, SpikeProducts):
            self._products(name, *arguments)
        elif isinstance(module, snn.LocalClassifier):
            self._classifier(name, module, x)
        else:
            self._weights(name, module, x)

    def _weights(self, name: str, module: nn.Module, x: Tensor) -> None:
        if isinstance(module, nn.Linear):
            frames, synapses = x.numel() // module.in_features, module.weight.numel()
        else:
            places = len(module.kernel_size)
            sides, frames = x.shape[x.dim() - places :], x.shape[0] if x.dim() == places + 2 else 1
            ones = torch.full((1, module.groups, *sides), module.in_channels / module.groups, dtype=torch.float64, device=x.device)
            synapses = round(_arrivals(module, ones))
        spikes = self._spikes(x)
        if spikes is None:
            self._add(name, 0.0, synapses * (frames if not self._is_still(x, frames) else self.samples), synapses, frames / self.samples)
            return
        if isinstance(module, nn.Linear):
            additions = spikes.sum().item() * module.out_features
        else:
            summed = spikes.reshape(frames, module.groups, module.in_channels // module.groups, *sides).sum(2)
            additions = _arrivals(module, summed)
        self._add(name, additions, 0.0, synapses, frames / self.samples)

    def _classifier(self, name: str, module: snn.LocalClassifier, x: Tensor) -> None:
        """A spike takes one way to each class, through the pooling, whose windows may miss some. Without spikes, what is pooled is multiplied."""
        frames, synapses = len(x), module.weight.numel()
        if (spikes := self._spikes(x)) is None:
            self._add(name, 0.0, synapses * frames, synapses, frames / self.samples)
            return
        ways = module.unpooled(torch.ones_like(module.weight), x).ne(0).sum(0).double()
        self._add(name, (module.flat(spikes.to(x.dtype)).double() @ ways).sum().item(), 0.0, synapses, frames / self.samples)

    def _products(self, name: str, query: Tensor, key: Tensor, value: Tensor) -> None:
        """(key value^T) query: each spike of a key adds a row of values, each of a query a row of what came of that."""
        parts = [self._spikes(x) for x in (query, key, value)]
        if any(part is None for part in parts):
            raise Uncountable(f"{name} multiplies real numbers")
        channels, places = query.shape[-2:]
        frames = query[..., 0, 0].numel()  # heads times time steps times samples
        uses = query.shape[0]
        self._add(name, (parts[0].sum() + parts[1].sum()).item() * channels, 0.0, 2 * channels**2 * places * frames // (uses * self.samples), uses)

    def _add(self, name: str, additions: float, macs: float, synapses: int, uses: float) -> None:
        """`uses`: frames per sample."""
        layer = self.layers.setdefault(name, LayerOperations(name))
        layer.additions += additions / self.samples
        layer.macs += macs / self.samples
        layer.synapses = float(synapses)
        self.uses[name] += uses

    def _spikes(self, x: Tensor) -> Tensor | None:
        """How many spikes each number of `x` stands for, float64; None where it is no count of them."""
        if self._is_image_itself(x):
            return None
        values = x.detach().double().abs()
        if bool((values == values.round()).all()):
            return values
        for scale in self._scales:
            whole = (values / scale).round()
            if bool(((values / scale - whole).abs() <= _CLOSE * whole.clamp_min(1)).all()):
                return whole
        return None

    def _is_image_itself(self, x: Tensor) -> bool:
        """Whether it is the image, perhaps at each time step."""
        if not self.is_image or x.numel() % self.inputs.numel():
            return False
        shown = x.detach().reshape(-1, self.inputs.numel()).to(self.inputs.dtype)
        return bool((shown == self.inputs.reshape(1, -1)).all())

    def _is_still(self, x: Tensor, frames: int) -> bool:
        """Whether each time step is equal to the first one."""
        if frames != self.time_steps * self.samples or x.shape[0] not in (self.time_steps, frames):
            return False
        steps = x.detach().reshape(self.time_steps, -1)
        return bool((steps == steps[:1]).all())

    def _note_pool(self, module: nn.Module, x: Tensor, output: Tensor) -> None:
        """The factor of a pooling that takes all its windows alike, where it sees spikes."""
        if self._is_image_itself(x):
            return
        values = x.detach().double().abs()
        whole = bool((values == values.round()).all())
        for before in [1.0] if whole else self._scales[:]:
            quotient = values / before
            if whole or bool(((quotient - quotient.round()).abs() <= _CLOSE).all()):
                if (scale := before * _factor(module, x, output)) not in (*self._scales, 1.0):
                    self._scales.append(scale)
                return


def _factor(module: nn.Module, x: Tensor, output: Tensor) -> float:
    """What a pooling multiplies sums by; where its windows are not all of one size, that of the largest common one."""
    if isinstance(module, SumPool2d):
        return module.gain
    if isinstance(module, MeanOverSpace):
        return 1 / (x.shape[-1] * x.shape[-2])
    places = next(n for n, kinds in _PLACES.items() if isinstance(module, kinds))
    if hasattr(module, "kernel_size"):
        sizes = module.kernel_size if isinstance(module.kernel_size, tuple) else (module.kernel_size,) * places
        return 1 / (getattr(module, "divisor_override", None) or math.prod(sizes))
    return 1 / math.prod(side // left for side, left in zip(x.shape[-places:], output.shape[-places:]))


def _arrivals(module: nn.Module, summed: Tensor) -> float:
    """How often a weight is added for spikes (frames, groups, ...), already added up over the channels of each group."""
    ones = torch.ones(module.groups, 1, *module.kernel_size, dtype=torch.float64, device=summed.device)
    for kind, function in _TRANSPOSED.items():
        if isinstance(module, kind):
            options = (module.stride, module.padding, module.output_padding, module.groups, module.dilation)
            ways = function(summed, ones, None, *options)
            break
    else:
        ways = module._conv_forward(summed, ones, None)
    return ways.sum().item() * (module.out_channels // module.groups)
