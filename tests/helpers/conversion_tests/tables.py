"""The tables of docs/neurons: what a cell says, as objects."""

import ast
import inspect
from pathlib import Path

import torch

import spikeops
import spikeops.functional as SF

DOCS = Path(__file__).resolve().parents[3] / "docs" / "neurons"


def rows(library, heading):
    """The cells of the table below a heading of a library's page, without its first two lines."""
    text = (DOCS / f"{library}.md").read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def read(cell, names):
    """What a cell in code quotes says: calls and names of `names` alone, with plain numbers."""
    return _read(ast.parse(cell.strip("`"), mode="eval").body, names)


def _read(node, names):
    if isinstance(node, ast.Call):
        function = names[ast.unparse(node.func)]
        return function(*(_read(a, names) for a in node.args), **{k.arg: _read(k.value, names) for k in node.keywords})
    if isinstance(node, (ast.Name, ast.Attribute)):
        return names[ast.unparse(node)]
    return ast.literal_eval(node)


def options_of(op):
    """A function of our op's options: (op, all of them, the defaults filled in)."""
    defaults = {name: p.default for name, p in inspect.signature(getattr(SF, op)).parameters.items() if p.default is not p.empty}
    return lambda **options: (op, defaults | options)


OURS = {op: options_of(op) for op in ("lif", "cuba_lif", "recurrent_lif")}
OURS |= {name: getattr(spikeops.surrogate, name) for name in spikeops.surrogate.__all__}


def plain(options):
    """Options with tensors of one value as numbers."""
    return {name: value.item() if isinstance(value, torch.Tensor) else value for name, value in options.items()}


def signature(kind):
    """A class with its arguments and their defaults, as the tables have them."""
    arguments = [p for p in inspect.signature(kind.__init__).parameters.values() if p.name != "self"]
    return f"{kind.__name__}({', '.join(map(_argument, arguments))})"


def _argument(parameter):
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{parameter.name}"
    if parameter.default is parameter.empty:
        return parameter.name
    default = parameter.default
    if inspect.isfunction(default) or inspect.isclass(default):
        return f"{parameter.name}={default.__name__}"
    shown = ", ".join(f"{n}={getattr(v, '__name__', v)}" for n, v in default._asdict().items()) if hasattr(default, "_asdict") else None
    return f"{parameter.name}={default!r}" if shown is None else f"{parameter.name}={type(default).__name__}({shown})"
