"""Everything that needs a CUDA device, in one command: ``python benchmarks/gpu.py``.

Builds and installs the package into the environment of the interpreter that runs this, tests the native and the Triton kernels
on the device, has compute-sanitizer watch them, and measures them. A step that fails does not stop the later ones. The summary
goes to benchmarks/results/<device>-<day>-proof.md, next to the measurements; the steps' output to build/gpu/.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from outcomes import PYTEST_OPTIONS, Outcome, read_junit

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
LOGS = REPOSITORY / "build" / "gpu"
PASS, FAIL, SKIPPED = "PASS", "FAIL", "SKIPPED"
SANITIZER_ERROR = 86
SECONDS_FOR_BENCHMARKS = 120  # that earlier steps leave


@dataclass
class Result:
    """How a step ended."""

    name: str
    status: str
    detail: str
    seconds: float = 0.0


@dataclass
class Done:
    """A command that has run: its exit status (None: it was stopped) and what it printed."""

    status: int | None
    output: str

    @property
    def last_line(self) -> str:
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1][:200] if lines else "no output"


class Proof:
    """Runs the steps within a total time and remembers how they ended.

    Args:
        minutes: time for all steps
        reserved: seconds of it that are left alone until `release` is called
    """

    def __init__(self, minutes: float, reserved: float = 0.0):
        self.deadline = time.monotonic() + 60 * minutes
        self.reserved = reserved
        self.results: list[Result] = []

    def release(self) -> None:
        """Lets the next steps use the reserved time."""
        self.reserved = 0.0

    def step(self, name: str, run: Callable[[], tuple[str, str]]) -> None:
        """``run()`` returns a status and a detail. An exception is a failure too."""
        print(f"{name} ...", flush=True)
        started = time.monotonic()
        try:
            status, detail = (SKIPPED, "no time left") if self.seconds_left < 5 else run()
        except Exception as error:  # whatever happens in a step, the next one gets its chance
            status, detail = FAIL, f"{type(error).__name__}: {error}"
        result = Result(name, status, detail, time.monotonic() - started)
        self.results.append(result)
        print(f"{name}: {result.status} in {result.seconds:.0f} s: {result.detail}\n", flush=True)

    @property
    def seconds_left(self) -> float:
        return self.deadline - self.reserved - time.monotonic()

    def command(self, name: str, words: list, seconds: float, **environment: str) -> Done:
        """Runs a command of at most `seconds`, with its output in build/gpu/<name>.log and on the screen."""
        LOGS.mkdir(parents=True, exist_ok=True)
        log = LOGS / f"{name}.log"
        # Started from this folder, lest the source folder `spikeops` hide the installed package.
        with open(log, "w") as file:
            process = subprocess.Popen(
                [str(word) for word in words], cwd=HERE, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            )  # fmt: skip
            try:
                status = process.wait(min(seconds, self.seconds_left))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                status = None
        done = Done(status, log.read_text(errors="replace"))
        print("\n".join(done.output.splitlines()[-12:]), flush=True)
        return done


def missing(*modules: str) -> str:
    """Which of the modules are not installed, as a sentence; empty if all are."""
    absent = [module for module in modules if importlib.util.find_spec(module) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def build(proof: Proof, capability: str) -> tuple[str, str]:
    # Only for this device, and without build isolation: it must work without a network.
    words = [sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--force-reinstall", REPOSITORY]
    done = proof.command("build", words, 240, SPIKEOPS_CUDA="on", SPIKEOPS_CUDA_ARCHS=capability)
    if done.status == 0:
        return PASS, f"for sm_{capability}"
    # Triton's kernels can still be proven, and no older build may pass for this one.
    without_cuda = proof.command("build-without-cuda", words, 120, SPIKEOPS_CUDA="off")
    return FAIL, f"{ended(done)}; went on without CUDA kernels: {without_cuda.status == 0}"


def backends(proof: Proof) -> tuple[str, str]:
    code = (
        "import json, spikeops; b = spikeops.backends(); assert b['cuda']['available'], b['cuda']['reason']; print(json.dumps(b))"
    )
    done = proof.command("backends", [sys.executable, "-c", code], 120)
    return (PASS, done.last_line) if done.status == 0 else (FAIL, ended(done))


def tests(proof: Proof, name: str, words: list, seconds: float) -> tuple[str, str]:
    """pytest on the device. Tests that are skipped prove nothing: at least one has to pass."""
    if reason := missing("pytest"):
        return SKIPPED, reason
    junit = junit_of(name)
    junit.unlink(missing_ok=True)
    pytest = [sys.executable, "-m", "pytest", *PYTEST_OPTIONS, "-m", "gpu", f"--junitxml={junit}"]
    done = proof.command(name, [*pytest, *words], seconds)
    if not junit.exists():
        return FAIL, ended(done)
    outcomes = read_junit(junit).values()
    passed, failed = sum(outcome.passed for outcome in outcomes), [test for outcome in outcomes for test in outcome.failed]
    if failed or done.status not in (0, 5):
        return FAIL, str(Outcome(passed, failed)) if failed else ended(done)
    return (PASS, f"{passed} passed") if passed else (SKIPPED, f"no test could run: {done.last_line}")


def junit_of(name: str) -> Path:
    return LOGS / f"{name}.xml"


def sanitize(proof: Proof, name: str, tool: str, what: str, kernels: str) -> tuple[str, str]:
    """compute-sanitizer on sanitize_ops.py, looking only at kernels whose name contains `kernels`."""
    sanitizer = find_sanitizer()
    if sanitizer is None:
        return SKIPPED, "compute-sanitizer was not found"
    if what != "native" and (reason := missing("triton")):
        return SKIPPED, reason
    words = [sanitizer, "--tool", tool, "--error-exitcode", SANITIZER_ERROR, "--kernel-name", f"kernel_substring={kernels}"]
    if tool == "memcheck":
        words += ["--report-api-errors", "no"]  # PyTorch tries calls that may fail
    # One allocation per tensor, else an overrun would land in the allocator's own pool.
    done = proof.command(name, [*words, sys.executable, HERE / "sanitize_ops.py", what], 120, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    if "Device not supported" in done.output:
        return SKIPPED, "compute-sanitizer does not support this device or its virtualisation"
    if what == "planted":
        found = "Invalid __global__ write" in done.output
        return (PASS, "the planted overrun was found") if found else (FAIL, f"the planted overrun was not found: {ended(done)}")
    if done.status == 0 and f"all calls of {what} done" in done.output:
        return PASS, done.last_line.strip("= ")
    return FAIL, ended(done)


def find_sanitizer() -> str | None:
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [f"{home}/{folder}" for home in homes if home for folder in ("bin", "compute-sanitizer")]
    places = os.pathsep.join([os.environ.get("PATH", ""), *folders])
    return shutil.which("compute-sanitizer", path=places)


def benchmarks(proof: Proof, out: Path | None) -> tuple[str, str]:
    # Cases that have begun are finished; what is left of the time pays for them and for the report.
    seconds = max(proof.seconds_left - 40, 10)
    words = [sys.executable, HERE / "gpu_bench.py", "--seconds", f"{seconds:.0f}", "--junit-spikeops", junit_of("native-tests"),
             "--junit-spikeops_triton", junit_of("triton-tests"), *(["--out", out] if out else [])]  # fmt: skip
    done = proof.command("benchmarks", words, proof.seconds_left)
    return (PASS, done.last_line) if done.status == 0 else (FAIL, ended(done))


def ended(done: Done) -> str:
    """How a command ended that should have ended otherwise."""
    errors = [line.strip() for line in done.output.splitlines() if re.search(r"error|Error|hazard|SUMMARY", line)]
    how = "stopped: it took too long" if done.status is None else f"exit status {done.status}"
    return f"{how}: {errors[-1][:200] if errors else done.last_line}"


def device_facts() -> dict[str, str]:
    """What was proven where."""
    import torch
    from results import commit, driver_version

    major, minor = torch.cuda.get_device_capability()
    return {
        "device": torch.cuda.get_device_name(),
        "compute capability": f"{major}.{minor}",
        "driver": driver_version(),
        "torch": f"{torch.__version__} (CUDA {torch.version.cuda})",
        "Python": sys.version.split()[0],
        "commit": commit(),
    }


def report(facts: dict[str, str], results: list[Result]) -> str:
    lines = [f"# Proof on {facts['device']}", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += ["| step | result | seconds | detail |", "| --- | --- | --- | --- |"]
    lines += [f"| {r.name} | {r.status} | {r.seconds:.0f} | {r.detail.replace('|', '/')} |" for r in results]
    return "\n".join(lines) + "\n"


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--installed", action="store_true", help="prove the spikeops that is installed, instead of building this source"
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="time for everything; steps that do not fit are skipped")
    parser.add_argument("--out", type=Path, help="folder for the results (default: benchmarks/results)")
    options = parser.parse_args(arguments)
    out = options.out.resolve() if options.out else None  # the steps run in another folder
    if reason := missing("torch"):
        sys.exit(f"make gpu: {reason}")
    import torch

    if not torch.cuda.is_available():
        sys.exit(f"make gpu: needs a CUDA device, and torch {torch.__version__} finds none")
    from results import Table

    facts = device_facts()
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    proof = Proof(options.minutes, reserved=SECONDS_FOR_BENCHMARKS)
    if not options.installed:
        proof.step("build", lambda: build(proof, facts["compute capability"].replace(".", "")))
    proof.step("backends", lambda: backends(proof))
    root = REPOSITORY / "tests"
    proof.step("native tests", lambda: tests(proof, "native-tests", [root / "ops", root / "gpu", root / "package"], 180))
    proof.step("Triton tests", lambda: tests(proof, "triton-tests", [root / "ops", "--backend", "triton"], 150))
    proof.step("memcheck sees a planted overrun", lambda: sanitize(proof, "memcheck-planted", "memcheck", "planted", "spikeops"))
    for backend, kernels in (("native", "spikeops"), ("triton", "_kernel")):
        for tool in ("memcheck", "racecheck"):
            proof.step(f"{tool}, {backend}", lambda b=backend, k=kernels, t=tool: sanitize(proof, f"{t}-{b}", t, b, k))
    needs_training = ("jsonargparse", "sklearn", "tensorboard", "rich", "matplotlib", "yaml")
    proof.step("training tests", lambda: (SKIPPED, missing(*needs_training)) if missing(*needs_training)
               else tests(proof, "training-tests", [root / "spiketrain"], 90))  # fmt: skip
    proof.release()
    proof.step("benchmarks", lambda: benchmarks(proof, out))

    table = Table("cuda").path
    path = (out or table.parent) / f"{table.stem}-proof.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report(facts, proof.results))
    print(f"{'step':34}{'result':9}{'seconds':>8}  detail")
    for result in proof.results:
        print(f"{result.name:34}{result.status:9}{result.seconds:8.0f}  {result.detail}")
    print(f"wrote {path}")
    return int(any(result.status == FAIL for result in proof.results))


if __name__ == "__main__":
    sys.exit(main())
