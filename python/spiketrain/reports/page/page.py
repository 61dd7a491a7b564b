"""The whole page."""

from __future__ import annotations

from collections.abc import Sequence

from spiketrain.reports.page import sections
from spiketrain.reports.page.facts import RunFacts
from spiketrain.reports.page.markup import text

# Nothing is fetched from anywhere, and nothing runs: the browser is told so, too.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root{--ink:#22303c;--soft:#5b6b79;--line:#dfe4e8;--wash:#f5f7f9}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1120px;padding:1.2rem 1rem 3rem;color:var(--ink);background:#fff;
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0 .6rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:.2rem 0 .5rem}
p{margin:.5rem 0}
ul.headline,ul.legend{list-style:none;margin:.4rem 0;padding:0}
ul.headline li{margin:.25rem 0;overflow-wrap:anywhere}
ul.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}
.run{font-weight:600;overflow-wrap:anywhere}
.run::before{content:"";display:inline-block;width:1.3em;margin-right:.4em;vertical-align:.28em;border-top:3px var(--s) var(--c)}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(330px,100%),1fr));gap:1rem 1.6rem;align-items:start}
.grid>*{min-width:0;max-width:680px}
.grid.tables{grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr))}
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);font-size:.85rem;padding-bottom:.2rem}
th,td{padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{color:var(--soft);font-weight:600;border-bottom:2px solid var(--line)}
thead th .run{color:var(--ink)}
tbody th{font-weight:400;color:var(--soft);position:sticky;left:0;background:#fff}
table.sides tbody th{min-width:8.5rem}
table.sides td{overflow-wrap:anywhere;min-width:5.5rem}
table.rates,table.operations{width:100%}
table.rates td,table.operations td{white-space:nowrap}
table.operations td,table.operations thead th:not(:first-child){text-align:right}
table.operations tbody tr:last-child>*{border-top:2px solid var(--line);font-weight:600}
table.sessions td,table.sessions th{font-size:.85rem}
table.fields tbody th,table.fields td{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.82rem;overflow-wrap:anywhere;min-width:5rem}
table.fields tbody th{white-space:nowrap}
mark{background:#fdf0d5;color:inherit;padding:0 .25em;border-radius:3px}
.bar{display:block;min-width:9rem;padding:0 .4em;border-radius:3px;
background:linear-gradient(to right,color-mix(in srgb,var(--c) 30%,#fff) var(--w),var(--wash) var(--w))}
figure{margin:.4rem 0}
figcaption{font-weight:600}
figcaption small{display:block;font-weight:400;color:var(--soft)}
figure svg{display:block;width:100%;height:auto}
figure svg text{font-family:inherit!important}
.remark{color:var(--soft);font-size:.88rem;max-width:75ch}
details{margin:.5rem 0}
summary{cursor:pointer;color:var(--soft);overflow-wrap:anywhere}
pre{background:var(--wash);padding:.8rem;overflow-x:auto;font-size:.8rem;line-height:1.4}
@media print{body{max-width:none;padding:0;font-size:10.5pt}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
.scroll{overflow:visible}tbody th{position:static}h2{break-after:avoid}figure,tr{break-inside:avoid}details:not([open]){display:none}pre{white-space:pre-wrap}}
@page{margin:15mm}
"""


def page(runs: Sequence[RunFacts], made: str, ignored: Sequence[str]) -> str:
    """HTML that shows runs side by side and needs nothing else.

    Args:
        runs: at least one, each with at least one complete epoch, judged by the same figure
        made: when
        ignored: fields that are no part of an experiment
    """
    presets = list(dict.fromkeys(facts.config.preset for facts in runs))
    title = f"{runs[0].config.preset}: {runs[0].name}" if len(runs) == 1 else f"{len(runs)} runs of {', '.join(presets[:3])}{', ...' * (len(presets) > 3)}"
    about = list(dict.fromkeys(facts.config.about for facts in runs if facts.config.about))
    parts = [f"<h1>{text(title)}</h1>", *(f"<p>{text(line)}</p>" for line in about[:3]), sections.headline(runs)]
    for name, content in (
        ("Summary", sections.summary(runs)),
        ("Learning curves", sections.curves(runs)),
        ("Configuration", sections.configuration(runs, ignored)),
        ("Firing rates, operations, energy", sections.activities(runs)),
        ("Confusion matrix" if len(runs) == 1 else "Confusion matrices", sections.confusions(runs)),
        ("Environment", sections.environment(runs, made)),
    ):
        if content:
            parts.append(f"<h2>{name}</h2>{content}")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head>\n<body><main>{''.join(parts)}</main></body></html>\n"
    )
