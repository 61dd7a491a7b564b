"""Make random calls of every op and compare each with its definition: spikes bit for bit, gradients up to rounding.

python tests/drills/random_ops.py [--count 1000] [--seed 0] [--only FUNCTION [NUMBER]]

`--count` is for each function of spikeops.functional; `--only` looks at one of them, or at one of its draws. Prints each fault and a
summary; the exit status is 1 where there is any. TRITON_INTERPRET and SPIKEOPS_CPU_ISA are as everywhere.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import torch  # noqa: E402
from op_tests import random_draws  # noqa: E402

if os.environ.get("TRITON_INTERPRET") == "1":
    from op_tests.interpreter import patch_once_a_launch

    patch_once_a_launch()

MOST_SHOWN = 10  # faults of a function


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="draws of each function")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], metavar="FUNCTION [NUMBER]")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # what is drawn is small
    if len(arguments.only) == 2:
        fault = random_draws.draw(arguments.only[0], int(arguments.only[1]), arguments.seed)
        print(fault or "equal")
        return int(fault is not None)
    names = arguments.only or random_draws.functions()
    faults = 0
    for name in names:
        started, found = time.monotonic(), 0
        for fault in random_draws.faults(name, arguments.count, arguments.seed):
            found += 1
            if found <= MOST_SHOWN:
                print(fault, flush=True)
        faults += found
        print(f"{name}: {arguments.count} draws, {found} faults, {time.monotonic() - started:.0f} s", flush=True)
    print(f"{arguments.count} draws of each of {len(names)} functions, seed {arguments.seed}: {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
