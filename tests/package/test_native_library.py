"""The native libraries in the installed package: what they need from the machine and from torch."""

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import spikeops
from spikeops import _library

LIBRARIES = sorted((Path(spikeops.__file__).parent / "lib").glob("*.so"))

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads ELF files"),
    pytest.mark.skipif(not shutil.which("readelf"), reason="needs readelf (binutils)"),
]

# torch's stable C functions (promised for two years), and the C and C++ runtimes. No at::, c10::, Python or CUDA runtime symbol.
STABLE = re.compile(r"(aoti_torch_|torch_)\w+$")
RUNTIMES = ("GLIBC", "GLIBCXX", "CXXABI", "GCC")
WEAK_MARKERS = {"__gmon_start__", "__cxa_finalize", "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable"}
SYSTEM = {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1",
          "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libgomp.so.1"}  # fmt: skip
# Read through ctypes by spikeops/_library.py.
EXPORTED = {
    "libspikeops_cpu.so": {"spikeops_cpu_build_info", "spikeops_cpu_share_all_work"},
    "libspikeops_cuda.so": {"spikeops_cuda_build_info", "spikeops_cuda_versions"},
}
TORCH = {"libspikeops_cpu.so": {"libtorch_cpu.so"}, "libspikeops_cuda.so": {"libtorch_cpu.so", "libtorch_cuda.so"}}


def readelf(*arguments):
    return subprocess.run(["readelf", "--wide", *arguments], check=True, capture_output=True, text=True).stdout


def dynamic_symbols(library):
    """(name, version, type, section, visibility) of each dynamic symbol."""
    for line in readelf("--dyn-syms", str(library)).splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[0].rstrip(":").isdigit():
            name, _, version = fields[7].partition("@")
            yield name, version.lstrip("@"), fields[3], fields[6], fields[5]


@pytest.fixture(params=LIBRARIES, ids=lambda path: path.name)
def library(request):
    return request.param


def test_the_cpu_library_is_there():
    assert "libspikeops_cpu.so" in [library.name for library in LIBRARIES]


def test_no_path_of_the_build_machine_in_texts(library):
    """Error messages would show it."""
    contents = library.read_bytes()
    for path in (f"{Path(__file__).resolve().parents[2]}/csrc", "/torch/include/"):
        assert path.encode() not in contents, path


def test_undefined_symbols_are_stable(library):
    undefined = [(name, version) for name, version, _, section, _ in dynamic_symbols(library) if section == "UND"]
    assert any(STABLE.match(name) for name, _ in undefined)
    unexpected = [
        name
        for name, version in undefined
        if not (STABLE.match(name) or version.startswith(RUNTIMES) or name in WEAK_MARKERS or is_of_the_runtime(name))
    ]
    assert unexpected == []


def is_of_the_runtime(name):
    """Symbols of libstdc++ and libc that carry no version: of std::, exceptions, new and delete."""
    return re.match(r"(_ZN?K?S[tabiosd]|_ZT[VISv]|_Zn[wa]|_Zd[la]|__cxa_|__gxx_|_Unwind_)", name) is not None


# Of manylinux_2_28, the platform of torch's own wheels, as auditwheel defines it.
NEWEST = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0)}


def too_new(library):
    """Versions of C and C++ symbols that a library asks for and an old system does not have."""
    asked = set(re.findall(r"Name: (GLIBC|GLIBCXX|CXXABI|GCC)_([0-9.]+)", readelf("--version-info", str(library))))
    assert ("GLIBC", "2.2.5") in asked or platform.machine() != "x86_64"
    return [f"{name}_{version}" for name, version in sorted(asked) if tuple(map(int, version.split("."))) > NEWEST[name]]


def is_from_a_compiler_that_is_known():
    """Newer ones than gcc 12 may ask for more, of which nobody has seen to."""
    name, _, version = _library._cpu["compiler"].partition(" ")
    return platform.machine() == "x86_64" and name == "GNU" and int(version.partition(".")[0]) <= 12


@pytest.mark.skipif(not is_from_a_compiler_that_is_known(), reason="looked after with gcc up to 12 on x86-64")
def test_old_c_libraries_are_enough(library):
    message = "csrc/cmake/OldRuntimes.cmake and csrc/compat/old_runtimes.cpp are where older versions are asked for"
    assert too_new(library) == [], message


def installed_wheel():
    """The lines of the file WHEEL of the installed package; None where spikeops is used in place."""
    installed = importlib.metadata.distribution("spikeops")
    if Path(installed.locate_file("spikeops/__init__.py")).resolve() != Path(spikeops.__file__).resolve():
        return None
    return (installed.read_text("WHEEL") or "").splitlines()


def test_the_tag_says_what_the_libraries_ask_for():
    wheel = installed_wheel()
    if wheel is None or any("editable" in line for line in wheel):
        pytest.skip("spikeops is used in place")
    (tag,) = [line.removeprefix("Tag: ") for line in wheel if line.startswith("Tag: ")]
    if platform.machine() == "x86_64":
        is_old_enough = not any(too_new(library) for library in LIBRARIES)
        assert tag == f"py3-none-{'manylinux_2_28' if is_old_enough else 'linux'}_x86_64"


def test_the_wheel_is_small():
    """12 MiB at most; the libraries are nearly all of it."""
    sizes = {library.name: len(zlib.compress(library.read_bytes())) for library in LIBRARIES}
    assert sum(sizes.values()) < 11.25 * 2**20, f"compressed: {sizes}; the rest takes three quarters of a MiB"


def test_needed_libraries(library):
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", readelf("--dynamic", str(library))))
    assert needed - SYSTEM <= TORCH[library.name]
    assert needed >= {"libtorch_cpu.so"}


def test_no_path_of_the_build_machine(library):
    assert not re.search(r"\((RPATH|RUNPATH)\)", readelf("--dynamic", str(library)))


def test_only_what_the_library_says_of_itself_is_exported(library):
    """Nothing that could clash with another library in the process."""
    exported = {
        name
        for name, _, kind, section, visibility in dynamic_symbols(library)
        if section not in ("UND", "ABS") and kind in ("FUNC", "OBJECT") and visibility == "DEFAULT" and not name.startswith("_Z")
    }
    assert exported - {"_init", "_fini"} == EXPORTED[library.name]


def test_stack_is_not_executable(library):
    stack = next(line for line in readelf("--program-headers", str(library)).splitlines() if "GNU_STACK" in line)
    assert " RWE " not in stack and " E " not in stack


@pytest.mark.skipif(_library._cuda_library is None, reason="libspikeops_cuda is not loaded")
def test_cuda_versions():
    """Of the runtime that is linked in, which is the compiler's, and of the driver, asked without a device."""
    driver, runtime = _library.cuda_versions()
    major, minor = map(int, re.match(r"nvcc (\d+)\.(\d+)", _library._cuda["compiler"]).groups())
    assert runtime == 1000 * major + 10 * minor
    assert driver == 0 or driver // 1000 >= 11
