"""Prints a hash of the outputs of every call, so that runs in different processes can be compared bit for bit.

python -m op_tests.fingerprints
"""

import hashlib
import json

import torch

import spikeops
from op_tests.neurons import DTYPES
from op_tests.op_calls import CALLS, Inputs, prepare, run_on_copies
from op_tests.special_numbers import special_call

# Enough work for three threads, and neither a whole number of vectors nor of tiles.
SIZE = dict(T=17, shape=(2, 2049))
# Of layers, whose weights are the square of their neurons. A thread takes two of so many layers together, and one is left over.
LAYERS = dict(T=17, shape=(17, 131))


def fingerprints():
    found = {}
    for name in CALLS:
        size = LAYERS if name.startswith("recurrent") else SIZE
        for dtype in DTYPES:
            found[f"{name} {dtype}"] = digest(prepare(name, Inputs(dtype=dtype, **size))())
            op, arguments = special_call(name, Inputs(dtype=dtype, **size), share=0.01)
            found[f"{name} {dtype}, special numbers"] = digest(run_on_copies(getattr(torch.ops.spikeops, op), arguments))
    return found


def digest(outputs):
    """All NaN are one: their bits may depend on the order of the operands of a sum."""
    found = hashlib.sha256()
    for output in outputs:
        output = output.masked_fill(output.isnan(), torch.nan) if output.is_floating_point() else output
        found.update(output.contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    print(json.dumps({"isa": spikeops.backends()["cpu"].get("isa"), "fingerprints": fingerprints()}))
