"""A copy of the tree to change things in: never the tree itself. With native libraries of its own, built as little as possible."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mutation.mutant import REPOSITORY, Mutant

TARGETS = {"cpu": "spikeops_cpu", "testing": "spikeops_testing"}
KERNELS = "spikeops_cpu_kernels_native"
# A test that waits for ever has noticed, too.
MOST_SECONDS = 900


class BuildFailed(Exception):
    """The sources do not compile; the message is the end of what the compiler said."""


@dataclass(frozen=True)
class Outcome:
    """How a run of pytest ended: its exit status (negative: the signal that killed it), or None where it was too long."""

    status: int | None
    output: str

    @property
    def is_clean(self) -> bool:
        return self.status == 0

    @property
    def noticed(self) -> bool:
        """Whether tests failed, could not even be imported, crashed or did not end; not: pytest was called wrongly."""
        return self.status not in (0, 3, 4, 5)

    @property
    def failure(self) -> str:
        """The first test that failed, or what happened instead."""
        if self.status is None:
            return f"not done after {MOST_SECONDS} seconds"
        lines = [line for line in self.output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        return lines[0].split(" - ")[0] if lines else f"exit status {self.status}"


class Workspace:
    """A copy of the repository in `folder`. What is there already is brought up to date."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.build_folder = folder / "build" / "mutants"
        self._pristine = folder / "build" / "pristine"
        self._zygote: subprocess.Popen | None = None
        self._synchronise()
        link = folder / "spikeops" / "triton"
        if not link.is_symlink():
            link.symlink_to("../kernels/triton")
        # Those that the interpreter finds; `build` puts its own in their place.
        self.libraries = folder / "spikeops" / "lib"
        found = importlib.util.find_spec("spikeops")
        shutil.rmtree(self.libraries, ignore_errors=True)
        shutil.copytree(Path(found.submodule_search_locations[0]) / "lib", self.libraries)

    def build(self, libraries: set[str]) -> None:
        """Build native libraries from the unchanged sources, and keep what was built to go back to.

        Raises:
            BuildFailed: they do not compile.
        """
        include = Path(importlib.util.find_spec("torch").origin).parent / "include"
        options = {
            "SPIKEOPS_TORCH_INCLUDE": include, "SPIKEOPS_TORCH_VERSION": "mutants", "SPIKEOPS_CUDA": "off",
            "SPIKEOPS_BUILD_TESTING": "ON", "SPIKEOPS_ISAS": "native", "Python_EXECUTABLE": sys.executable,
        }  # fmt: skip
        self._command(
            ["cmake", "-S", self.folder, "-B", self.build_folder, "-G", "Ninja", *(f"-D{k}={v}" for k, v in options.items())]
        )
        for library in sorted(libraries):
            self._command(["cmake", "--build", self.build_folder, "--target", TARGETS[library]])
        for built in self.build_folder.glob("libspikeops_cpu.*"):
            (self.libraries / built.name).unlink(missing_ok=True)
            (self.libraries / built.name).symlink_to(built)
        shutil.rmtree(self._pristine, ignore_errors=True)
        shutil.copytree(self.build_folder, self._pristine, symlinks=True)

    @contextlib.contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        """Inside, the mutant is in place and built; afterwards everything is as before, down to the times of the files, so that
        the next build compiles nothing of this one's.

        Raises:
            DoesNotApplyError: its text is not there.
            BuildFailed: it does not compile.
        """
        path = self.folder / mutant.file
        text, times = path.read_bytes(), path.stat()
        changed = mutant.changed(text.decode())
        try:
            path.write_text(changed)
            if mutant.library:
                self._compile(mutant)
            yield
        finally:
            path.write_bytes(text)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            if mutant.library:
                self._go_back()

    def test(self, tests: str) -> Outcome:
        """Run pytest on the copy, as `Mutant.tests` says."""
        environment = {
            "PYTHONPATH": f"{self.folder}{os.pathsep}{self.folder / 'python'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SPIKEOPS_TESTING_DIR": str(self.build_folder),
        }
        arguments = shlex.split(tests)
        while re.match(r"[A-Z_]+=", arguments[0]):
            name, _, value = arguments.pop(0).partition("=")
            environment[name] = value
        output = self.folder / "build" / "tests.txt"
        output.parent.mkdir(exist_ok=True)
        order = {
            "arguments": ["-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", *arguments],
            "environment": environment,
            "output": str(output),
            "seconds": MOST_SECONDS,
        }
        if self._zygote is None:
            own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TRITON_INTERPRET")}
            command = [sys.executable, Path(__file__).with_name("zygote.py")]
            self._zygote = subprocess.Popen(
                command, cwd=self.folder, env=own | {"OMP_NUM_THREADS": "1"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert self._zygote.stdout.readline() == "ready\n"
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        return Outcome(json.loads(self._zygote.stdout.readline()), output.read_text(errors="replace"))

    def close(self) -> None:
        if self._zygote is not None:
            self._zygote.stdin.close()
            self._zygote.wait()

    def _compile(self, mutant: Mutant) -> None:
        if not mutant.is_in_kernels:
            self._command(["cmake", "--build", self.build_folder, "--target", TARGETS[mutant.library]])
            return
        # Not by the library's target: torch's headers, in the bindings, take longer to compile than all kernels.
        (library,) = (path.name for path in self.build_folder.glob("libspikeops_cpu.*"))
        self._command(["cmake", "--build", self.build_folder, "--target", KERNELS])
        *_, link = self._command(["ninja", "-C", self.build_folder, "-t", "commands", library]).strip().splitlines()
        self._command(["sh", "-c", link], self.build_folder)

    def _command(self, command: list, folder: Path | None = None) -> str:
        tools = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        run = subprocess.run(
            [str(part) for part in command], cwd=folder or self.folder, env=os.environ | tools, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if run.returncode:
            raise BuildFailed(run.stdout[-3000:])
        return run.stdout

    def _go_back(self) -> None:
        """Every file of the build folder as it was, the build's own records of it too."""
        for path in self.build_folder.rglob("*"):
            if path.is_symlink() or not path.is_file():
                continue
            kept = self._pristine / path.relative_to(self.build_folder)
            if not kept.exists():
                path.unlink()
            elif path.stat().st_mtime_ns != kept.stat().st_mtime_ns:
                shutil.copy2(kept, path)

    def _synchronise(self) -> None:
        wanted = _files()
        for name in wanted:
            source, copy = REPOSITORY / name, self.folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.exists() or source.read_bytes() != copy.read_bytes():
                copy.unlink(missing_ok=True)
                shutil.copyfile(source, copy)
                shutil.copymode(source, copy)
        for folder in ("csrc", "kernels", "python", "spikeops", "tests"):
            for path in (self.folder / folder).rglob("*"):
                name = path.relative_to(self.folder)
                if path.is_file() and not path.is_symlink() and name.parts[:2] != ("spikeops", "lib") and str(name) not in wanted:
                    path.unlink()


def _files() -> set[str]:
    """Files of the tree: what git tracks, and what is new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    return {name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).is_file() and not (REPOSITORY / name).is_symlink()}
