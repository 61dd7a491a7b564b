"""What nvcc made of the CUDA kernels, without a device: registers, spills, instructions, width of global accesses.

    python benchmarks/kernel_counts.py spikeops/lib/libspikeops_cuda.so
    python benchmarks/kernel_counts.py --before old/*.cubin --out results/kernel-counts-sm_90.md new/*.cubin

Takes built libraries, object files or cubins and reads them with cuobjdump. With ``--before`` every column shows both."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from measuring import markdown

REGISTERS, THREADS, WARP, PARTITIONS = 65536, 2048, 32, 4  # of a multiprocessor of compute capability 9.0
BLOCK_WARPS = 2  # kThreads of kernels/cuda/grid.hpp


@dataclass
class Kernel:
    """Counts of one kernel. ``loads`` and ``stores``: bytes of a global access -> instructions of that width. ``code``: address and
    bytes moved of each instruction; ``jumps``: addresses of each branch back, and of where it leads."""

    registers: int = 0
    shared: int = 0
    stack: int = 0
    spills: int = 0
    instructions: int = 0
    loads: Counter = field(default_factory=Counter)
    stores: Counter = field(default_factory=Counter)
    code: list[tuple[int, int]] = field(default_factory=list, compare=False, repr=False)
    jumps: list[tuple[int, int]] = field(default_factory=list, compare=False, repr=False)

    @property
    def threads(self) -> int:
        """Threads that registers leave room for on a multiprocessor, in blocks of BLOCK_WARPS."""
        registers = -(-max(self.registers, 1) // 8) * 8
        warps = REGISTERS // PARTITIONS // (registers * WARP) * PARTITIONS
        return min(warps // BLOCK_WARPS * BLOCK_WARPS * WARP, THREADS)

    @property
    def per_byte(self) -> float | None:
        """Instructions for each byte that goes to global memory or comes from there, in the innermost loop that moves the most bytes, or
        in all of the code, if that has no such loop. None where nothing is moved."""
        loops = [(to, at) for at, to in self.jumps]
        inner = [loop for loop in loops if not any(loop != other and loop[0] <= other[0] and other[1] <= loop[1] for other in loops)]
        moved = [[size for address, size in self.code if first <= address <= last] for first, last in inner]
        most = max([code for code in moved if any(code)], key=sum, default=[size for _, size in self.code])
        return len(most) / sum(most) if any(most) else None


def parse(usage: str, sass: str) -> dict[str, Kernel]:
    """Kernels by mangled name, from cuobjdump's ``--dump-resource-usage`` and ``--dump-sass``."""
    kernels: dict[str, Kernel] = {}
    pattern = r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)"
    for name, registers, stack, shared in re.findall(pattern, usage):
        kernels[name] = Kernel(int(registers), int(shared), int(stack))
    for function in sass.split("Function : ")[1:]:
        kernel = kernels.setdefault(function.split(maxsplit=1)[0], Kernel())
        for address, instruction, operands in _INSTRUCTION.findall(function):
            _count(kernel, int(address, 16), instruction, operands)
    return kernels


_INSTRUCTION = re.compile(r"^[ \t]+/\*([0-9a-f]{4,})\*/[ \t]+(?:@!?U?P\w+[ \t]+)?([A-Z][A-Z0-9_.]*)([^;\n]*)", re.MULTILINE)


def _count(kernel: Kernel, address: int, instruction: str, operands: str) -> None:
    operation, *modifiers = instruction.split(".")
    if operation == "NOP":
        return
    kernel.instructions += 1
    size = 0
    if operation in ("LDL", "STL"):
        kernel.spills += 1
    elif operation in ("LDG", "STG", "LD", "ST"):
        size = next((int(m.lstrip("US")) for m in modifiers if m in ("U8", "S8", "U16", "S16", "64", "128")), 32) // 8
        (kernel.loads if operation.startswith("L") else kernel.stores)[size] += 1
    elif operation == "BRA" and (to := re.search(r"0x([0-9a-f]+)", operands)) and int(to[1], 16) < address:
        kernel.jumps.append((address, int(to[1], 16)))
    kernel.code.append((address, size))


def _readable(demangled: str) -> str:
    """Without the names of namespaces that have none, and `Kind 0` for an enumerator that c++filt writes as a cast."""
    return re.sub(r"\((?:\w+::|::)*(\w+)\)(\d+)", r"\1 \2", demangled.replace("(anonymous namespace)", ""))


