"""The installed libraries load on an old system: its own loader binds every symbol, of theirs and of torch's, with its own C and C++ libraries."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from old_system import GLIBC, old_system

import spikeops
from spikeops import _library

CACHE = Path(__file__).resolve().parents[2] / "build"
LIBRARIES = [Path(spikeops.__file__).parent / "lib" / f"libspikeops_{name}.so" for name in ("cpu", "cuda")]
LOADED = [path for path, is_there in zip(LIBRARIES, (True, _library._cuda_library is not None)) if is_there]  # with this torch
TORCH = Path(torch.__file__).parent / "lib"
OF_THE_SYSTEM = re.compile(r"(libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+)\.so\.\d+$")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux")


@pytest.fixture(scope="module")
def system():
    return old_system(CACHE)


@pytest.mark.parametrize("library", LOADED, ids=lambda path: path.name)
def test_a_library_loads_with_all_symbols_bound(system, library):
    loaded = system.load(library, beside=TORCH)
    # The loader goes on without a library that is not there, and says so.
    assert (loaded.returncode, loaded.stdout, loaded.stderr) == (0, f"glibc {GLIBC}\n", "")


@pytest.mark.parametrize("library", LOADED, ids=lambda path: path.name)
def test_nothing_of_this_system_helps(system, library):
    found = {name: path for name, path in system.needed(library, beside=TORCH).items() if OF_THE_SYSTEM.match(name)}
    assert found.keys() >= {"libc.so.6", "libstdc++.so.6", "libgcc_s.so.1"}
    assert {path.parent for path in found.values()} <= set(system.folders)


@pytest.fixture
def built(tmp_path):
    """``built(code)``: a library from C++, by this machine's compiler as it is."""

    def build(code):
        if not shutil.which("g++"):
            pytest.skip("needs a compiler")
        (tmp_path / "newer.cpp").write_text(code)
        library = tmp_path / "libnewer.so"
        subprocess.run(["g++", "-shared", "-fPIC", "-o", library, tmp_path / "newer.cpp"], check=True)
        return library

    return build


def test_a_newer_c_library_is_missed(system, built):
    """glibc 2.34 gave the functions of threads another version: what csrc/cmake/OldRuntimes.cmake is for."""
    library = built("#include <pthread.h>\nint started(pthread_t* thread, void* (*work)(void*)) { return pthread_create(thread, 0, work, 0); }")
    if b"GLIBC_2.34" not in library.read_bytes():
        pytest.skip("this machine's C library is an old one")
    loaded = system.load(library, beside=TORCH)
    assert loaded.returncode != 0 and "version `GLIBC_2.34' not found" in loaded.stderr


def test_a_missing_function_is_missed(system, built):
    """One without a version, which the version table does not tell of; it is called nowhere."""
    library = built('extern "C" void of_no_system();\nvoid calls() { of_no_system(); }')
    loaded = system.load(library, beside=TORCH)
    assert loaded.returncode != 0 and "undefined symbol: of_no_system" in loaded.stderr
