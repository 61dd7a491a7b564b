"""What a source distribution holds: all that it takes to build the native libraries and the package."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = ("CHANGELOG.md", "CITATION.cff", "CMakeLists.txt", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py")
FOLDERS = ("csrc", "docs", "kernels", "python", "spikeops")
NOT_SOURCES = ("__pycache__", "lib", "*.egg-info")


def test_all_sources_are_in_it(tmp_path):
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
    with tarfile.open(archive) as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    assert sources - packed == set(), "left out: name them in MANIFEST.in"
