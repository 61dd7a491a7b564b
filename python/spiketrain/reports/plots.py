"""The pictures of a run: curve.png (loss and accuracy over the epochs), raster.png (spikes of all layers for a sample), membranes.png or
surface.png and contours.png (the surfaces that a network fits: `surfaces`), and rates.png (firing rates and synaptic operations)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data import tasks
from spiketrain.data.base import Dataset
from spiketrain.data.surfaces import PointSplit
from spiketrain.errors import printable, shortened
from spiketrain.methods.base.activity import Activity
from spiketrain.methods.base.method import Method
from spiketrain.reports.drawing import (
    BLUE,
    GREY,
    INK,
    LAYERS,
    ORANGE,
    empty_figure,
    in_units,
    label_axes,
    logarithmic,
    panels,
    save_figure,
    title_break,
)
from spiketrain.reports.membranes import save_membranes
from spiketrain.reports.surfaces import save_surfaces
from spiketrain.reports.tables import shown_rate

NEURONS_SHOWN = 150


def save_pictures(
    history: list[dict[str, float]], method: Method, dataset: Dataset, config: Config, folder: Path, kind: str = "png"
) -> list[Path]:
    """The learning curve, and what the network does: the spikes of a sample, or the surfaces it fits. Returns their paths.

    `kind` is that of the files, one of `drawing.KINDS`. A network without neurons that spike has no picture of its spikes, a run without a complete epoch no curve.
    """
    written = []
    if history:
        written.append(folder / f"curve.{kind}")
        save_curve(history, config, written[0])
    if isinstance(dataset.test, PointSplit):
        written += save_surfaces(history, method, dataset, config, folder / f"surface.{kind}")
    elif save_raster(method, dataset, config, folder / f"raster.{kind}"):
        written.append(folder / f"raster.{kind}")
        if save_membranes(method, dataset, config, folder / f"membranes.{kind}"):
            written.append(folder / f"membranes.{kind}")
    return written


def save_curve(history: list[dict[str, float]], config: Config, path: Path) -> None:
    """Loss and accuracy per epoch, with the published figure where the preset names one."""
    figure = empty_figure(10, 4)
    epochs = [row["epoch"] for row in history]
    style = {"marker": "o", "markersize": 3} if len(epochs) <= 40 else {}

    loss = figure.add_subplot(1, 2, 1)
    loss.plot(epochs, [row["train_loss"] for row in history], color=BLUE, **style)
    logarithmic(loss, [row["train_loss"] for row in history])
    label_axes(loss, "training loss (mean over steps)", "epoch", "loss")

    task = tasks.of(history[0])
    is_accuracy = task is tasks.CLASSIFICATION
    unit = 100 if is_accuracy else 1
    accuracy = figure.add_subplot(1, 2, 2)
    judge = task.chosen_on(history[0])
    for part, colour, label in (("train", GREY, "training"), (judge, ORANGE, judge)):
        accuracy.plot(epochs, [unit * row[f"{part}_{task.name}"] for row in history], color=colour, label=label, **style)
    if (mean := config.published.mean) is not None:
        spread = f" ± {config.published.std:.2f}" if config.published.std is not None else ""
        label = f"published mean {mean:.2f}{spread} %" + (" (other settings)" if config.departs else "")
        accuracy.axhline(mean, color=INK, linewidth=0.8, linestyle="--", label=label)
    best = task.best(history)
    tested = ""
    if judge != "test" and (last := task.tested(best)) is not None:
        accuracy.plot([best["epoch"]], [unit * last], "D", color=BLUE, markersize=5, label="test, of the best epoch alone")
        tested = f", test {task.show(last)}"
    accuracy.legend(frameon=False, loc="lower right" if is_accuracy else "upper right")
    shown = f"best {judge} {task.show(task.judged(best))} in epoch {best['epoch']}{tested}"
    label_axes(accuracy, f"{task.name.replace('_', ' ')}: {shown}", "epoch", "%" if is_accuracy else "error")

    if is_accuracy:
        accuracy.set_xlabel("epoch   (training: of each batch before its step, dropout on)", fontsize=9)
    for axes in (loss, accuracy):
        axes.locator_params(axis="x", integer=True)
        axes.grid(color="#e6e9ec", linewidth=0.6)
    figure.suptitle(config.preset, x=0.01, ha="left", color=INK, fontweight="bold")
    save_figure(figure, path)


def save_raster(method: Method, dataset: Dataset, config: Config, path: Path) -> bool:
    """One test sample: the input, the scores of the classes, and which neurons of each layer fire at which time step.

    Returns:
        Whether there was anything to draw.
    """
    index = torch.zeros(1, dtype=torch.int64, device=dataset.test.labels.device)
    inputs, label = dataset.test.batch(index), dataset.test.labels[0].item()
    trains = {name: spikes[:, 0].flatten(1).float().cpu() for name, spikes in method.spike_trains(inputs).items()}
    if not trains:
        return False
    scores = method.scores(inputs)[0].float().cpu()

    rows, columns, places = panels(len(trains))
    width = 8.5 if columns == 1 else 5.2 * columns
    figure = empty_figure(2.5 + width, 1.2 + 1.7 * rows)
    grid = figure.add_gridspec(2, 2, width_ratios=[2.5, width], height_ratios=[1, 1])
    names = [shortened(printable(name), 24) for name in dataset.class_names or map(str, range(len(scores)))]
    _draw_input(figure.add_subplot(grid[0, 0]), inputs, names[label])
    _draw_scores(figure.add_subplot(grid[1, 0]), scores, label, names)
    rasters = grid[:, 1].subgridspec(rows, columns)
    for i, ((name, spikes), (row, column, is_last)) in enumerate(zip(trains.items(), places)):
        axes = figure.add_subplot(rasters[row, column])
        _draw_raster(axes, name, spikes, LAYERS[i % len(LAYERS)], columns)
        if is_last:
            axes.set_xlabel("time step")
    figure.suptitle(f"{config.preset}: spikes of one test sample", x=0.01, ha="left", color=INK, fontweight="bold")
    save_figure(figure, path)
    return True


def save_rates(activity: Activity, config: Config, path: Path) -> None:
    """Firing rate of each layer and, where the synapses are known, what it costs next to a network without spikes."""
    layers = activity.layers
    has_backward = activity.backward_time_steps > 0
    by_weights = activity.operations if not activity.is_counted else None
    panels = 2 if activity.totals() is not None else 1
    figure = empty_figure(5.5 * panels, 1.4 + 0.45 * max(len(layers) * (1 + has_backward), len(by_weights or ())))
    names = [layer.name for layer in layers]

    rates = figure.add_subplot(1, panels, 1)
    bars = {"forward": ([layer.forward_rate for layer in layers], BLUE)}
    if has_backward:
        bars["backward"] = ([layer.backward_rate for layer in layers], ORANGE)
    _draw_bars(rates, names, bars, shown_rate)
    steps = f"{activity.time_steps} time steps"
    if has_backward:
        steps = f"{activity.time_steps} forward, {activity.backward_time_steps} backward time steps"
    label_axes(rates, f"firing rate ({steps})", "spikes per neuron and time step", "")
    if activity.is_counted:
        bars = {"forward SynOps": ([activity.forward_operations(layer) for layer in layers], BLUE)}
        if has_backward:
            bars["backward SynOps"] = ([activity.backward_operations(layer) for layer in layers], ORANGE)
        bars["MACs without spikes"] = ([layer.non_spiking for layer in layers], GREY)
        operations = figure.add_subplot(1, panels, 2)
        _draw_bars(operations, names, bars)
        label_axes(operations, "operations per sample", "synaptic operations, or multiply-accumulates", "")
    elif by_weights is not None:
        operations = figure.add_subplot(1, panels, 2)
        bars = {
            "SynOps": ([layer.additions for layer in by_weights], BLUE),
            "MACs": ([layer.macs for layer in by_weights], ORANGE),
            "MACs without spikes": ([layer.synapses for layer in by_weights], GREY),
        }
        _draw_bars(operations, [layer.name for layer in by_weights], bars)
        label_axes(operations, "operations per sample of each layer of weights", "synaptic operations, or multiply-accumulates", "")
    figure.suptitle(f"{config.preset}: activity on the test set", x=0.01, ha="left", color=INK, fontweight="bold")
    save_figure(figure, path)


def _draw_bars(axes, names: list[str], bars: dict[str, tuple[list[float], str]], shown: Callable[[float], str] = in_units) -> None:
    """Groups of horizontal bars, one group per layer, the first layer on top, each with its value."""
    height = 0.8 / len(bars)
    for i, (label, (values, colour)) in enumerate(bars.items()):
        places = [k + (i - (len(bars) - 1) / 2) * height for k in range(len(names))]
        drawn = axes.barh(places, values, height * 0.9, color=colour, label=label)
        axes.bar_label(drawn, list(map(shown, values)), padding=2, fontsize=7, color=INK)
    axes.set_yticks(range(len(names)), labels=names)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    if shown is in_units:
        axes.xaxis.set_major_formatter(lambda value, _: in_units(value))
    if len(bars) > 1:
        axes.legend(frameon=False, fontsize=8)


def _draw_input(axes, inputs: Tensor, label: str) -> None:
    if inputs.dim() == 5 and inputs.shape[3] == 1:  # a row of channels: how they fire in time says more than their mean
        axes.imshow(inputs[:, 0].flatten(1).t().float().cpu().numpy(), aspect="auto", cmap="gray_r", interpolation="nearest", origin="lower")
        label_axes(axes, f"input, class {label}", "time step", "channel")
        return
    # Events are shown as their mean over time and polarity.
    image = inputs[0] if inputs.dim() == 4 else inputs.mean(0)[0].mean(0, keepdim=True)
    image = image.float().cpu()
    image = image if len(image) in (1, 3) else image.mean(0, keepdim=True)  # more or fewer channels than there are colours
    image = (image - image.min()) / (image.max() - image.min()).clamp_min(1e-6)
    axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray_r" if len(image) == 1 else None, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(f"input, class {label}", color=INK, fontsize=10, loc="left")


def _draw_scores(axes, scores: Tensor, label: int, names: Sequence[str]) -> None:
    """The largest scores, at most ten, the right class in colour."""
    top = sorted(scores.topk(min(10, len(scores))).indices.tolist())
    axes.barh(range(len(top)), scores[top].tolist(), color=[ORANGE if k == label else GREY for k in top])
    axes.set_yticks(range(len(top)), labels=[names[k] for k in top])
    axes.invert_yaxis()
    label_axes(axes, f"prediction: class {names[scores.argmax().item()]}", "score", "class")


def _draw_raster(axes, name: str, spikes: Tensor, colour: str, columns: int) -> None:
    """Spikes (T, neurons) as a field of time steps and neurons. Of large layers, evenly spread neurons that fire."""
    from matplotlib.colors import ListedColormap

    steps, neurons = spikes.shape
    fires = spikes.any(0).nonzero().flatten()
    shown = fires if neurons > NEURONS_SHOWN else torch.arange(neurons)
    shown = shown[torch.linspace(0, max(len(shown) - 1, 0), min(len(shown), NEURONS_SHOWN)).long()]
    field = spikes[:, shown].t().numpy() if len(shown) else torch.zeros(1, steps).numpy()
    extent = (0.5, steps + 0.5, len(field), 0)
    axes.imshow(
        field, aspect="auto", interpolation="nearest", cmap=ListedColormap(["#f7f8fa", colour]), vmin=0, vmax=1, extent=extent
    )
    if steps <= 40:  # few steps: wide cells, with gaps between them
        for t in range(steps + 1):
            axes.axvline(t + 0.5, color="white", linewidth=120 / steps / columns)
    if steps <= 20:
        axes.set_xticks(range(1, steps + 1))
    rows = range(len(shown)) if len(shown) <= 10 else sorted({round(i * (len(shown) - 1) / 4) for i in range(5)})
    axes.set_yticks([i + 0.5 for i in rows], labels=[int(shown[i]) for i in rows])
    rate = 100 * spikes.mean().item()
    drawn = f"{len(shown)} of {len(fires)} that fire drawn" if len(shown) < neurons else "all drawn"
    label_axes(axes, f"{name}{title_break(columns)}{neurons} neurons, {drawn}; {rate:.1f} % fire per step", "", "neuron")
