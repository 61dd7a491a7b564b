"""The C and C++ libraries of an old system, unpacked into a folder: what the native libraries have to load with, whatever they were built on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

# Of Debian 11, which gets no other versions any more: glibc 2.31 and the C++ library of gcc 10. The oldest that has been had to try.
GLIBC = "2.31"
_PACKAGES = {
    "g/glibc/libc6_2.31-13+deb11u11_amd64.deb": "05f7264da867b37f4c5ce49266b558ea1e81e05a9464f623152fca70f3550282",
    "g/glibc/libc-bin_2.31-13+deb11u11_amd64.deb": "f6335f60b75d564649ad2bb8f5f46900c3f3908ce6b7aff9f226620e96e0eba6",
    "g/gcc-10/libgcc-s1_10.2.1-6_amd64.deb": "e478f2709d8474165bb664de42e16950c391f30eaa55bc9b3573281d83a29daf",
    "g/gcc-10/libstdc++6_10.2.1-6_amd64.deb": "5c155c58935870bf3b4bfe769116841c0d286a74f59eccfd5645693ac23f06b1",
}
_FETCH = Path("/usr/lib/apt/apt-helper")  # knows apt's proxies, and compares the sums


class OldSystem:
    """Debian 11's libraries and a small program of its own, run by its own loader.

    Args:
        root: where its packages are unpacked
    """

    def __init__(self, root: Path) -> None:
        self.folders = [root / "lib/x86_64-linux-gnu", root / "usr/lib/x86_64-linux-gnu"]
        self._loader = self.folders[0] / "ld-linux-x86-64.so.2"
        self._program = root / "usr/bin/getconf"

    def load(self, *libraries: Path, beside: Path) -> subprocess.CompletedProcess:
        """Run ``getconf GNU_LIBC_VERSION`` with the libraries loaded before it, all symbols of all that they need bound, and nothing of this
        system's in reach but what lies in the folder ``beside`` them."""
        words = ["--preload", ":".join(map(str, libraries)), str(self._program), "GNU_LIBC_VERSION"]
        return self._run(words, beside, LD_BIND_NOW="1")

    def needed(self, library: Path, beside: Path) -> dict[str, Path]:
        """Where the loader finds each library that this one needs, directly or not, by name."""
        listed = self._run(["--list", str(library)], beside).stdout
        pairs = (line.split(" (")[0].split(" => ") for line in listed.splitlines() if " => " in line)
        return {name.strip(): Path(path) for name, path in pairs}

    def _run(self, words: list[str], beside: Path, **environment: str) -> subprocess.CompletedProcess:
        path = ":".join(map(str, [*self.folders, beside]))
        return subprocess.run(
            [str(self._loader), "--library-path", path, *words], env=environment, capture_output=True, text=True, check=False, timeout=100
        )


def old_system(cache: Path) -> OldSystem:
    """Unpacked into a folder of ``cache``, if it is not there yet. A test where it cannot be had is skipped."""
    root = cache / "debian-11"
    if not root.exists():
        if platform.machine() != "x86_64" or not _FETCH.exists() or not shutil.which("dpkg-deb"):
            pytest.skip("the libraries of an old system are packages for x86-64, fetched and unpacked by apt and dpkg-deb")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            unpacked = Path(folder) / "root"
            for package, checksum in _PACKAGES.items():
                subprocess.run(["dpkg-deb", "--extract", str(_fetched(package, checksum, Path(folder))), str(unpacked)], check=True)
            try:
                os.rename(unpacked, root)
            except OSError:  # another process was faster
                if not root.exists():
                    raise
    return OldSystem(root)


def _fetched(package: str, checksum: str, folder: Path) -> Path:
    """A package from one of the mirrors that apt is set up for."""
    archive = folder / Path(package).name
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True, check=False).stdout
    said = "apt is set up for no mirror"
    for mirror in dict.fromkeys(listed.split()):
        options = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=10", "-o", "APT::Sandbox::User=root"]
        where = f"{mirror.rstrip('/')}/pool/main/{package}"
        result = subprocess.run([_FETCH, *options, "download-file", where, archive, f"SHA256:{checksum}"], capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return archive
        said = result.stderr.strip().splitlines()[-1] if result.stderr.strip() else f"apt-helper ended with {result.returncode}"
    pytest.skip(f"no mirror of apt's has {archive.name}: {said}")
