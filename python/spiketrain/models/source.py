"""Networks as Python that builds them again with torch and spikeops alone: what `spiketrain export --format state_dict` writes.

A module becomes the call that makes one like it; the classes of this package that are not in spikeops, which are small, come along as
their own source text. Nothing in the text comes from a file but as a literal. Whoever writes such a source runs it and compares.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from spikeops import nn as snn
from spiketrain.errors import UserError, shortened
from spiketrain.models.feedback import FeedbackNetwork
from spiketrain.models.layers import FullyConnected, SumPool2d, TimeSharedDropout
from spiketrain.models.local import LocalNetwork
from spiketrain.models.local_loss import Block, LocalLayer, Readout
from spiketrain.models.network import SpikingNetwork

_OF_TORCH = (
    nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.MaxPool2d, nn.Flatten, nn.Identity, nn.ReLU,
)  # fmt: skip
_OF_SPIKEOPS = (
    snn.LIF, snn.IF, snn.ParametricLIF, snn.ALIF, snn.ClampedLIF, snn.TSSLBP, snn.SynapticFilter, snn.CubaLIF, snn.RecurrentLIF,
    snn.LeakyReadout, snn.SpikeConv2d, snn.SpikeLinear, snn.WSConv2d, snn.LocalClassifier, snn.ConvexSNN,
)  # fmt: skip
# Of ours: what each needs of the sources.
_OWN: dict[type, tuple[object, ...]] = {
    FullyConnected: (FullyConnected,),
    SumPool2d: (SumPool2d,),
    TimeSharedDropout: (TimeSharedDropout,),
}


@dataclass
class NetworkSource:
    """The class of a network, as text.

    Attributes:
        bases: of the class ``Network``
        build: lines of its ``__init__``, behind that of its base
        methods: the text of its methods, among them ``forward(self, inputs)``, which returns scores
        helpers: classes and functions whose source it needs, in their order
    """

    bases: str
    build: list[str]
    methods: str
    helpers: list[object] = field(default_factory=list)

    def text(self) -> str:
        """The helpers and the class."""
        parts = [inspect.getsource(helper) for helper in dict.fromkeys(self.helpers)]
        build = textwrap.indent("\n".join(self.build), " " * 8)
        methods = textwrap.indent(textwrap.dedent(self.methods).strip("\n"), " " * 4)
        parts.append(f"class Network({self.bases}):\n    def __init__(self) -> None:\n        super().__init__()\n{build}\n\n{methods}\n")
        return "\n\n".join(parts)


class Writer:
    """Turns modules into calls, and notes which helpers they need."""

    def __init__(self) -> None:
        self.helpers: list[object] = []

    def call(self, module: nn.Module) -> str:
        """The call that makes a module like this one, with other weights.

        Raises:
            UserError: it is of a kind that is not known here.
        """
        kind = type(module)
        if kind in (nn.Sequential, snn.TimeDistributed):
            name = "nn.Sequential" if kind is nn.Sequential else "snn.TimeDistributed"
            return f"{name}({', '.join(map(self.call, module.children()))})"
        if kind in _OF_TORCH:
            return f"nn.{module!r}"
        if kind in (nn.AvgPool2d, snn.AvgPool2d):
            options = f"{module.extra_repr()}, ceil_mode={module.ceil_mode}, count_include_pad={module.count_include_pad}"
            return f"{'nn' if kind is nn.AvgPool2d else 'snn'}.AvgPool2d({options}, divisor_override={module.divisor_override})"
        if kind in _OF_SPIKEOPS:
            return f"snn.{_with_surrogate(repr(module))}"
        if kind in _OWN:
            self.helpers += _OWN[kind]
            return repr(module)
        if kind is snn.LocalBlock:
            options = _with_surrogate(module.extra_repr())
            return f"snn.LocalBlock({self.call(module.encoder)}, {self.call(module.classifier)}{f', {options}' if options else ''})"
        if kind is snn.LocalLossBlock:
            neuron = repr("relu") if module.kind == "relu" else self.call(module.neuron)
            return f"snn.LocalLossBlock({self.call(module.encoder)}, {module.extra_repr()}, neuron={neuron})"
        if kind is snn.FeedbackRing:
            parts = [f"layers={self.list_of(module.layers)}", f"input_layer={self.call(module.input_layer)}"]
            if module.feedback is not None:  # which the others show themselves
                parts.append(f"feedback={self.call(module.feedback)}")
            return f"snn.FeedbackRing({', '.join([*parts, module.extra_repr()])})"
        if kind in (Block, Readout):
            self.helpers += [LocalLayer, kind]
            pools = self.list_of(module.pools)
            if kind is Block:
                return f"Block({pools}, {self.call(module.block)})"
            return f"Readout({pools}, {self.call(module.linear)}, {module.weight!r}, {module.knows_time!r})"
        raise UserError(
            f"the network has a {shortened(kind.__name__, 60)}, for which no source can be written: export it as pt2, which can"
        )

    def list_of(self, modules: nn.ModuleList) -> str:
        return f"[{', '.join(map(self.call, modules))}]"

    def dictionary(self, modules: nn.ModuleDict) -> list[str]:
        """Lines ``"name": call,``."""
        return [f"    {name!r}: {self.call(module)}," for name, module in modules.items()]


def spiking(network: SpikingNetwork, scores: str) -> NetworkSource:
    """The source of a network whose outputs (T, N, outputs) become scores by the expression `scores` of ``outputs``."""
    writer = Writer()
    build = [
        f"self.input_filter = {writer.call(network.input_filter)}",
        f'self.register_buffer("static_gain", {_literal(network.static_gain)}, persistent=False)',
        f"self.time_steps = {network.time_steps}",
        "self.stages = nn.ModuleDict({",
        *writer.dictionary(network.stages),
        "})",
        "self.to(memory_format=torch.channels_last)",
    ]
    methods = f"""
