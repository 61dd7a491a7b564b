"""The steps of the proof on a CUDA device: build, tests, sanitizers, measurements."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
from functools import partial
from pathlib import Path

from device.proof import FAIL, HERE, PART, PASS, SKIPPED, Proof, Step, python
from measuring.outcomes import PYTEST_OPTIONS, Outcome, read_outcomes

REPOSITORY = HERE.parent
TESTS = REPOSITORY / "tests"
SANITIZER_ERROR = 86
SECONDS_FOR_THE_REPORT = 15  # of the measurements' time
NATIVE_TESTS, TRITON_TESTS = "native-tests", "triton-tests"
TRAINING_NEEDS = ("sklearn", "tensorboard", "rich", "matplotlib", "yaml")
BUILD_FILE = "build.txt"  # among the logs: which build the tests were made on


def missing(*modules: str) -> str:
    """Which of the modules are not installed, as a sentence; empty if all are."""
    importlib.invalidate_caches()  # a step may have installed it
    absent = [module for module in modules if not _is_there(module)]
    return f"not installed: {', '.join(absent)}" if absent else ""


def _is_there(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it is part of
        return False


def build(proof: Proof, capability: str) -> tuple[str, str]:
    # Only for this device, and without build isolation: it must work without a network.
    if reason := missing("setuptools.command.bdist_wheel"):
        return FAIL, f"{reason}: needs setuptools 70.1 or later"
    words = python("-m", "pip", "install", "--no-build-isolation", "--no-deps", "--force-reinstall", REPOSITORY)
    done = proof.command("build", words, 240, SPIKEOPS_CUDA="on", SPIKEOPS_CUDA_ARCHS=capability)
    if done.status == 0:
        return PASS, f"for sm_{capability}"
    # Triton's kernels can still be proven, and no older build may pass for this one.
    without_cuda = proof.command("build-without-cuda", words, 120, SPIKEOPS_CUDA="off")
    return FAIL, f"{done.how}; went on without CUDA kernels: {without_cuda.status == 0}"


def backends(proof: Proof) -> tuple[str, str]:
    code = (
        "import json, spikeops; b = spikeops.backends(); assert b['cuda']['available'], b['cuda']['reason']; print(json.dumps(b))"
    )
    done = proof.command("backends", python("-c", code), 120)
    return (PASS, done.last_line) if done.status == 0 else (FAIL, done.how)


def installed_build() -> str:
    """Fingerprint of the installed spikeops, libraries and Python."""
    folder = Path(importlib.util.find_spec("spikeops").origin).parent
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".so")):
        digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def test_steps(proof: Proof, seconds: float) -> dict[str, Step]:
    """All tests that need the device, to be run side by side."""
    cores = os.cpu_count() or 1

    def run(name, words, share, needs=()):
        return tests(proof, name, words, seconds, max(int(share * cores), 1), needs)

    # Triton compiles every kernel before it runs: its tests take twice as long as the others together.
    return {
        "native tests": lambda: run(NATIVE_TESTS, [TESTS / "ops", TESTS / "package"], 0.3),
        "Triton tests": lambda: run(TRITON_TESTS, [TESTS / "ops", "--backend", "triton"], 0.55, needs=("triton",)),
        "device tests": lambda: run("device-tests", [TESTS / "gpu"], 0.15),
        "training tests": lambda: run("training-tests", [TESTS / "spiketrain"], 0, needs=TRAINING_NEEDS),
    }


def tests(proof: Proof, name: str, words: list, seconds: float, workers: int = 1, needs=()) -> tuple[str, str]:
    """pytest on the device. Tests that are skipped prove nothing: at least one has to pass."""
    if reason := missing("pytest", *needs):
        return SKIPPED, reason
    log = outcomes_of(proof, name)
    proof.logs.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    side_by_side = ["-n", workers, "--dist", "worksteal"] if workers > 1 and not missing("xdist") else []
    done = proof.command(name, python("-m", "pytest", *PYTEST_OPTIONS, "-m", "gpu", "--outcomes", log, *side_by_side, *words), seconds)
    if not log.exists():
        return FAIL, done.how
    outcomes = read_outcomes(log).values()
    passed, failed = sum(outcome.passed for outcome in outcomes), [test for outcome in outcomes for test in outcome.failed]
    if failed:
        return FAIL, str(Outcome(passed, failed))
    if done.status is None and passed:
        return PART, f"{passed} passed, then stopped: no more time"
    if done.status not in (0, 5):
        return FAIL, done.how
    return (PASS, f"{passed} passed") if passed else (SKIPPED, f"no test could run: {done.last_line}")


def outcomes_of(proof: Proof, name: str) -> Path:
    return proof.logs / f"{name}.jsonl"


def sanitizer_steps(proof: Proof, seconds: float) -> dict[str, Step]:
    """compute-sanitizer on every op, to be run side by side."""
    steps = {"memcheck sees a planted overrun": lambda: sanitize(proof, "memcheck-planted", "memcheck", "planted", seconds)}
    for backend in ("native", "triton"):
        for tool in ("memcheck", "racecheck"):
            steps[f"{tool}, {backend}"] = partial(sanitize, proof, f"{tool}-{backend}", tool, backend, seconds)
    return steps


def sanitize(proof: Proof, name: str, tool: str, what: str, seconds: float = 120) -> tuple[str, str]:
    """compute-sanitizer on sanitize_ops.py, looking only at our own kernels, whose names all hold "spikeops"."""
    sanitizer = find_sanitizer()
    if sanitizer is None:
        return SKIPPED, "compute-sanitizer was not found"
    if what != "native" and (reason := missing("triton")):
        return SKIPPED, reason
    words = [sanitizer, "--tool", tool, "--error-exitcode", SANITIZER_ERROR, "--kernel-name", "kernel_substring=spikeops"]
    if tool == "memcheck":
        words += ["--report-api-errors", "no"]  # PyTorch tries calls that may fail
    # One allocation per tensor, else an overrun would land in the allocator's own pool.
    done = proof.command(name, [*words, *python(HERE / "sanitize_ops.py", what)], seconds, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    if "Device not supported" in done.output:
        return SKIPPED, "compute-sanitizer does not support this device or its virtualisation"
    if what == "planted":
        found = "Invalid __global__ write" in done.output
        return (PASS, "the planted overrun was found") if found else (FAIL, f"the planted overrun was not found: {done.how}")
    if done.status == 0 and f"all calls of {what} done" in done.output:
        return PASS, re.findall("SUMMARY.*|$", done.output)[0].strip() or done.last_line
    sizes = len(re.findall("^calls of .* done$", done.output, re.MULTILINE))
    if done.status is None and sizes and not re.search("=========.*(Invalid|hazard|Error:|error detected)", done.output):
        return PART, f"nothing found at {sizes} sizes, then stopped: no more time"
    return FAIL, done.how


def find_sanitizer() -> str | None:
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [f"{home}/{folder}" for home in homes if home for folder in ("bin", "compute-sanitizer")]
    places = os.pathsep.join([os.environ.get("PATH", ""), *folders])
    return shutil.which("compute-sanitizer", path=places)


def measure(proof: Proof, csv: Path, parts: list[str], although_red: bool = False) -> tuple[str, str]:
    """The measurements. However they end, what has been measured is in the table."""
    csv.unlink(missing_ok=True)  # of an earlier run
    seconds = max(proof.seconds_left - SECONDS_FOR_THE_REPORT, 10)
    words = ["--seconds", f"{seconds:.0f}", "--parts", ",".join(parts), "--table", csv, *(["--although-red"] if although_red else [])]
    for provider, name in (("spikeops", NATIVE_TESTS), ("spikeops_triton", TRITON_TESTS)):
        if outcomes_of(proof, name).exists():
            words += [f"--outcomes-{provider}", outcomes_of(proof, name)]
    done = proof.command("benchmarks", python(HERE / "gpu_bench.py", *words), proof.seconds_left - SECONDS_FOR_THE_REPORT / 2)
    rows = len(csv.read_text(encoding="utf-8").splitlines()) - 1 if csv.exists() else 0
    if done.status == 0:
        return PASS, f"{rows} numbers"
    return (PART if done.status is None and rows else FAIL), f"{rows} numbers; {done.how}"
