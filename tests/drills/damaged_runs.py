"""Damage configurations and checkpoints in many ways: each ends in one clear line and exit status 2, or in a sound run.

python tests/drills/damaged_runs.py [--count 200] [--seed 0]

`--count` is for each of both. Prints each fault and a summary; the exit status is 1 where there is any.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from run_drills import checkpoints, configurations  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="configurations, and as many checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for kind, drill in (("configurations", configurations.drill), ("checkpoints", checkpoints.drill)):
            refused = 0
            for what, outcome in drill(arguments.count, arguments.seed, Path(folder)):
                refused += outcome.status == 2 and "data set not found" not in outcome.line
                if outcome.fault:
                    faults += 1
                    print(f"{kind} {what}: {outcome.fault}", flush=True)
            print(f"{arguments.count} damaged {kind}, seed {arguments.seed}: {refused} refused; {faults} faults so far", flush=True)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
