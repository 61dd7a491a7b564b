"""What of a run may be changed by whom: `resume` trains on, other commands look at weights that were trained.

The configuration in a checkpoint is what its weights were trained with. An option of a command is applied, or refused in one
line; it never goes without effect.
"""

from __future__ import annotations

from typing import Any

from spiketrain import methods
from spiketrain.config import Config
from spiketrain.errors import UserError, shortened, shown
from spiketrain.methods import load_config

_LABELS = ("preset", "about", "published.", "departs")
_PLACES = (
    "data.root", "data.download", "trainer.device", "trainer.threads", "trainer.cuda_graphs", "trainer.progress", "trainer.eval_batch_size",
    "trainer.lost_seconds",
)  # fmt: skip
# Names of fields, or of whole sections where they end with a dot.
_RESUME = (
    *_LABELS, *_PLACES, "optimizer.", "network.dropout", "network.dropout_kind", "data.augment", "data.augment_border",
    "data.augment_flip", "trainer.epochs", "trainer.batch_size", "trainer.limit_train", "trainer.precision", "trainer.pipeline",
    "trainer.checkpoint_minutes", "trainer.sync_batch_norm",
)  # fmt: skip
_WITHIN_EPOCH = (
    "trainer.batch_size", "trainer.limit_train", "trainer.pipeline", "trainer.sync_batch_norm", "data.augment", "data.augment_border",
    "data.augment_flip",
)  # fmt: skip
_LOOK = (*_LABELS, *_PLACES)
# What does not change the outcome of a training: who looks on, where it runs and lies, how often it is saved, and who learns which layer.
NO_PART_OF_THE_EXPERIMENT = (*_LABELS, *_PLACES, "trainer.out", "trainer.checkpoint_minutes", "trainer.pipeline")
_NOT_TO_LOOK = ("data.validation",)  # the test samples are those of the data set, however its others are shared out
_LOOK_AND_SAY = ("data.", "network.time_steps", "trainer.limit_test", "trainer.precision", "trainer.batch_size", "seed")


def resumed_config(content: dict[str, Any], options: list[str]) -> tuple[Config, list[str]]:
    """The configuration with which a checkpoint's run goes on, and a line on each field that is not what it was.

    Raises:
        UserError: an option that would have no effect, or that would change what the weights mean.
    """
    config, changed = _with_options(content, options)
    changeable = [f"method.{name}" for name in methods.get(config.method.name).changeable]
    for name, (old, new) in changed.items():
        if name == "optimizer.name" or not (_is_among(name, _RESUME) or name in changeable):
            raise UserError(
                f"field {name}: the run was trained with {shown(old)} and cannot go on with {shown(new)}, which does not fit what it has "
                f"learned. Train anew with --{name} {shown(new)}"
            )
        if content.get("position") is not None and name in _WITHIN_EPOCH:
            raise UserError(
                f"field {name}: the run was interrupted in the middle of epoch {content['epoch'] + 1}, which has to end as it began, "
                f"with {shown(old)}. Resume without the option until that epoch is complete"
            )
    if config.trainer.epochs < content["epoch"] and "trainer.epochs" in changed:
        raise UserError(f"field trainer.epochs: {content['epoch']} epochs are complete already, got {config.trainer.epochs}")
    return config, [f"{name}: {shown(new)} from here on, was {shown(old)}" for name, (old, new) in changed.items()]


def config_to_look(content: dict[str, Any], options: list[str]) -> tuple[Config, list[str]]:
    """The configuration with which a checkpoint's weights are looked at, and a line on each field in which it is not theirs.

    Raises:
        UserError: an option that would have no effect here, or that would change what the weights mean.
    """
    config, changed = _with_options(content, options)
    for name, (old, new) in changed.items():
        if not _is_among(name, (*_LOOK, *_LOOK_AND_SAY)) or name in _NOT_TO_LOOK:
            raise UserError(
                f"field {name}: the weights were trained with {shown(old)}; {shown(new)} has no effect on them any more, or does not fit "
                f"them. Train anew with --{name} {shown(new)}"
            )
    said = [
        f"{name} is {shown(new)} here; the weights were trained with {shown(old)}"
        for name, (old, new) in changed.items()
        if not _is_among(name, _LOOK)
    ]
    return config, said


def differences(recorded: dict[str, Any] | None, config: Config) -> str | None:
    """What config.yaml says otherwise than the configuration that counts, as a sentence; None where it says the same.

    Args:
        recorded: what config.yaml holds, None if it cannot be read
    """
    if recorded is None:
        return "config.yaml is damaged: the configuration in the checkpoint is used"
    try:
        edited = load_config(recorded)
    except UserError as error:
        return shortened(f"config.yaml is not used, the configuration in the checkpoint is: {error}")
    changed = _changed(config.to_dict(), edited.to_dict())
    if not changed:
        return None
    parts = [f"{name} {shown(new)} instead of {shown(old)}" for name, (old, new) in changed.items()]
    first = next(iter(changed))
    hint = f"To change a run, give options to 'resume', such as --{first} {shown(changed[first][1])}"
    return f"config.yaml was edited ({shortened(', '.join(parts), 120)}) and is not used: the checkpoint's configuration is. {hint}"


def other_settings(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """In what two configurations (of `Config.to_dict`) are different experiments: each such field by its name, (old, new)."""
    return {name: pair for name, pair in _changed(old, new).items() if not _is_among(name, NO_PART_OF_THE_EXPERIMENT)}


def _with_options(content: dict[str, Any], options: list[str]) -> tuple[Config, dict[str, tuple[Any, Any]]]:
    trained = load_config(content["config"])
    config = load_config(content["config"], options)
    return config, _changed(trained.to_dict(), config.to_dict())


def _changed(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Each field that differs, by its name: (old, new)."""
    found = {}
    for name in {**old, **new}:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found |= _changed(before, after, f"{prefix}{name}.")
        elif before != after:
            found[f"{prefix}{name}"] = (before, after)
    # Options of another method are none of their own: the method is what changed.
    return {"method.name": found["method.name"]} if "method.name" in found else found


def _is_among(name: str, names: tuple[str, ...]) -> bool:
    return any(name == known or (known.endswith(".") and name.startswith(known)) for known in names)
