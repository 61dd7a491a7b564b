"""What a source distribution holds: all that it takes to build the native libraries and the package."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = ("CHANGELOG.md", "CITATION.cff", "CMakeLists.txt", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py")
FOLDERS = ("csrc", "docs", "kernels", "python", "spikeops")
NOT_SOURCES = ("__pycache__", "lib", "*.egg-info")


@pytest.fixture(scope="module")
def distribution(tmp_path_factory):
    """(the files of the sources, the archive)"""
    tmp_path = tmp_path_factory.mktemp("sdist")
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.partition(".")[0]) < 77:
        pytest.skip("pyproject.toml asks for setuptools 77")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in FILES:
        shutil.copy(REPOSITORY / name, copy)
    for name in FOLDERS:
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    shutil.rmtree(copy / "spikeops" / "triton", ignore_errors=True)  # where spikeops is used in place: kernels/triton
    sources = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    command = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(tmp_path / "dist")]
    result = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (archive,) = (tmp_path / "dist").glob("*.tar.gz")
    return sources, archive


def test_all_sources_are_in_it(distribution):
    sources, archive = distribution
    with tarfile.open(archive) as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    assert sources - packed == set(), "left out: name them in MANIFEST.in"


def test_it_builds_without_a_network(distribution, tmp_path):
    """CMake configures what is in the archive, and all files that the build begins with are there: nothing is fetched. To compile them
    takes minutes, and the wheel that is tested was."""
    if not shutil.which("cmake") or not shutil.which("ninja"):
        pytest.skip("needs cmake and ninja")
    include = Path(torch.__file__).parent / "include"
    if not (include / "torch" / "csrc" / "stable").is_dir():
        pytest.skip("this torch has no headers")
    with tarfile.open(distribution[1]) as tar:
        tar.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (source,) = tmp_path.iterdir()
    nowhere = "http://127.0.0.1:9"
    environment = {**os.environ, **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), nowhere), "PIP_NO_INDEX": "1"}
    options = {"SPIKEOPS_TORCH_INCLUDE": include, "SPIKEOPS_CUDA": "off"}
    for command in (
        ["cmake", "-S", source, "-B", tmp_path / "build", "-G", "Ninja", *(f"-D{name}={value}" for name, value in options.items())],
        ["ninja", "-C", tmp_path / "build", "-t", "inputs", "spikeops_cpu"],
    ):
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    inputs = [Path(line) for line in result.stdout.splitlines() if line.startswith(f"{source}/")]
    assert len(inputs) > 20 and [path.name for path in inputs if not path.is_file()] == []
    fetching = re.compile(r"FetchContent|ExternalProject|file\(DOWNLOAD|urllib|requests|git clone")
    recipes = [source / "setup.py", source / "CMakeLists.txt", *source.glob("csrc/**/*.cmake"), *source.glob("csrc/**/CMakeLists.txt")]
    assert len(recipes) > 5 and not [path.name for path in recipes if fetching.search(path.read_text())]
