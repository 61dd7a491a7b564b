"""The table of ``spiketrain rates``: a network's activity on the test set, layer by layer."""

from __future__ import annotations

from spiketrain.data.base import Batches, Dataset
from spiketrain.methods.base.activity import Activity, LayerActivity
from spiketrain.methods.base.method import Method
from spiketrain.reports.tables import aligned


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
    if not activity.is_counted:
        return aligned([header, *rows], numbers=True)

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
    lines = aligned([header, *rows], numbers=True)
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
