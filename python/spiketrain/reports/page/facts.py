"""What the page shows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from spiketrain.config import Config
from spiketrain.methods.base.activity import Activity
from spiketrain.reports.reproduction.figures import SeedRun

NOWHERE = object()  # the value of a field that a configuration does not have


@dataclass
class RunFacts:
    """A run, as its checkpoints tell it, and what was measured of its best epoch for the page.

    Attributes:
        name: what the page calls it; unlike those of the others
        path: where it lies
        config: what it was trained with
        preset: `Config.to_dict` of its preset; None where there is no such preset any more
        run: epochs and figures
        sessions: what it was trained on, by the columns of sessions.csv
        versions: of what wrote its checkpoint
        data: name, input shape and classes of its data set, from its checkpoint; {} where it does not say
        weights: how many parameters the network has; None: not known
        activity: on the test set; None: not measured
        confusion: int64 (classes, classes + 1), of the test samples; None: not measured, or no classes
        class_names: of its rows
        samples: of training, validation and test, as far as the data set was read
        remarks: what else a reader has to know
    """

    name: str
    path: str
    config: Config
    preset: dict[str, Any] | None
    run: SeedRun
    sessions: list[dict[str, str]]
    versions: dict[str, str]
    data: dict[str, Any] = field(default_factory=dict)
    weights: int | None = None
    activity: Activity | None = None
    confusion: Tensor | None = None
    class_names: list[str] = field(default_factory=list)
    samples: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Fields by their names: ``optimizer.lr``."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def differing_fields(runs: Sequence[RunFacts], ignored: Sequence[str]) -> dict[str, list[Any]]:
    """Each field that is another one in a run than in its preset, or than in the other runs that have it: the presets' values, then the runs'.

    Args:
        ignored: fields, or sections ending with a dot, that are no part of an experiment
    """
    own = [flat(run.config.to_dict()) for run in runs]
    presets = [settings if run.preset is None else flat(run.preset) for run, settings in zip(runs, own)]
    names = dict.fromkeys(name for settings in own for name in settings)
    found = {}
    for name in names:
        if any(name == other or (other.endswith(".") and name.startswith(other)) for other in ignored):
            continue
        values, plain = ([settings.get(name, NOWHERE) for settings in of] for of in (own, presets))
        known = [value for value in values if value is not NOWHERE]  # fields of other methods are no difference
        if values != plain or any(value != known[0] for value in known):
            found[name] = [*plain, *values]
    return found
