"""Train on disks that are full or read-only: one clear line, nothing lost, and where there is room again the same end, bit for bit.

python tests/drills/full_disks.py [--count 60] [--seed 0]

Small disks are file systems in memory, which root may mount, and any user in a namespace of its own (unshare -rm, tried by itself). Where
neither works, only the size of files is limited. Prints each fault and a summary; the exit status is 1 where there is any.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from run_drills import disks  # noqa: E402

NAMESPACE = ["unshare", "--map-root-user", "--mount"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="runs")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    refused = faults = 0
    with tempfile.TemporaryDirectory() as folder:
        mounts = disks.can_mount(Path(folder))
        if not mounts and not os.environ.get("SPIKEOPS_DRILL_NAMESPACE") and _has_namespaces():
            os.environ["SPIKEOPS_DRILL_NAMESPACE"] = "tried"
            return subprocess.run([*NAMESPACE, sys.executable, *sys.argv], check=False).returncode
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        os.chdir(folder)
        for what, status, fault in disks.drill(arguments.count, arguments.seed, Path(folder), mounts):
            refused += status != 0
            if fault:
                faults += 1
                print(f"{what}: {fault}", flush=True)
        os.chdir("/")
    disk = "disks that are full or read-only" if mounts else "files that may not grow (no right to mount small disks)"
    print(f"{arguments.count} runs on {disk}, seed {arguments.seed}: {refused} ended in one line, {faults} faults")
    return int(faults > 0)


def _has_namespaces():
    return shutil.which("unshare") and subprocess.run([*NAMESPACE, "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
