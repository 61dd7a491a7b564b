"""Prints a hash of the outputs of every call, so that runs in different processes can be compared bit for bit.

python -m op_tests.fingerprints
"""

import hashlib
import json

import torch

import spikeops
from op_tests.neurons import DTYPES
from op_tests.op_calls import CALLS, Inputs, prepare

# Enough work for three threads, and neither a whole number of vectors nor of tiles.
SIZE = dict(T=17, shape=(2, 2049))


def fingerprints():
    found = {}
    for name in CALLS:
        for dtype in DTYPES:
            digest = hashlib.sha256()
            for output in prepare(name, Inputs(dtype=dtype, **SIZE))():
                digest.update(output.contiguous().view(torch.uint8).numpy().tobytes())
            found[f"{name} {dtype}"] = digest.hexdigest()
    return found


if __name__ == "__main__":
    print(json.dumps({"isa": spikeops.backends()["cpu"].get("isa"), "fingerprints": fingerprints()}))
