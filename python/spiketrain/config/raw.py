"""A configuration before it is checked: nested dictionaries of text, as they stand in a YAML file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from spiketrain.errors import UserError, shortened

LARGEST_FILE = 64 * 1024  # bytes; a configuration has some hundreds
DEEPEST = 20  # sections within sections
MOST_NODES = 4000  # fields and items, counted as often as an alias repeats them
_STANDARD = "tag:yaml.org,2002:"
_SCALARS = {f"{_STANDARD}{name}" for name in ("str", "int", "float", "bool", "timestamp", "value", "merge")}
_CONTAINERS = {f"{_STANDARD}map", f"{_STANDARD}seq"}


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file that holds a mapping, read without running or importing anything that it names.

    Scalars come as the text that stands there, since only their fields know what they mean: ``10``, ``off`` and ``1e-3`` are
    other things to a field of text than to one of numbers. What is empty, ``~`` or ``null`` is None.

    Raises:
        UserError: it cannot be read, is no YAML, gives a name twice, is far too large or too deep.
    """
    try:
        path = Path(path).expanduser()
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UserError(f"it is larger than {LARGEST_FILE // 1024} KiB")
        content = parse_text(content.decode("utf-8-sig"))
    except (OSError, ValueError, RuntimeError, UserError) as error:
        raise UserError(shortened(f"cannot read the configuration {shortened(path, 100)}: {error}")) from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"the configuration {shortened(path, 200)} holds no fields: expected lines such as 'seed: 1'")
    return content


def parse_text(text: str) -> Any:
    """The mapping, list or scalar that YAML text holds, its scalars as text.

    Raises:
        UserError: as `read_yaml`.
    """
    try:
        node = yaml.compose(text, Loader=_Composer)
        _count(node, {})
        return _plain(node)
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{error.problem or error.context}{where}") from None
    except yaml.YAMLError as error:
        raise UserError(str(error)) from None


class _Composer(yaml.SafeLoader):
    """Stops reading as soon as there is too much: what is deep or long takes YAML's reader seconds."""

    depth = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        self.depth, self.nodes = self.depth + 1, self.nodes + 1
        _refuse_excess(self.nodes, self.depth)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _refuse_excess(nodes: int, depth: int) -> None:
    if depth > DEEPEST:
        raise UserError(f"it is nested deeper than {DEEPEST} levels")
    if nodes > MOST_NODES:
        raise UserError(f"it holds more than {MOST_NODES} values, aliases counted as often as they repeat them")


def _count(node: yaml.Node | None, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """(nodes, depth) of what a node stands for. An alias is the node that it repeats, so each node is looked at once."""
    if id(node) in known:
        nodes, depth = known[id(node)]
        if not nodes:
            raise UserError(f"an alias repeats what it stands in, line {node.start_mark.line + 1}")
        return nodes, depth
    known[id(node)] = (0, 0)  # until it is done
    parts = []
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        parts = node.value
    counts = [_count(part, known) for part in parts]
    nodes, depth = 1 + sum(nodes for nodes, _ in counts), 1 + max((depth for _, depth in counts), default=0)
    _refuse_excess(nodes, depth)
    known[id(node)] = (nodes, depth)
    return nodes, depth


def _plain(node: yaml.Node | None) -> Any:
    if node is None or node.tag == f"{_STANDARD}null":
        return None
    line = node.start_mark.line + 1
    if node.tag not in _SCALARS | _CONTAINERS:
        raise UserError(f"line {line}: tags such as {shortened(node.tag, 60)} are not read")
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    mapping, lines = {}, {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"line {line}: expected the name of a field")
        name = key.value
        if name in lines:
            raise UserError(f"'{shortened(name, 60)}' is given twice, in line {lines[name]} and in line {line}")
        mapping[name], lines[name] = _plain(value), line
    return mapping


def merge(base: dict, update: dict) -> dict:
    """`base` with the fields of `update` put over it, section by section."""
    merged = dict(base)
    for key, value in update.items():
        merged[key] = merge(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
    return merged


# What a network is spelled out by, which a network by its name takes the place of.
NOTATION = (
    "layers", "feedback", "padding", "conv_weight_scale", "linear_weight_scale", "recurrent_weight_scale", "bias", "dropout", "dropout_kind",
)  # fmt: skip


def without_other_network(raw: dict[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """`raw` without its network, where these fields of the section `network` put another in its place: one by its name (`model`) for one that is
    spelled out (`layers`), or the other way round."""
    section = raw.get("network") if isinstance(raw, dict) else None
    given = set(given)
    replaced = NOTATION if "model" in given else ("model",) if "layers" in given else ()
    if not isinstance(section, dict) or not replaced:
        return raw
    return {**raw, "network": {name: value for name, value in section.items() if name not in replaced}}


def split_options(words: list[str]) -> list[tuple[str, str]]:
    """(name, text) of each of the options ``--section.field value`` or ``--section.field=value``.

    Raises:
        UserError: a word that is no option, or an option without its value.
    """
    pairs, rest = [], iter(words)
    for word in rest:
        if not word.startswith("--") or word == "--":
            raise UserError(f"unexpected argument '{shortened(word, 60)}'; fields are set by --section.field VALUE")
        name, has_value, value = word[2:].partition("=")
        if not has_value:
            value = next(rest, None)
        if value is None:
            raise UserError(f"option --{shortened(name, 60)}: expected a value after it")
        pairs.append((name, value))
    return pairs


def method_name(raw: dict, overrides: list[str] = ()) -> str:
    """The training method that a raw configuration and its command line options name."""
    given = [value for name, value in split_options(list(overrides)) if name == "method.name"]
    section = raw.get("method") if isinstance(raw, dict) else None
    name = given[-1] if given else section.get("name") if isinstance(section, dict) else None
    if not isinstance(name, str):
        raise UserError("the configuration names no training method: expected a section 'method' with a field 'name'")
    return name
