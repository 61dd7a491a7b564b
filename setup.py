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


class AnyPythonWheel(bdist_wheel):
    """The libraries hold no Python: one wheel serves every Python 3 of a platform."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[Extension("spikeops.lib.native", sources=[])],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": AnyPythonWheel},
    setup_requires=[] if torch_headers() else ["torch>=2.10"],
)
