"""From run directories to what several seeds came to."""

from __future__ import annotations

from collections.abc import Sequence

from spiketrain import presets
from spiketrain.config import Config, Published
from spiketrain.errors import UserError, shown
from spiketrain.methods import load_config
from spiketrain.reports.reproduction.figures import COMPLETE, Experiment, SeedRun
from spiketrain.reports.reproduction.kept import KeptRuns
from spiketrain.reports.reproduction.tables import ORIGIN
from spiketrain.training import changes
from spiketrain.training.reproduction.places import Found, Places, differences


class Results:
    """What lies below a folder, whoever made it, judged by what is asked for.

    Args:
        places: the folder
        asked: the configurations of each preset's seeds, by preset and seed; of other presets below the folder, and of other seeds,
            what is there counts as well
        kept: complete runs of which other folders tell; those of a preset itself count where the folder has none of that seed

    Attributes:
        failed: presets and seeds of those asked for that did not get to their end, with the reason
    """

    def __init__(self, places: Places, asked: dict[str, dict[int, Config]], kept: KeptRuns | None = None) -> None:
        self.places, self.asked, self.kept = places, asked, kept or {}
        self.failed: dict[tuple[str, int], str] = {}

    def experiments(self) -> list[Experiment]:
        """All presets: those that are asked for, then the others."""
        names = dict.fromkeys([*self.asked, *self.places.presets(), *self.kept])
        return [self._experiment(name) for name in names]

    def is_kept(self, preset: str, seed: int, config: Config) -> bool:
        """Whether a run that is asked for needs no training, since another folder tells of it."""
        return seed in self.kept.get(preset, {}) and not self._why_not_kept(self.kept[preset][seed], config)

    @staticmethod
    def _why_not_kept(run: SeedRun, model: Config | None) -> str:
        """Why a kept run is none of an experiment, "" if it is one."""
        if model is None or model.preset not in presets.names():
            return "it is of no known preset, so that its configuration is not known"
        if settings := _settings(model):
            return f"the others are trained with {', '.join(settings)}"
        if run.epochs != model.trainer.epochs:
            return f"trained with trainer.epochs {run.epochs} instead of {model.trainer.epochs}"
        return ""

    def _experiment(self, preset: str) -> Experiment:
        asked = self.asked.get(preset, {})
        found: dict[int, Found] = {}
        runs: dict[int, SeedRun] = {seed: SeedRun(seed, config.trainer.epochs) for seed, config in asked.items()}
        notes = []
        for seed in sorted({*asked, *self.places.seeds(preset)}):
            try:
                if (there := self.places.found(preset, seed)) is not None:
                    found[seed] = there
            except UserError as error:
                if seed in asked:
                    self.failed.setdefault((preset, seed), str(error))
                else:
                    notes.append(f"seed {seed} is left out: {error}")
        model = with_seed(next(iter(asked.values())), 0) if asked else _model(preset, list(found.values()))
        for seed, there in found.items():
            if model is not None and (other := differences(there, with_seed(model, seed))):
                notes.append(f"seed {seed} is left out: trained with {other}")
                runs.pop(seed, None)
                continue
            runs[seed] = SeedRun(seed, there.epochs, there.history, _state(there), _origin(there))
        for seed, run in self.kept.get(preset, {}).items():
            if seed in runs and runs[seed].state == COMPLETE:
                continue
            if why := self._why_not_kept(run, model):
                notes.append(f"seed {seed}, of which another folder tells, is left out: {why}")
            else:
                runs[seed] = run
        for seed in runs:
            if (preset, seed) in self.failed and runs[seed].state != COMPLETE:
                runs[seed].state = f"failed after epoch {len(runs[seed].history)}"
        published = model.published if model is not None else Published()
        departs = model.departs if model is not None else []
        return Experiment(preset, [runs[seed] for seed in sorted(runs)], published, _settings(model), notes, departs)


def _state(found: Found) -> str:
    if found.is_complete:
        return COMPLETE
    return f"after epoch {len(found.history)}" if found.history else "begun"


def _origin(found: Found) -> dict[str, str]:
    """The columns on what a run was trained on, of all its sessions."""
    threads = found.config["trainer"]["threads"]
    if not found.sessions:  # made by an older version
        return {"threads": str(threads or "")}
    return {name: "; ".join(dict.fromkeys(row[name] for row in found.sessions if row[name])) for name in ORIGIN}


def _settings(config: Config | None) -> list[str]:
    """Each field in which a configuration is another experiment than its preset, whichever its seed."""
    if config is None or config.preset not in presets.names():
        return []
    plain = with_seed(load_config(presets.load(config.preset)), config.seed)
    changed = changes.other_settings(plain.to_dict(), config.to_dict())
    return [f"{name} {shown(new)} (preset: {shown(old)})" for name, (old, new) in changed.items()]


def _model(preset: str, found: Sequence[Found]) -> Config | None:
    """The experiment that the runs of a preset nobody asked for are: the preset's, if one of them is that or there are none, else that of the
    first one."""
    if not found:
        return with_seed(load_config(presets.load(preset)), 0) if preset in presets.names() else None
    first = with_seed(load_config(found[0].config), 0)
    if preset not in presets.names():
        return first
    plain = with_seed(load_config(presets.load(preset)), 0)
    if any(not differences(there, with_seed(plain, there.config["seed"])) for there in found):
        return plain
    first.published = plain.published
    return first


def with_seed(config: Config, seed: int) -> Config:
    """The same experiment with another seed."""
    return load_config({**config.to_dict(), "seed": seed})
