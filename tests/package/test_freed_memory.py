"""spikeops.keep_freed_memory, each time in a process of its own: the setting cannot be taken back."""

import os
import shutil
import subprocess
import sys

import pytest

COUNT_PAGE_FAULTS = """
import resource
import torch
import spikeops

if {kept} and not spikeops.keep_freed_memory():
    print("unsupported")
    raise SystemExit
x = torch.zeros(16_000_000)

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x.clone()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(min(page_faults() for _ in range(10)))
"""

# Another allocator as far as anybody can see.
OTHER_MALLOC = """
#include <stddef.h>
extern void* __libc_malloc(size_t);
void* malloc(size_t size) { return __libc_malloc(size); }
int mallopt(int setting, int value) { return 1; }
"""


def _run(program, **environment):
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, env=os.environ | environment)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_freed_memory_is_used_again():
    found = _run(COUNT_PAGE_FAULTS.format(kept=True))
    if found == "unsupported":
        pytest.skip("the C library is not glibc")
    # 64 MB are 15,625 pages of 4 kB.
    assert int(found) < 100, f"a tensor of 64 MB met {found} new pages on its best of ten allocations"


def test_nothing_is_set_before_it_is_asked_for():
    if _run(COUNT_PAGE_FAULTS.format(kept=True)) == "unsupported":
        pytest.skip("the C library is not glibc")
    found = _run(COUNT_PAGE_FAULTS.format(kept=False))
    # Pages may be huge ones, of 2 MB.
    assert int(found) >= 30, f"a tensor of 64 MB met {found} new pages: importing spikeops changed how memory is given back"


def test_another_allocator_is_told(tmp_path):
    """One whose mallopt says that all is well, as that of tcmalloc does, whatever it is asked for."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler on Linux")
    source, library = tmp_path / "malloc.c", tmp_path / "malloc.so"
    source.write_text(OTHER_MALLOC)
    built = subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], capture_output=True, text=True)
    if built.returncode != 0:
        pytest.skip("the C library is not glibc")
    assert _run("import spikeops; print(spikeops.keep_freed_memory())", LD_PRELOAD=str(library)) == "False"
