"""Pieces of HTML. Whatever comes from a run goes through `text`, which leaves it no markup."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable, Sequence

from spiketrain.errors import printable


def text(value: object) -> str:
    """Anything as text: escaped, without control characters."""
    return html.escape(printable(str(value)))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, kind: str = "", caption: str = "") -> str:
    """A table whose first column names its rows, in a box of its own that can be scrolled. Cells are text, or `Markup` as it is."""
    head = "".join(f'<th scope="col">{_cell(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{_cell(first)}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in others)}</tr>' for first, *others in rows
    )
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table class="{kind}">{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


class Markup(str):
    """HTML that is put in as it is."""


def _cell(value: object) -> str:
    return value if isinstance(value, Markup) else text(value)


def bar(share: float, shown: str, colour: str) -> Markup:
    """A number over a bar as long as a share of the cell, from 0 to 1."""
    width = 100 * min(max(share, 0.0), 1.0)
    return Markup(f'<span class="bar" style="--w:{width:.2f}%;--c:{text(colour)}">{text(shown)}</span>')


def figure(drawing, title: str, note: str = "") -> str:
    """A drawing of matplotlib as inline SVG.

    Args:
        title: what it shows, for those who cannot see it, too
    """
    import matplotlib

    file = io.StringIO()
    # Text stays text, which is small, sharp and can be searched; names of its parts follow from the title, unlike those of the other drawings.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        drawing.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = re.sub(r"^.*?(?=<svg)", "", file.getvalue(), flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Its size in points would keep it from becoming as wide as its place.
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{text(title)}"', 1)
    svg = _with_own_names(svg, re.sub(r"[^a-z0-9]+", "-", title.lower()))
    caption = f"<figcaption>{text(title)}{f'<small>{text(note)}</small>' if note else ''}</figcaption>"
    return f"<figure>{caption}{svg}</figure>"


def _with_own_names(svg: str, prefix: str) -> str:
    """Names within a drawing, such as "axes_1", are unlike those of other drawings on the page."""
    names = set(re.findall(r'\bid="([^"]+)"', svg))
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)

    def renamed(match: re.Match) -> str:
        return f"{match[1]}#{prefix}-{match[2]}" if match[2] in names else match[0]

    return re.sub(r'(url\(|href=")#([^")]+)', renamed, svg)
