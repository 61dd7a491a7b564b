"""What ``--help`` says of the fields of a configuration."""

from __future__ import annotations

import textwrap
from typing import Any

from spiketrain.config.parser import schema
from spiketrain.config.values import describe


def fields_help(options: type | None) -> str:
    """A paragraph for each section: each field with what it means, what it may be, and its default."""
    lines: list[str] = []
    section = None
    for field in sorted(schema(options).values(), key=lambda field: "." in field.name):  # a stable sort: those of no section first
        if (now := field.name.rpartition(".")[0]) != section:
            section = now
            lines += ["", f"{section}:" if section else "the run:"]
        lines.append(f"  --{field.name}")
        about = f"{field.text} ({describe(field.kind)}; default {_written(field.default)})".strip()
        lines += textwrap.wrap(about, 110, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines)


def _written(value: Any) -> str:
    """A default as a file or the command line would give it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value) if value != "" else "empty"
