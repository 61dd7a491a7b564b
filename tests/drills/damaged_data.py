"""Damage small data sets of every format in many ways; each has to be refused with one clear line, or read right.

python tests/drills/damaged_data.py [--count 200] [--seed 0]

Prints what was refused and read, and each fault; the exit status is 1 where there is any. Formats without a checksum (IDX, pickles, events,
bitmaps) cannot tell a changed pixel from another picture: there, what is read has to be in order, not the same.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from data_files import damage  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="data sets to damage")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    refused = faults = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        os.chdir(folder)
        for outcome, root, form in damage.drill(arguments.count, arguments.seed, folder):
            fault = outcome.fault
            if outcome.error is not None:
                refused += 1
                status, lines = damage.status_and_lines(form, root)
                if status != 2 or len(lines) != 1 or os.path.exists("runs"):
                    fault = f"exit status {status}, {len(lines)} lines: {lines}"
            if fault:
                faults += 1
                print(f"{outcome.case}: {fault}")
    print(
        f"{arguments.count} damaged data sets, seed {arguments.seed}: {refused} refused, {arguments.count - refused} read, {faults} faults"
    )
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