def readable(demangled: str) -> str:
    """``lif_forward_kernel<float, 4>`` of a whole signature."""
    found = re.search(r"(\w+(?:<.*>)?)\((?:spikeops::|\w+\*)", _readable(demangled))
    name = found[1] if found else demangled
    return re.sub(r"\(?\b(?:\w+::)+(\w+)\)?", lambda m: "" if m[0].startswith("(") else m[1], name)


def table(after: dict[str, Kernel], before: dict[str, Kernel] | None = None) -> str:
    """Markdown; with ``before``, cells read "before → after" where they differ. Kernels are given by readable names."""
    columns = {
        "registers": lambda k: str(k.registers),
        "threads": lambda k: str(k.threads),
        "stack": lambda k: str(k.stack),
        "spills": lambda k: str(k.spills),
        "shared": lambda k: str(k.shared),
        "instructions": lambda k: str(k.instructions),
        "per byte": lambda k: "-" if k.per_byte is None else f"{k.per_byte:.2f}",
        "loads": lambda k: _widths(k.loads),
        "stores": lambda k: _widths(k.stores),
    }
    lines = []
    for name in sorted({*after, *(before or {})}):
        cells = []
        for show in columns.values():
            new = show(after[name]) if name in after else "-"
            old = new if before is None else show(before[name]) if name in before else "-"
            cells.append(new if old == new else f"{old} → {new}")
        lines.append([f"`{name}`", *cells])
    return markdown.table(["kernel", *columns], lines) + "\n"


def _widths(accesses: Counter) -> str:
    return ", ".join(f"{count} x {size}" for size, count in sorted(accesses.items(), reverse=True)) or "-"


_LEGEND = """\
Read from the machine code ({architecture}) by `benchmarks/kernel_counts.py`. **threads**: of a multiprocessor, as far as registers
leave room for them; dynamic shared memory, which backward passes take, is not in the code. **spills**: instructions that touch
local memory. **shared**: static, bytes. **instructions**: all of the kernel's, each branch included once. **per byte**: instructions for
each byte that a thread moves to or from global memory, in the innermost loop that moves the most bytes, all its branches included; in all of
the code where no loop moves any, which of the backward passes that take short sequences at once is far more than is run: one of several resets
and surrogates is, whose codes it adds up. **loads**, **stores**: global ones, number x bytes.
"""
_BEFORE = "Where two states differ, a cell reads before → after; -: there was, or is, no such kernel.\n"


def tool(name: str) -> str | None:
    """On the PATH, in a CUDA toolkit or in Triton, which brings cuobjdump along."""
    places = [
        os.environ.get("PATH", ""),
        "/usr/local/cuda/bin",
        *Path(sys.prefix).glob("lib/python*/site-packages/triton/backends/nvidia/bin"),
    ]
    return shutil.which(name, path=os.pathsep.join(map(str, places)))


def read(files: list[Path], architecture: str) -> dict[str, Kernel]:
    """Kernels by readable name."""
    cuobjdump = tool("cuobjdump")
    if cuobjdump is None:
        raise SystemExit("cuobjdump was not found: install a CUDA toolkit or put its folder on the PATH")
    kernels: dict[str, Kernel] = {}
    for file in files:
        only = [] if file.suffix == ".cubin" else ["--gpu-architecture", architecture]
        usage, sass = (
            subprocess.run([cuobjdump, *only, option, file], capture_output=True, text=True, check=True).stdout
            for option in ("--dump-resource-usage", "--dump-sass")
        )
        kernels |= parse(usage, sass)
    names = list(kernels)
    if filt := tool("c++filt"):
        names = subprocess.run([filt, *names], capture_output=True, text=True, check=True).stdout.split("\n")[: len(names)]
    return dict(zip(map(readable, names), kernels.values()))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="libraries, object files or cubins")
    parser.add_argument("--before", nargs="+", type=Path, default=None, help="the same of an earlier state, to compare with")
    parser.add_argument("--architecture", default="sm_90", help="whose code is read from files that hold several")
    parser.add_argument("--out", type=Path, help="Markdown file; the standard output where it is left out")
    given = parser.parse_args(arguments)
    before = None if given.before is None else read(given.before, given.architecture)
    text = table(read(given.files, given.architecture), before)
    if given.out is None:
        print(text, end="")
    else:
        legend = _LEGEND.format(architecture=given.architecture) + (_BEFORE if before else "")
        given.out.write_text(f"# What the CUDA kernels compile to\n\n{legend}\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
