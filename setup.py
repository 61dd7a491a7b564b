"""Builds the native libraries by CMake (the one description of the native build) and maps the packages."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


def torch_headers() -> tuple[Path, str] | None:
    """(include directory, version) of an installed torch. Only headers are needed, so torch is not imported; pip's isolated
    builds run the same interpreter, whose own site-packages are looked at too, which saves downloading torch twice."""
    found = importlib.util.find_spec("torch")
    places = [Path(found.origin).parent] if found and found.origin else []
    places += [Path(sysconfig.get_path(kind)) / "torch" for kind in ("purelib", "platlib")]
    for place in places:
        include, version = place / "include", place / "version.py"
        if (include / "torch" / "csrc" / "stable").is_dir() and version.is_file():
            number = re.search(r"""__version__\s*=\s*['"]((\d+)\.(\d+)[^'"]*)""", version.read_text())
            if number and (int(number[2]), int(number[3])) >= (2, 10):
                return include, number[1]
    return None


class BuildNative(build_ext):
    def run(self):
        headers = torch_headers()
        if headers is None:
            raise SystemExit("spikeops: torch 2.10 or later is needed for its headers. Install it first: pip install torch")
        include, version = headers
        package = Path(self.get_ext_fullpath("spikeops.lib.native")).parent
        build = Path(self.build_temp).resolve() / "native"
        build.mkdir(parents=True, exist_ok=True)
        cuda = os.environ.get("SPIKEOPS_CUDA", "auto").lower()
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_MAKE_PROGRAM": shutil.which("ninja") or "ninja",  # an earlier isolated build's ninja is gone
            "CMAKE_INSTALL_PREFIX": package,
            "SPIKEOPS_TORCH_INCLUDE": include,
            "SPIKEOPS_TORCH_VERSION": version,
            "SPIKEOPS_CUDA": cuda,
        }
        if archs := os.environ.get("SPIKEOPS_CUDA_ARCHS"):
            options["SPIKEOPS_CUDA_ARCHS"] = re.sub(r"[,\s]+", ";", archs.strip()).replace(".", "")
        cmake("-S", ROOT, "-B", build, "-G", "Ninja", *(f"-D{name}={value}" for name, value in options.items()))
        jobs = os.environ.get("MAX_JOBS", str(os.cpu_count() or 1))
        cmake("--build", build, "--parallel", jobs, "--target", "spikeops_cpu")
        try:
            cmake("--build", build, "--parallel", jobs)
        except subprocess.CalledProcessError:
            if cuda != "auto":
                raise
            print(
                "spikeops: the CUDA kernels could not be compiled (see above): building without them. SPIKEOPS_CUDA=off leaves "
                "them out on purpose, SPIKEOPS_CUDA=on makes this an error.",
                file=sys.stderr,
            )
            remove(build.glob("libspikeops_cuda*"))
        remove(package.glob("libspikeops_*"))  # of an earlier build, which may have had other options
        cmake("--install", build, "--strip")


def remove(files) -> None:
    for file in files:
        file.unlink()


def cmake(*arguments) -> None:
    subprocess.run(["cmake", *map(str, arguments)], check=True, stdout=sys.stderr)


# What manylinux_2_28 allows, the platform of torch's own wheels: the newest versions of symbols that a library may ask for.
MANYLINUX = "manylinux_2_28_x86_64"
NEWEST = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0)}


def asks_too_much(library: Path) -> list[str]:
    """The versions of C and C++ symbols that a library asks for and manylinux_2_28 does not have."""
    text = subprocess.run(["readelf", "--wide", "--version-info", library], check=True, capture_output=True, text=True).stdout
    found = set(re.findall(r"Name: (GLIBC|GLIBCXX|CXXABI|GCC)_([0-9.]+)", text))
    return sorted(f"{name}_{version}" for name, version in found if tuple(map(int, version.split("."))) > NEWEST[name])


class AnyPythonWheel(bdist_wheel):
    """The libraries hold no Python: one wheel serves every Python 3 of a platform; csrc/cmake/OldRuntimes.cmake sees to it that the
    platform is that of torch's wheels."""

    def get_tag(self):
        platform = super().get_tag()[2]
        libraries = list(Path(self.bdist_dir or "nowhere").glob("spikeops/lib/libspikeops_*.so"))
        if platform == "linux_x86_64" and libraries and shutil.which("readelf"):
            too_much = sorted({version for library in libraries for version in asks_too_much(library)})
            if not too_much:
                platform = MANYLINUX
            else:
                print(f"spikeops: not {MANYLINUX}, since the libraries ask for {', '.join(too_much)}", file=sys.stderr)
        return "py3", "none", platform


setup(
    ext_modules=[Extension("spikeops.lib.native", sources=[])],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": AnyPythonWheel},
    setup_requires=[] if torch_headers() else ["torch>=2.10"],
)
