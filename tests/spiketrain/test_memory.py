import subprocess
import sys

import pytest

COUNT_PAGE_FAULTS = """
import resource
import torch
from spiketrain.memory import keep_freed_memory

if not keep_freed_memory():
    print("unsupported")
    raise SystemExit
x = torch.zeros(16_000_000)

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x.clone()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(min(page_faults() for _ in range(10)))
"""


def test_freed_memory_is_used_again():
    # A process of its own: the setting cannot be taken back.
    run = subprocess.run([sys.executable, "-c", COUNT_PAGE_FAULTS], capture_output=True, text=True, check=True)
    if run.stdout.strip() == "unsupported":
        pytest.skip("the C library is not glibc")
    # 64 MB are 15,625 pages of 4 kB.
    assert int(run.stdout) < 100, f"a tensor of 64 MB met {run.stdout.strip()} new pages on its best of ten allocations"
