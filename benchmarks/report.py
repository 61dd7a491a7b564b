"""Report and plots of tables of measurements again: ``python benchmarks/report.py benchmarks/results/<file>.csv ...``.

Tables of `peers.py`, whose names end with ``-peers.csv``, become a report without plots; ``--readme`` also puts the last of them, in
short, into README.
"""

from __future__ import annotations

import sys
from pathlib import Path

from reports import peer_report, peer_summary, report

README = Path(__file__).resolve().parents[1] / "README.md"


def main(arguments: list[str]) -> None:
    tables = [Path(argument) for argument in arguments if argument != "--readme"]
    if not tables:
        sys.exit("usage: python benchmarks/report.py TABLE.csv ... [--readme]")
    peers = [table for table in tables if table.stem.endswith("-peers")]
    if "--readme" in arguments and not peers:
        sys.exit("report: --readme takes a table of peers.py, whose name ends with -peers.csv")
    for table in tables:
        for written in (peer_report if table in peers else report).write(table):
            print(written)
    if "--readme" in arguments:
        peer_summary.update_readme(README, peers[-1])
        print(README)


if __name__ == "__main__":
    main(sys.argv[1:])
