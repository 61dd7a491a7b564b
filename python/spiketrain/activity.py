"""How active a network is: firing rates, and what they cost next to a network that does not spike.

A *synaptic operation* is what one spike does at one synapse: an addition. Per sample, a layer makes

    SynOps = time steps * neurons * firing rate * mean fan-out,

in the forward pass, with the fan-out counted by `models.synapses` to the next layer, or back to the first one from the last.
In SPIDE's backward pass spikes have a sign and run through the same synapses in the other direction: there the fan-out is
the number of synapses by which a neuron is reached in the forward pass, but for those from the input, which no spike
crosses. Neurons that SPIDE's mask keeps from sending are counted as if they sent. An image drives the first layer with real
numbers, once for all steps, and a classifier that reads firing rates is used once: those are *multiply-accumulates* (MACs).
A *non-spiking network* of the same layers takes one MAC for each synapse, once.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class LayerActivity:
    """A layer of neurons.

    Attributes:
        name: what leads to it
        neurons: how many it has
        forward_rate: spikes per neuron and time step
        backward_rate: the same in the backward pass, where that spikes
        synapses: from this layer to the next (or back to the first), where known
        backward_synapses: over which its backward spikes run
    """

    name: str
    neurons: int
    forward_rate: float
    backward_rate: float | None = None
    synapses: int | None = None
    backward_synapses: int = 0


@dataclass
class Activity:
    """A network's activity on a batch, or on average over batches.

    Attributes:
        layers: the layers of neurons in the order of the forward pass
        time_steps: of the forward pass
        backward_time_steps: of the backward pass, 0 where that does not spike
        input_synapses: from the input to the first layer, where known
        input_rate: non-zero inputs per pixel and time step for events; None for images
        readout_synapses: of a classifier that reads the rates of the last layer
    """

    layers: list[LayerActivity]
    time_steps: int
    backward_time_steps: int = 0
    input_synapses: int | None = None
    input_rate: float | None = None
    readout_synapses: int = 0

    @property
    def is_counted(self) -> bool:
        """Whether all synapses are known."""
        return self.input_synapses is not None and all(layer.synapses is not None for layer in self.layers)

    def input_operations(self) -> float:
        """SynOps per sample from events to the first layer, or MACs from an image."""
        return self.input_synapses * (1 if self.input_rate is None else self.input_rate * self.time_steps)

    def forward_operations(self, layer: LayerActivity) -> float:
        """SynOps per sample in the forward pass."""
        return layer.forward_rate * self.time_steps * layer.synapses

    def backward_operations(self, layer: LayerActivity) -> float:
        """SynOps per sample in the backward pass."""
        return (layer.backward_rate or 0.0) * self.backward_time_steps * layer.backward_synapses


def image_or_event_rate(inputs: Tensor) -> float | None:
    """`Activity.input_rate` of a batch: images (N, C, H, W) or events (T, N, C, H, W)."""
    return inputs.ne(0).double().mean().item() if inputs.dim() == 5 else None


def average(batches: list[tuple[int, Activity]]) -> Activity:
    """The mean over batches of (samples, activity), weighted by the samples."""
    total = sum(samples for samples, _ in batches)

    def mean(values: list[float | None]) -> float | None:
        if values[0] is None:
            return None
        return sum(value * samples for value, (samples, _) in zip(values, batches)) / total

    activities = [activity for _, activity in batches]
    result = activities[0]
    result.input_rate = mean([activity.input_rate for activity in activities])
    for i, layer in enumerate(result.layers):
        of_layer = [activity.layers[i] for activity in activities]
        layer.forward_rate = mean([part.forward_rate for part in of_layer])
        layer.backward_rate = mean([part.backward_rate for part in of_layer])
    return result


def measure(method, dataset, batch_size: int) -> Activity:
    """Average activity over the test set, in batches of the training's size: SPIDE's gradient is divided by it."""
    from spiketrain.data.base import Batches

    batches = ((len(labels), method.activity(inputs, labels)) for inputs, labels in Batches(dataset.test, batch_size))
    return average(list(batches))


def table(activity: Activity) -> list[str]:
    """Lines of a table, one row per layer, with the totals and the comparison below."""
    has_backward = activity.backward_time_steps > 0
    header = ["layer", "neurons", "forward rate"]
    if has_backward:
        header.append("backward rate")
    if activity.is_counted:
        header += ["SynOps/sample", *(["backward SynOps"] if has_backward else []), "non-spiking MACs"]
    rows = [_row(activity, layer, has_backward) for layer in activity.layers]
    rows.append(_averages(activity, has_backward) + [""] * (len(header) - 3 - has_backward))
    if not activity.is_counted:
        return _aligned([header, *rows])

    macs = activity.input_synapses + activity.readout_synapses + sum(layer.synapses for layer in activity.layers)
    forward = sum(map(activity.forward_operations, activity.layers))
    backward = sum(map(activity.backward_operations, activity.layers))
    is_image = activity.input_rate is None
    first_rate = "-" if is_image else f"{activity.input_rate:.4f}"
    gap = [""] if has_backward else []
    from_input = f"{activity.input_operations():,.0f}{' MACs' if is_image else ''}"
    rows.insert(0, ["input", "", first_rate, *gap, from_input, *gap, f"{activity.input_synapses:,}"])
    if not is_image:
        forward += activity.input_operations()
    once = activity.readout_synapses + (activity.input_synapses if is_image else 0)
    if activity.readout_synapses:
        rows.append(["classifier", "", "", *gap, f"{activity.readout_synapses:,} MACs", *gap, f"{activity.readout_synapses:,}"])
    lines = _aligned([header, *rows])
    lines.append("")
    lines.append(f"forward pass: {forward:,.0f} SynOps and {once:,} MACs per sample; the same layers without spikes: {macs:,} MACs")
    if has_backward:
        reached = sum(layer.backward_synapses for layer in activity.layers)
        lines.append(
            f"backward pass: {backward:,.0f} SynOps per sample; the gradient of the layers without spikes: {reached:,} MACs"
        )
    return lines


def _row(activity: Activity, layer: LayerActivity, has_backward: bool) -> list[str]:
    row = [layer.name, f"{layer.neurons:,}", f"{layer.forward_rate:.4f}"]
    if has_backward:
        row.append(f"{layer.backward_rate:.4f}")
    if activity.is_counted:
        row.append(f"{activity.forward_operations(layer):,.0f}")
        row += [f"{activity.backward_operations(layer):,.0f}"] if has_backward else []
        row.append(f"{layer.synapses:,}")
    return row


def _averages(activity: Activity, has_backward: bool) -> list[str]:
    """Over all neurons of the network, as the papers report them."""
    neurons = sum(layer.neurons for layer in activity.layers)
    kinds = ["forward_rate", *(["backward_rate"] if has_backward else [])]
    sums = (sum(getattr(layer, kind) * layer.neurons for layer in activity.layers) for kind in kinds)
    return ["all", f"{neurons:,}", *(f"{total / neurons:.4f}" for total in sums)]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Cells in columns: names to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))) for row in rows)
    return [line.rstrip() for line in lines]
