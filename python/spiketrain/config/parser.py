"""From raw fields and command line options to a checked `Config`. Every field has a type, which jsonargparse checks."""

from __future__ import annotations

import re

from spiketrain.config.fields import Config, DataConfig, NetworkConfig, OptimizerConfig, Published, TrainerConfig
from spiketrain.errors import UserError, unknown_name


def parse(raw: dict, overrides: list[str], options: type, prog: str) -> Config:
    """A checked `Config` from nested dictionaries and command line options such as ``["--trainer.epochs", "3"]``.

    Args:
        options: the class of the section `method`
        prog: the command, for error messages

    Raises:
        UserError: an unknown field, a value of the wrong type or out of range.
    """
    from jsonargparse import ArgumentError

    parser = make_parser(options, prog)
    try:
        namespace = parser.parse_object(raw)
        namespace = parser.parse_args(list(overrides), namespace=namespace)
        config = Config(**vars(_instantiate(parser, namespace)))
    except ArgumentError as error:
        raise UserError(_readable(error, parser)) from None
    _check(config)
    return config


def make_parser(options: type, prog: str):
    """The jsonargparse parser that knows every field of a configuration with these options of the method."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=prog,
        exit_on_error=False,
        allow_abbrev=False,
        description="Every field of the configuration can be set, in a YAML file or here.",
    )
    parser.add_argument("--preset", type=str, default="custom", help="name of the preset, kept for the record")
    parser.add_argument("--about", type=str, default="", help="one line on the experiment")
    parser.add_argument("--published", type=Published, default=Published())
    parser.add_argument("--seed", type=int, default=1, help="seed of weights, shuffling, dropout and augmentation")
    parser.add_argument("--data", type=DataConfig, default=DataConfig())
    parser.add_argument("--network", type=NetworkConfig, default=NetworkConfig())
    parser.add_argument("--method", type=options, default=options())
    parser.add_argument("--optimizer", type=OptimizerConfig, default=OptimizerConfig())
    parser.add_argument("--trainer", type=TrainerConfig, default=TrainerConfig())
    return parser


def _instantiate(parser, namespace):
    # jsonargparse renamed instantiate_classes to instantiate in 4.49.
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes
    return build(namespace)


def _readable(error: Exception, parser) -> str:
    """jsonargparse's message without Python's notation for types, and with the nearest field where one is unknown."""
    text = str(error)
    unknown = re.search(r"[Oo]ption '([\w.]+)' is not accepted", text) or re.search(r"unrecognized arguments: --([\w.]+)", text)
    in_group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", text)
    known = [action.dest for action in parser._actions if action.dest not in ("help", "config")]
    if in_group:
        return str(unknown_name("field", f"{in_group[1]}.{in_group[2]}", known))
    if unknown:
        return str(unknown_name("field", unknown[1], known))
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text).replace("typing.", "")
    return re.sub(r'^Parser key "([\w.]+)":', r"field \1:", text)


def _check(config: Config) -> None:
    positive = {
        "network.time_steps": config.network.time_steps,
        "trainer.epochs": config.trainer.epochs,
        "trainer.batch_size": config.trainer.batch_size,
        "trainer.eval_batch_size": config.trainer.eval_batch_size,
        "trainer.pipeline": config.trainer.pipeline,
        "data.image_size": config.data.image_size,
        "data.bin_ms": config.data.bin_ms,
    }
    not_negative = {
        "seed": config.seed,
        "data.augment_border": config.data.augment_border,
        "trainer.limit_train": config.trainer.limit_train,
        "trainer.limit_test": config.trainer.limit_test,
        "trainer.threads": config.trainer.threads,
        "optimizer.lr": config.optimizer.lr,
        "optimizer.clip_norm": config.optimizer.clip_norm,
        "optimizer.weight_clamp": config.optimizer.weight_clamp,
        "optimizer.warmup_steps": config.optimizer.warmup_steps,
    }
    for name, value in positive.items():
        if not value > 0:
            raise UserError(f"field {name}: expected a number above 0, got {value}")
    for name, value in not_negative.items():
        if not value >= 0:
            raise UserError(f"field {name}: expected 0 or more, got {value}")
    dropout = config.network.dropout
    if not all(0 <= p < 1 for p in (dropout if isinstance(dropout, list) else [dropout])):
        raise UserError(f"field network.dropout: expected a probability in [0, 1), or a list of them, got {dropout}")
