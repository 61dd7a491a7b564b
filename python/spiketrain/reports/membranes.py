"""membranes.png: the membrane potentials of some neurons of each layer over a test sample, with the threshold and their spikes."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from spikeops.nn.neurons import LIFNeurons
from spiketrain.config import Config
from spiketrain.data.base import Dataset
from spiketrain.methods.base.method import Method
from spiketrain.reports.drawing import INK, LAYERS, empty_figure, label_axes, panels, save_figure, title_break

NEURONS_SHOWN = 4


def save_membranes(method: Method, dataset: Dataset, config: Config, path: Path) -> bool:
    """Draw them for the first test sample: of each layer some neurons that fire much or little.

    Returns:
        Whether there was anything to draw: layers of LIF neurons whose threshold is one number.
    """
    index = torch.zeros(1, dtype=torch.int64, device=dataset.test.labels.device)
    layers = potentials(method, dataset.test.batch(index))
    if not layers:
        return False
    rows, columns, places = panels(len(layers))
    figure = empty_figure(9 if columns == 1 else 6 * columns, 0.8 + 2.1 * rows)
    grid = figure.add_gridspec(rows, columns)
    for i, ((name, (potential, spikes, threshold)), (row, column, is_last)) in enumerate(zip(layers.items(), places)):
        axes = figure.add_subplot(grid[row, column])
        _draw(axes, name, potential, spikes, threshold, LAYERS[i % len(LAYERS)], title_break(columns))
        if is_last:
            axes.set_xlabel("time step")
    figure.suptitle(f"{config.preset}: membrane potentials for one test sample", x=0.01, ha="left", color=INK, fontweight="bold")
    save_figure(figure, path)
    return True


def potentials(method: Method, inputs: Tensor) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Of each layer of LIF neurons, by the name of its module: potentials before the reset and spikes (T, neurons) of the first sample, and
    the threshold."""
    found: dict[str, tuple[Tensor, Tensor, float]] = {}
    names = {module: name for name, module in method.network.named_modules()}
    if callable(neurons := getattr(method.network, "neurons", None)):
        names |= {module: name for name, module in neurons().items()}

    def look(module: LIFNeurons, arguments: tuple, keywords: dict, _: object) -> None:
        twin = copy.copy(module)  # the same neurons once more, which also say their potentials
        twin.return_trace, twin.return_state, twin.save = "before", False, "input"
        spikes, trace = (part[:, 0].reshape(len(part), -1).float().cpu() for part in type(module).forward(twin, *arguments, **keywords))
        found[names[module]] = trace, spikes, float(module.threshold)

    hooks = [
        module.register_forward_hook(look, with_kwargs=True)
        for module in names
        if isinstance(module, LIFNeurons) and not isinstance(module.threshold, Tensor)
    ]
    try:
        with torch.no_grad():
            method.spike_trains(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _draw(axes, name: str, potential: Tensor, spikes: Tensor, threshold: float, colour: str, between: str) -> None:
    steps, neurons = spikes.shape
    fires = int(spikes.any(0).sum())
    # From the one that fires most down to the one that fires least, or to some that do not.
    ranks = torch.linspace(0, max(fires, min(NEURONS_SHOWN, neurons)) - 1, min(NEURONS_SHOWN, neurons)).long()
    shown = spikes.sum(0).argsort(descending=True, stable=True)[ranks].tolist()
    times = range(1, steps + 1)
    styles = ["-", "--", "-.", ":"]
    for style, neuron in zip(styles, shown):
        axes.plot(times, potential[:, neuron], style, color=colour, linewidth=1.3, label=f"neuron {neuron}")
        fired = [t for t in times if spikes[t - 1, neuron]]
        axes.plot(fired, potential[[t - 1 for t in fired], neuron], "o", color=colour, markersize=4)
    axes.axhline(threshold, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), label="threshold")
    if steps <= 20:
        axes.set_xticks(list(times))
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    label_axes(axes, f"{name}{between}{len(shown)} of {neurons} neurons, of which {fires} fire; dots: spikes", "", "potential before reset")
