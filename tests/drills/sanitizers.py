"""Random calls of every op in a CPU library that is built with AddressSanitizer and UBSan, with each of its instruction sets.

python tests/drills/sanitizers.py [--count 300] [--seed 0]

`--count` is for each function and instruction set. Builds the library in build/sanitized first, which takes minutes; needs g++, cmake and
ninja. The exit status is 1 where a sanitizer reports something, or a result is not that of the definition.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build" / "sanitized"
sys.path.insert(0, str(REPOSITORY / "tests" / "helpers"))

from host_cuda.sanitized import runtime_libraries  # noqa: E402

# What the sanitizer must see, or it is not at work: a byte behind a tensor.
CONTROL = "import ctypes, torch; ctypes.memset(torch.empty(10).data_ptr() + 40, 0, 1)"
WHICH = "import spikeops; print(spikeops.__file__, spikeops.backends()['cpu']['isa'])"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="draws")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    library = build()
    if not all(call in library.read_bytes() for call in (b"__asan_load", b"__ubsan_handle")):
        raise SystemExit(f"{library} was built without sanitizers")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        put_together(Path(folder), library)
        control = python(folder, "-c", CONTROL, capture_output=True)
        if control.returncode == 0 or "heap-buffer-overflow" not in control.stderr:
            raise SystemExit("AddressSanitizer does not see a byte behind a tensor")
        sets = []
        for asked in ("v2", "v3", "v4"):
            place, isa = python(folder, "-c", WHICH, isa=asked, capture_output=True, check=True).stdout.split()
            assert Path(place).is_relative_to(folder), f"{place} is another spikeops"
            if isa in sets:
                continue  # this processor has no more
            sets.append(isa)
            print(f"instructions {isa}", flush=True)
            drill = Path(__file__).with_name("random_ops.py")
            done = python(folder, drill, "--count", str(arguments.count), "--seed", str(arguments.seed), isa=asked)
            failed += [isa] if done.returncode else []
    print(f"sanitizers over the CPU library, instructions {', '.join(sets)}: {'failed: ' + ', '.join(failed) if failed else 'clean'}")
    return int(bool(failed))


def build():
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cmake, ninja = (shutil.which(name, path=tools) for name in ("cmake", "ninja"))
    include = Path(importlib.util.find_spec("torch").origin).parent / "include"
    options = {"SPIKEOPS_TORCH_INCLUDE": include, "SPIKEOPS_CUDA": "off", "SPIKEOPS_SANITIZE": "ON", "CMAKE_MAKE_PROGRAM": ninja}
    words = [f"-D{name}={value}" for name, value in options.items()]
    subprocess.run([cmake, "-S", REPOSITORY, "-B", BUILD, "-G", "Ninja", *words], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([cmake, "--build", BUILD], check=True)
    return next(path for path in BUILD.glob("libspikeops_cpu.*") if path.suffix in (".so", ".dylib"))


def put_together(folder, library):
    """The installed package with this library in the place of its own."""
    installed = Path(importlib.util.find_spec("spikeops").origin).parent
    shutil.copytree(installed, folder / "spikeops", ignore=shutil.ignore_patterns("lib", "__pycache__"))
    (folder / "spikeops" / "lib").mkdir()
    shutil.copy(library, folder / "spikeops" / "lib" / library.name)


def python(folder, *words, isa="v4", **how):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]),
        "SPIKEOPS_CPU_ISA": isa,
        "LD_PRELOAD": " ".join(runtime_libraries()),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaks
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run([sys.executable, *map(str, words)], env=environment, cwd=folder, text=True, **how)


if __name__ == "__main__":
    sys.exit(main())
