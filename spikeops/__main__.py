"""``python -m spikeops``: what can be used on this machine, and whether it computes what it should."""

from __future__ import annotations

import argparse
import sys

import torch

import spikeops
from spikeops import checkup


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m spikeops", description="What of spikeops can be used on this machine, and a self-test of it. Exit status 1 if it fails."
    )
    parser.add_argument("--version", action="version", version=f"spikeops {spikeops.__version__}")
    parser.parse_args()
    print(f"spikeops {spikeops.__version__}, torch {torch.__version__}, Python {sys.version.split()[0]}\n")
    for name, found in spikeops.backends().items():
        details = {key: value for key, value in found.items() if key not in ("available", "reason", "version", "devices", "reasons") and value}
        print(f"{name:8}" + ("yes" if found["available"] else f"no: {found['reason']}"))
        for key, value in details.items():
            print(f"{'':10}{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
        for device, reason in zip(found.get("devices", ()), found.get("reasons", ())):
            print(f"{'':10}{device}: {reason or 'yes'}")
    print()
    findings = checkup.check()
    for name, device in checkup.usable():
        of_it = [finding for finding in findings if (finding.backend, finding.device) == (name, device)]
        wrong = [finding for finding in of_it if finding.fault]
        print(f"self-test, {name} on {device}: {len(of_it) - len(wrong)} of {len(of_it)} ops as defined")
        for finding in wrong:
            print(f"  {finding.op}: {finding.fault}")
    return 1 if any(finding.fault for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
