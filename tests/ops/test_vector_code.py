"""The CPU kernels work on whole vectors, whatever the options: read from the object code of the wheel (build/temp.*/native), and of what
clang makes of the kernels (build/testing-clang), where there is one.

Compilers give up on a loop without a word, and the numbers stay right. In the code of each instruction set, every function that
runs through a row of neurons must have a loop of full-width arithmetic, without arithmetic on single numbers in it.
"""

import functools
import itertools
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[2] / "build"
CLANG_DIR = BUILD / "testing-clang"

RESETS = ("subtract", "to", "none")  # in the order of kernels/math
SURROGATES = ("atan", "sigmoid", "exponential", "fast_sigmoid", "triangle", "rectangle", "gaussian")
DATA = ("float", "double", "fp16", "bf16")
# v2 is compiled for size (csrc/cmake/CpuKernels.cmake).
REGISTERS = {"v3": "ymm", "v4": "zmm"}

# In double precision, exp is the C library's: one number at a time. (1, 2, 6, 8, 9: these, multi-Gaussian and periodic exponential.)
CALLS_EXP = re.compile(
    r"(\w+Back double \w+|surrogate_row) (sigmoid|exponential|gaussian) .*double|back_row TsslBp double|slope_row [12689] \d double"
)
WITHOUT_ARITHMETIC = ("fill_row", "copy_row", "stream_row")

PACKED = re.compile(r"v?(?:add|sub|mul|div)p[sd]|vp?\w*add[dq]|p\w*add[dq]|v?pslld")
SINGLE = re.compile(r"v?(?:add|sub|mul|div)s[sd]")
INSTRUCTION = re.compile(r"^[ \t]*([0-9a-f]+):[ \t]+(\S+)[ \t]*(.*)$", re.MULTILINE)


def short_name(symbol):
    """`back_row LifBack float to sigmoid detached ...`, from a function's full name; None if it does not run through a row."""
    found = re.search(r"(\w+_row)(?:<(.*)>\(|\()", symbol)
    if not found:
        return None
    arguments = re.sub(r"spikeops::(cpu::)?|v\d::|\(anonymous namespace\)::", "", found[2] or "")
    arguments = re.sub(r"\(Reset\)(\d)", lambda m: RESETS[int(m[1])], arguments)
    arguments = re.sub(r"\(Surrogate\)(\d)", lambda m: SURROGATES[int(m[1])], arguments)
    return f"{found[1]} " + " ".join(re.findall(r"[\w()]+", arguments))


def loops(body):
    """The instructions of each innermost loop."""
    code = [(int(address, 16), name, operands) for address, name, operands in INSTRUCTION.findall(body)]
    jumps = []
    for address, name, operands in code:
        target = re.match(r"([0-9a-f]+)", operands)
        if name.startswith("j") and target and code[0][0] <= int(target[1], 16) <= address:
            jumps.append((int(target[1], 16), address))
    for first, last in jumps:
        if not any(first <= other and end <= last and (other, end) != (first, last) for other, end in jumps):
            yield [(name, operands) for address, name, operands in code if first <= address <= last]


def fault(body, register):
    """What keeps a function from working on whole vectors, or None."""
    found = list(loops(body))
    whole = [loop for loop in found if any(PACKED.fullmatch(name) and register in operands for name, operands in loop)]
    if any(name == "call" for loop in found for name, _ in loop):
        return "calls a function for each number"
    if not whole:
        return f"has no loop of arithmetic on {register} registers"
    # What is left over at the end of a row may look like a loop too, by a jump back from out of the way.
    if all(any(SINGLE.fullmatch(name) for name, _ in loop) for loop in whole):
        return "takes its vectors apart"
    return None


