"""Pictures of networks that fit surfaces: surface.png, what they read out before and after learning, and contours.png, what a
network with one output comes to at rest, over the map of its active neurons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from spiketrain.config import Config
from spiketrain.data.base import Dataset
from spiketrain.data.surfaces import GRID, grid
from spiketrain.methods.base.method import Method
from spiketrain.reports.drawing import INK, empty_figure, label_axes, save_figure

CONTOUR_GRID = 500  # points on a side, as in the published figure
LEVELS = 40


def save_surfaces(history: list[dict[str, float]], method: Method, dataset: Dataset, config: Config, path: Path) -> list[Path]:
    """Each surface, what the network makes of it before and after learning, and the error that is left, over a grid.

    Of networks with one output, contours.png is drawn beside it. Returns the paths.
    """
    points = dataset.test.over_grid()
    batches = points.points.to(dataset.test.labels.device).split(config.trainer.eval_batch_size)
    readouts = [torch.cat([scores(batch) for batch in batches]).cpu() for scores in (method.untrained_scores, method.scores)]
    x1, x2 = (axis.view(GRID, GRID).numpy() for axis in points.points.unbind(1))

    side = points.half_side
    figure = empty_figure(15, 1 + 3.6 * len(points.surfaces))
    places = figure.add_gridspec(len(points.surfaces), 4)
    for i, name in enumerate(points.surfaces):
        target, before, found = (heights[:, i].view(GRID, GRID).numpy() for heights in (points.labels, *readouts))
        error = found - target
        panels = ((f"target: {name}", target), ("before learning", before), ("after learning", found))
        for column, (title, heights) in enumerate(panels):
            axes = figure.add_subplot(places[i, column], projection="3d")
            axes.plot_surface(x1, x2, heights, cmap="viridis", vmin=target.min(), vmax=target.max(), linewidth=0)
            axes.set_title(title, color=INK, fontsize=10, loc="left")
            axes.set(xlabel="x1", ylabel="x2")
            if heights is not before:
                axes.set_zlim(min(target.min(), found.min()), max(target.max(), found.max()))
            axes.tick_params(colors=INK, labelsize=7)
        axes = figure.add_subplot(places[i, 3])
        limit = max(abs(error).max(), 1e-6)
        extent = (-side, side, -side, side)
        image = axes.imshow(error.T, origin="lower", extent=extent, cmap="RdBu_r", vmin=-limit, vmax=limit)
        figure.colorbar(image, ax=axes, shrink=0.8)
        untrained = history[0].get(f"untrained_rms_error_{i + 1}")
        was = f", before {untrained:.4f}" if untrained is not None else ""
        label_axes(axes, f"error: rms {(error**2).mean() ** 0.5:.4f}{was}", "x1", "x2")
    figure.suptitle(f"{config.preset}: surfaces over [-{side:g}, {side:g}]²", x=0.01, ha="left", color=INK, fontweight="bold")
    save_figure(figure, path)
    if len(points.surfaces) > 1:
        return [path]
    contours = path.with_name(f"contours{path.suffix}")
    save_contours(method, side, config, contours)
    return [path, contours]


def save_contours(method: Method, half_side: float, config: Config, path: Path) -> None:
    """Contours of the maxout of the first layer, before and after learning, in grey over the map of the neuron that is active."""
    points = grid(CONTOUR_GRID, half_side)
    figure = empty_figure(11, 5)
    x1, x2 = (axis.view(CONTOUR_GRID, CONTOUR_GRID).numpy() for axis in points.unbind(1))
    for i, (title, network) in enumerate((("before learning", method.untrained), ("after learning", method.network))):
        weights = network[0].feedforward
        height, active = (v.view(CONTOUR_GRID, CONTOUR_GRID).cpu().numpy() for v in network[0].maxout(points.to(weights)))
        axes = figure.add_subplot(1, 2, i + 1)
        extent = (-half_side, half_side, -half_side, half_side)
        axes.imshow(_mixed(active).T, origin="lower", extent=extent, cmap="prism", alpha=0.45, interpolation="nearest")
        lines = axes.contour(x1, x2, height, levels=np.linspace(-14, 14, LEVELS), cmap="gray", vmin=0, vmax=14, linewidths=0.8)
        axes.clabel(lines, fontsize=6)
        pieces = len(np.unique(active))
        label_axes(axes, f"{title}: maxout, {pieces} pieces", "x1", "x2")
    first = "" if len(method.network) == 1 else " of the first layer"
    figure.suptitle(f"{config.preset}: contours over the active neuron{first}", x=0.01, ha="left", color=INK, fontweight="bold")
    save_figure(figure, path)


def _mixed(active: np.ndarray) -> np.ndarray:
    """Numbers of neurons in a fixed random order, so that neighbours differ in colour; the zero piece stays 0."""
    order = np.random.default_rng(0).permutation(active.max()) + 1 if active.max() else np.zeros(0, int)
    return np.concatenate([[0], order])[active]
