"""Kill runs at random moments (kill -9), resume them until they end, and compare their ends bit for bit.

python tests/drills/killed_runs.py [--count 100] [--seed 0]

Prints each run and a summary; the exit status is 1 where an end differs, or a run cannot be resumed.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from run_drills import kills  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="kills")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    runs = killed = faults = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for what, times, fault in kills.drill(arguments.count, arguments.seed, Path(folder)):
            runs, killed, faults = runs + 1, killed + times, faults + (fault is not None)
            print(f"{what}: {fault or 'equal bit for bit'}", flush=True)
    print(f"{killed} kills in {runs} runs, seed {arguments.seed}: {runs - faults} ends equal bit for bit, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
