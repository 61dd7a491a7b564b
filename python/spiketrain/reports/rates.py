"""The table of ``spiketrain rates``: a network's activity on the test set, layer by layer."""

from __future__ import annotations

from collections.abc import Callable

from spiketrain.data.base import Batches, Dataset
from spiketrain.methods.base.activity import Activity, LayerActivity, LayerOperations
from spiketrain.methods.base.method import Method
from spiketrain.reports.energy import SOURCE, Energy
from spiketrain.reports.tables import aligned, shown_rate


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
    result.operations = _mean_operations([activity.operations for activity in activities], mean)
    result.uncounted = next((activity.uncounted for activity in activities if activity.uncounted), "")
    for i, layer in enumerate(result.layers):
        of_layer = [activity.layers[i] for activity in activities]
        layer.forward_rate = mean([part.forward_rate for part in of_layer])
        layer.backward_rate = mean([part.backward_rate for part in of_layer])
    return result


def _mean_operations(
    counted: list[list[LayerOperations] | None], mean: Callable[[list[float]], float]
) -> list[LayerOperations] | None:
    """Layer by layer. A layer that was not used in a batch has computed nothing there."""
    if any(layers is None for layers in counted):
        return None
    named = [{layer.name: layer for layer in layers} for layers in counted]
    parts = ("additions", "macs", "synapses")
    return [
        LayerOperations(name, *(mean([getattr(layers.get(name, LayerOperations(name)), part) for layers in named]) for part in parts))
        for name in dict.fromkeys(name for layers in named for name in layers)
    ]


def measure(method: Method, dataset: Dataset, batch_size: int) -> Activity:
    """Average activity over the test set, in batches of the training's size: SPIDE's gradient is divided by it."""
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
    totals = activity.totals()
    if totals is None:
        return aligned([header, *rows], numbers=True)
    if not activity.is_counted:
        return [*aligned([header, *rows], numbers=True), "", *_weights_table(activity.operations), "", _summary(totals)]

    backward = sum(map(activity.backward_operations, activity.layers))
    is_image = activity.input_rate is None
    first_rate = "-" if is_image else shown_rate(activity.input_rate)
    gap = [""] if has_backward else []
    from_input = f"{activity.input_operations():,.0f}{' MACs' if is_image else ''}"
    rows.insert(0, ["input", "", first_rate, *gap, from_input, *gap, f"{activity.input_non_spiking:,}"])
    if activity.readout_synapses:
        rows.append(["classifier", "", "", *gap, f"{activity.readout_synapses:,} MACs", *gap, f"{activity.readout_synapses:,}"])
    lines = aligned([header, *rows], numbers=True)
    lines.append("")
    lines.append(_summary(totals))
    if has_backward:
        reached = sum(layer.backward_synapses for layer in activity.layers)
        lines.append(
            f"backward pass: {backward:,.0f} SynOps per sample; the gradient of the layers without spikes: {reached:,} MACs"
        )
    return lines


def _weights_table(operations: list[LayerOperations]) -> list[str]:
    header = ["weights", "SynOps/sample", "MACs/sample", "non-spiking MACs"]
    return aligned([header, *([part.name, *(f"{n:,.0f}" for n in (part.additions, part.macs, part.synapses))] for part in operations)], numbers=True)


def _summary(totals: LayerOperations) -> str:
    """All operations of a forward pass."""
    return (
        f"forward pass: {totals.additions:,.0f} SynOps and {totals.macs:,.0f} MACs per sample; the same layers without spikes: "
        f"{totals.synapses:,.0f} MACs"
    )


def energy_line(totals: LayerOperations) -> str:
    """An estimate of their energy, with where its figures are from."""
    return f"energy of the forward pass, an estimate: {Energy.of(totals).sentence()} ({SOURCE}; neurons, memory and communication are not in it)"


def _row(activity: Activity, layer: LayerActivity, has_backward: bool) -> list[str]:
    row = [layer.name, f"{layer.neurons:,}", shown_rate(layer.forward_rate)]
    if has_backward:
        row.append(shown_rate(layer.backward_rate))
    if activity.is_counted:
        row.append(f"{activity.forward_operations(layer):,.0f}")
        row += [f"{activity.backward_operations(layer):,.0f}"] if has_backward else []
        row.append(f"{layer.non_spiking:,}")
    return row


def _averages(activity: Activity, has_backward: bool) -> list[str]:
    """Over all neurons of the network, as the papers report them."""
    neurons = sum(layer.neurons for layer in activity.layers)
    kinds = ["forward_rate", *(["backward_rate"] if has_backward else [])]
    sums = (sum(getattr(layer, kind) * layer.neurons for layer in activity.layers) for kind in kinds)
    return ["all", f"{neurons:,}", *(shown_rate(total / neurons) for total in sums)]