def forward(self, inputs: Tensor) -> Tensor:
    outputs = self.over_time(inputs)
    return {scores}

{_method(SpikingNetwork.forward, "over_time")}
{_method(SpikingNetwork._in_time)}"""
    return NetworkSource("nn.Module", build, methods, writer.helpers)


def feedback(network: FeedbackNetwork) -> NetworkSource:
    """The source of a ring with a classifier of its rates."""
    writer = Writer()
    build = [f"self.ring = {writer.call(network.ring)}", f"self.classifier = {writer.call(network.classifier)}"]
    methods = "def forward(self, inputs: Tensor) -> Tensor:\n    return self.classifier(self.ring(inputs).flatten(1))\n"
    return NetworkSource("nn.Module", build, methods, writer.helpers)


def local_classifiers(network: LocalNetwork, encoded: str) -> NetworkSource:
    """The source of layers with a classifier each, of which the last one tells the classes. `encoded`: an expression of ``inputs``."""
    writer = Writer()
    build = ["self.stages = nn.ModuleDict({", *writer.dictionary(network.stages), "})", "self.to(memory_format=torch.channels_last)"]
    methods = f"""
def forward(self, inputs: Tensor) -> Tensor:
    return self.count({encoded}).float()

{_method(LocalNetwork.forward, "count")}
{_method(LocalNetwork.spikes)}
{_method(LocalNetwork.blocks)}
{_method(LocalNetwork.before)}"""
    return NetworkSource("nn.Module", build, methods, writer.helpers)


def local_losses(network: nn.ModuleDict) -> NetworkSource:
    """The source of blocks with a loss each and a readout."""
    writer = Writer()
    build = ["self.update({", *writer.dictionary(network), "})", "self.to(memory_format=torch.channels_last)"]
    methods = """
def forward(self, inputs: Tensor) -> Tensor:
    for layer in self.values():
        inputs = layer.handed_on(layer(inputs))
    return inputs
"""
    return NetworkSource("nn.ModuleDict", build, methods, writer.helpers)


def convex(network: nn.ModuleList, methods: str) -> NetworkSource:
    """The source of a list of `ConvexSNN`, with these methods."""
    writer = Writer()
    build = [f"self.extend({writer.list_of(network)})"]
    if network[0].feedforward.is_floating_point() and network[0].feedforward.itemsize == 8:
        build.append("self.double()")
    return NetworkSource("nn.ModuleList", build, methods, writer.helpers)


def _method(function: Callable, name: str | None = None) -> str:
    """The source of a method, perhaps under another name."""
    text = textwrap.dedent(inspect.getsource(function))
    return text if name is None else re.sub(rf"^def {function.__name__}\(", f"def {name}(", text, count=1)


def _with_surrogate(text: str) -> str:
    return re.sub(r"surrogate=(\w+)\(", r"surrogate=surrogate.\1(", text)


def _literal(tensor: Tensor | None) -> str:
    return "None" if tensor is None else f"torch.tensor({tensor.tolist()!r}, dtype={tensor.dtype})"
