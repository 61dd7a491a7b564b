"""Everything that needs a CUDA device, in one command: ``python benchmarks/gpu.py``.

Builds and installs the package into the environment of the interpreter that runs this, tests the native and the Triton kernels
on the device, has compute-sanitizer watch them, and measures them. A step that fails does not stop the later ones, and a step that
runs out of time keeps what it has. Everything is left in one folder, at most eight files: the table of measurements, its report and
charts, what the steps printed (one archive), and <device>-<day>-proof.md, the summary.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from device import gpu_steps
from device.gpu_steps import BUILD_FILE, REPOSITORY, missing
from device.proof import FAIL, Proof, Result, pack_logs, table_of, unpack_logs

LOGS = REPOSITORY / "build" / "gpu"
STEPS = {
    "build": "build and install",
    "tests": "tests, native and Triton",
    "sanitize": "compute-sanitizer",
    "bench": "measure the ops",
    "train": "measure training steps",
}
SHARE_FOR_MEASUREMENTS = 0.45  # of the time, that earlier steps leave


def device_facts() -> dict[str, str]:
    """What was proven where."""
    import torch

    from measuring.results import commit, driver_version

    major, minor = torch.cuda.get_device_capability()
    try:
        from triton import __version__ as triton_version
    except ImportError:
        triton_version = "none"
    return {
        "device": torch.cuda.get_device_name(),
        "compute capability": f"{major}.{minor}",
        "driver": driver_version(),
        "torch": f"{torch.__version__} (CUDA {torch.version.cuda})",
        "triton": triton_version,
        "Python": sys.version.split()[0],
        "commit": commit(),
    }


def summary(facts: dict[str, str], results: list[Result], csv: Path) -> str:
    """Markdown: where, how each step ended, and what was measured."""
    lines = [f"# Proof on {facts['device']}", "", *(f"- {name}: {value}" for name, value in facts.items()), "", table_of(results)]
    if csv.exists():
        from measuring.results import load
        from reports import report

        lines += ["```", report.summary(load(csv)), "```", ""]
    return "\n".join(lines)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", default=",".join(STEPS), type=_steps,
                        help=f"some of {', '.join(f'{name} ({what})' for name, what in STEPS.items())}; default: all")  # fmt: skip
    parser.add_argument(
        "--installed", action="store_true", help="prove the spikeops that is installed, instead of building this source"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="time for everything; steps that do not fit are skipped")
    parser.add_argument("--out", type=Path, help="folder for everything that is written (default: benchmarks/results)")
    parser.add_argument("--proven-by", type=Path, metavar="LOGS",
                        help="the archive of logs of an earlier run of the tests with the same build, instead of testing again")  # fmt: skip
    parser.add_argument("--although-red", action="store_true",
                        help="measure also ops whose tests are red, and say so, where there may be no second chance")  # fmt: skip
    options = parser.parse_args(arguments)
    steps = [step for step in options.steps if not (step == "build" and options.installed)]
    if reason := missing("torch"):
        sys.exit(f"make gpu: {reason}")
    import torch

    if not torch.cuda.is_available():
        sys.exit(f"make gpu: needs a CUDA device, and torch {torch.__version__} finds none")
    from measuring.results import Table

    # The steps run in another folder.
    csv = Table("cuda").path
    csv = options.out.resolve() / csv.name if options.out else csv
    path, archive = csv.with_name(f"{csv.stem}-proof.md"), csv.with_name(f"{csv.stem}-logs.tar.gz")
    facts = device_facts()
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    shutil.rmtree(LOGS, ignore_errors=True)
    csv.parent.mkdir(parents=True, exist_ok=True)

    def keep(results):
        """After each step: a machine may be taken away at any time."""
        path.write_text(summary(facts, results, csv), encoding="utf-8")
        pack_logs(LOGS, archive)

    before, measured = {"tests", "sanitize"} & {*steps}, [step for step in steps if step in ("bench", "train")]
    share = SHARE_FOR_MEASUREMENTS if before and measured else 0
    proof = Proof(options.minutes, LOGS, reserved=60 * options.minutes * share, ended=keep)
    if "build" in steps:
        proof.step("build", lambda: gpu_steps.build(proof, facts["compute capability"].replace(".", "")))
    if reason := missing("spikeops"):
        sys.exit(f"make gpu: {reason}: build it, or install its wheel and say --installed")
    installed = gpu_steps.installed_build()
    if options.proven_by is not None:
        unpack_logs(options.proven_by, LOGS)
        tested = (LOGS / BUILD_FILE).read_text() if (LOGS / BUILD_FILE).exists() else "none"
        if tested != installed:
            sys.exit(f"make gpu: --proven-by {options.proven_by}: its tests were made on another build ({tested})")
    proof.step("backends", lambda: gpu_steps.backends(proof))
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / BUILD_FILE).write_text(installed)
    together = {}
    if "tests" in steps:
        together |= gpu_steps.test_steps(proof, proof.seconds_left)
    if "sanitize" in steps:
        together |= gpu_steps.sanitizer_steps(proof, proof.seconds_left)
    proof.side_by_side(together)
    proof.release()
    if measured:
        proof.step("measurements", lambda: gpu_steps.measure(proof, csv, measured, options.although_red))
        if csv.exists():
            _report(csv)
    keep(proof.results)
    print(path.read_text(encoding="utf-8"))
    return int(any(result.status == FAIL for result in proof.results))


def _report(csv):
    from reports import report

    try:
        report.write(csv)
    except Exception as error:  # the numbers are worth more than their charts
        print(f"no report: {type(error).__name__}: {error}", file=sys.stderr)


def _steps(text):
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in STEPS]:
        raise argparse.ArgumentTypeError(f"no such step: {', '.join(unknown)}; there are {', '.join(STEPS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
