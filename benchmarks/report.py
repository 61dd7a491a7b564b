"""Report and plots of tables of measurements again: ``python benchmarks/report.py benchmarks/results/<file>.csv ...``.

Tables of `peers.py`, whose names end with ``-peers.csv``, become a report without plots.
"""

from __future__ import annotations

import sys
from pathlib import Path

from reports import peer_report, report

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python benchmarks/report.py TABLE.csv ...")
    for table in map(Path, sys.argv[1:]):
        kind = peer_report if table.stem.endswith("-peers") else report
        for written in kind.write(table):
            print(written)