@functools.cache
def rows(built: str) -> dict[str, dict[str, list[str]]]:
    """{instruction set: {short name: [code, ...]}} of the code that a compiler made."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("reads x86-64 code")
    if not shutil.which("objdump"):
        pytest.skip("needs objdump (binutils)")
    if built == "clang":
        files = [*CLANG_DIR.rglob("*.o")]
        if not files:
            pytest.skip(f"no kernels in {CLANG_DIR}: 'make test' builds them where clang++ is on the PATH")
    else:
        latest = max(BUILD.glob("temp.*/native"), key=os.path.getmtime, default=BUILD)
        files = [*latest.glob("CMakeFiles/spikeops_cpu_kernels_*/**/*.o")]
        if not files:
            pytest.skip(f"no objects of a wheel in {BUILD}: 'make wheel' leaves them there")
    command = ["objdump", "--disassemble", "--demangle", "--no-show-raw-insn", "--disassembler-options=intel", *map(str, files)]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {isa: {} for isa in REGISTERS}
    for symbol, body in re.findall(r"^[0-9a-f]+ <(.+)>:\n((?:.+\n)*)", listing, re.MULTILINE):
        isa = re.search(r"spikeops::cpu::(v\d)::", symbol)
        if isa and isa[1] in found and (name := short_name(symbol)):
            found[isa[1]].setdefault(name, []).append(body)
    return found


def expected():
    """Parts of names that must be there: functions that are the same but for their names may be one, these are not."""
    for state, reset, surrogate, detach in itertools.product(("float", "double"), RESETS, SURROGATES, ("false", "true")):
        if reset != "none" or detach == "true":
            yield f"back_row LifBack {state} {reset} {surrogate} {detach} "
            yield f"back_row BatchNormLifBack {state} {reset} {surrogate} {detach} "
        for neuron, timing in itertools.product(("CubaLifBack", "RecurrentBack"), range(3)):
            # What is the same is there once: late ones are constants for the gradient, and subtracted with the input.
            if (reset == "to" or timing == 0 or (reset == "subtract" and timing == 1)) and (
                detach == "true" or (timing == 0 and reset != "none")
            ):
                yield f"back_row {neuron} {state} {reset} {surrogate} (CubaTiming){timing} {detach} "
    for state, scheme, counts, way in itertools.product(("float", "double"), range(7), ("false", "true"), ("1 false", "5 false")):
        # Without gradients of the threshold, it makes no difference how many spikes there were if none resets in its step, nor a late reset by
        # subtraction.
        if way == "5 false" or scheme not in (1, 6) or (scheme, counts) == (1, "false"):
            yield f"general_step_back_row {state} (ResetScheme){scheme} {counts} true {way} "
    # Without a bound it does only where they reset to a potential.
    for state, scheme, counts, way in itertools.product(("float", "double"), (3, 4, 5), ("false", "true"), ("1 true", "3 true")):
        yield f"general_step_back_row {state} (ResetScheme){scheme} {counts} true {way} "
    yield from (f"slope_row {kind} 0 {state} " for kind in range(11) for state in ("float", "double"))
    rows = ("gather_row", "own_total_row false", "own_total_row true", "total_row", "step_row Recurrent")
    yield from (f"{row} {state} " for row in rows for state in ("float", "double"))
    yield from (f"{row} {data} " for row in ("scale_both_row", "own_gradients_row") for data in DATA)
    for row, state in itertools.product(("pack_row", "unpack_row", "keep_row", "kept_spike_row"), ("float", "double")):
        yield f"{row} {state} "
    for state in ("float", "double"):
        yield from (f"kept_slope_row {kind} {units} {state} " for kind in (0, 1, 2, 3, 4, 6, 8) for units in range(4) if units != 1)
        yield from (f"step_row LifDistances {state} {reset} " for reset in ("subtract", "to"))
        yield from (f"step_row LifFromDistances {state} to false {summed} " for summed in ("false", "true"))
    for row, state in itertools.product(("clamped_first_row", "clamped_next_row"), ("float", "double")):
        yield f"{row} {state} "
    yield from (f"{row} {data} " for row in ("clamped_product_row", "norm_gradient_row") for data in DATA)
    for row, state in itertools.product(("distances_row", "pairs_row", "channel_distances_row", "channel_add_row"), ("float", "double")):
        yield f"{row} {state} "
    for data in DATA:
        yield from (f"step_row Lif {data} {reset} " for reset in RESETS)
        yield from (f"step_row {neuron} {data} {reset} " for neuron in ("LifRate", "BatchNormLif") for reset in RESETS)
        yield from (f"step_row LifBits {data} {reset} {window} " for reset in ("subtract", "to") for window in (5, 7, 10))
        for way in ("subtract false", "subtract true", "to true"):
            yield from (f"step_row LifFromBits {data} {way} {summed} " for summed in ("false", "true"))
            if data in ("float", "double"):
                yield from (f"step_row LifFromDistances {data} {way} {summed} " for summed in ("false", "true"))
        for scheme, counts, (bounded, alike) in itertools.product(range(7), ("false", "true"), (("true", "false 3"), ("false", "true 1"))):
            yield f"step_row GeneralLif {data} (ResetScheme){scheme} {counts} {bounded} GeneralLifTypes {data} Output {data} {alike} "
        for reset, alike in itertools.product(RESETS, ("false", "true")):
            yield f"step_row CubaLif {data} {reset} (CubaTiming)0 CubaTypes {data} Output {data} {alike} "
        yield from (f"step_row {neuron} {data} " for neuron in ("Readout", "ReadoutAdjoint"))
        yield from (f"{row} TsslBp {data} " for row in ("step_row", "back_row"))
        yield from (f"step_row Synapse {data} {adjoint} " for adjoint in ("false", "true"))
        yield from (f"step_row Feedback {data} {params}Params " for params in ("Feedback", "Ternary"))


@pytest.mark.parametrize("isa", REGISTERS)
@pytest.mark.parametrize("built", ["the wheel", "clang"])
def test_rows_of_neurons_are_worked_on_as_whole_vectors(built, isa):
    code = rows(built)[isa]
    if built == "clang" and not code:
        pytest.skip(f"{isa} is not in {CLANG_DIR}: see CLANG_ISAS in the Makefile")
    missing = [name for name in expected() if not any(name in f"{found} " for found in code)]
    assert not missing, f"{isa}: not in the code of {built} (is it up to date?): {missing}"
    faults = {}
    for name, bodies in code.items():
        if not name.startswith(WITHOUT_ARITHMETIC):
            faults[name] = next(filter(None, (fault(body, REGISTERS[isa]) for body in bodies)), None)
    scalar = [f"{name} {reason}" for name, reason in faults.items() if reason and not CALLS_EXP.search(name)]
    assert not scalar, f"{isa}: not vectorised:\n" + "\n".join(scalar)
    cured = [name for name, reason in faults.items() if not reason and CALLS_EXP.search(name)]
    assert not cured, f"{isa}: vectorised now, take them out of CALLS_EXP: {cured}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("  10: vmulps ymm0,ymm1,YMMWORD PTR [rax]\n  14: jb 10 <f>\n", None),
        ("  10: vmulss xmm0,xmm1,DWORD PTR [rax]\n  14: jb 10 <f>\n", "has no loop"),
        ("  0c: vmulps ymm0,ymm1,ymm2\n  10: vmulss xmm0,xmm1,xmm2\n  14: jb 10 <f>\n", "has no loop"),
        ("  10: vmulps ymm0,ymm1,ymm2\n  14: vaddss xmm0,xmm0,xmm1\n  18: jb 10 <f>\n", "takes its vectors apart"),
        ("  10: call 400 <exp@plt>\n  14: jb 10 <f>\n", "calls a function"),
    ],
)
def test_the_reading_of_code(body, reason):
    found = fault(body, "ymm")
    assert found is None if reason is None else found.startswith(reason)
