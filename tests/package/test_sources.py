"""Rules for the sources that no other test would notice: names and lengths of files, how files are read, what runs text as code."""

import ast
import statistics
from pathlib import Path

import op_cases
import pytest

import spikeops

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ("spikeops", "python", "kernels", "benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))

CODE = sorted(
    path
    for folder in (*FOLDERS, "csrc", "tests")
    for path in (REPOSITORY / folder).rglob("*")
    if path.suffix in (".py", ".h", ".hpp", ".cpp", ".cu", ".def", ".cmake", ".yaml")
)
LONGEST, MEDIAN = 400, 150  # lines

# Where the files of a family lie, by the family's name.
FLOORS = (
    "kernels/math/{}.h", "kernels/cpu/{}.cpp", "kernels/cuda/{}.cu", "kernels/triton/{}.py", "csrc/{}.cpp", "spikeops/reference/{}.py",
    "spikeops/functional/{}.py", "tests/ops/test_{}.py",
)  # fmt: skip
# Families that have another file in such a place, or none: name -> {floor: that file, or "" for none}.
_KEPT = {
    "csrc/{}.cpp": "csrc/lif_kept.cpp",
    "spikeops/reference/{}.py": "spikeops/reference/lif_kept.py",
    "spikeops/functional/{}.py": "spikeops/functional/_lif_kept.py",
}
ELSEWHERE = {
    # No functions of their own, but options of lif.
    "lif_bits": _KEPT,
    "lif_distances": _KEPT,
    "general_lif": {
        "spikeops/reference/{}.py": "spikeops/reference/lif.py",
        "spikeops/functional/{}.py": "spikeops/functional/_general_lif.py",
    },
    # What other ops use.
    "reduce": {"spikeops/reference/{}.py": "", "spikeops/functional/{}.py": "spikeops/functional/_reduce.py"},
    # Torch's own, but on the CPU where few neurons fire: of its kernels for those the names say what they do.
    "conv": {
        "kernels/math/{}.h": "kernels/math/event_conv.h", "kernels/cpu/{}.cpp": "kernels/cpu/event_conv.cpp",
        "kernels/cuda/{}.cu": "", "kernels/triton/{}.py": "", "csrc/{}.cpp": "csrc/cpu/event_conv.cpp",
    },
    "linear": {
        "kernels/math/{}.h": "kernels/math/event_matmul.h", "kernels/cpu/{}.cpp": "kernels/cpu/event_matmul.cpp",
        "kernels/cuda/{}.cu": "", "kernels/triton/{}.py": "", "csrc/{}.cpp": "csrc/cpu/event_matmul.cpp",
    },
    "pool": {"kernels/cuda/{}.cu": "", "kernels/triton/{}.py": "", "csrc/{}.cpp": "csrc/cpu/pool.cpp"},
}  # fmt: skip
# What families share, and what is compiled beside them.
SHARED = {
    "kernels/cpu/{}.cpp": {"channels", "narrow_matmul", "select", "table"},
    "kernels/cuda/{}.cu": {"channels", "error", "lif_backward"},
    "kernels/triton/{}.py": {"channels"},
    "csrc/{}.cpp": {"channels"},
    "spikeops/reference/{}.py": set(),
    "spikeops/functional/{}.py": set(),
}


def place(family, floor):
    """The file of a family on a floor, "" where it has none there."""
    return ELSEWHERE.get(family, {}).get(floor, floor.format(family))


@pytest.mark.parametrize("family", op_cases.FAMILIES)
def test_a_family_has_one_name_on_all_floors(family):
    """Whoever looks for one finds it everywhere by the name of its case file."""
    places = [place(family, floor) for floor in FLOORS]
    missing = [file for file in places if file and not (REPOSITORY / file).is_file()]
    assert not missing, f"not there: {missing}; name the files after tests/helpers/op_cases/{family}.py"


@pytest.mark.parametrize("floor", SHARED)
def test_every_file_is_of_a_family(floor):
    known = {place(family, floor) for family in op_cases.FAMILIES} | {floor.format(name) for name in SHARED[floor]}
    found = {str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob(floor.format("[a-z]*"))}
    assert found - known == set(), "of no family of tests/helpers/op_cases"


def test_files_are_short():
    """One idea per file: what is longer than that has a second one."""
    lines = {str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8").count("\n") for path in CODE}
    assert len(lines) > 500
    assert {path: length for path, length in lines.items() if length > LONGEST} == {}
    assert statistics.median(lines.values()) < MEDIAN


def dotted(node):
    """`a.b.c` of an attribute chain, or the name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def problems(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "marshal", "shelve"):
            yield node.lineno, f"imports from {node.module}, which runs code when it reads"
        if not isinstance(node, ast.Call):
            continue
        name, keywords = dotted(node.func), {k.arg: k.value for k in node.keywords}
        # A subclass of pickle.Unpickler may say what it admits; the plain ones admit everything.
        if name in ("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler", "shelve.open"):
            yield node.lineno, f"calls {name}"
        if name == "torch.load" and not is_constant(keywords.get("weights_only"), True):
            yield node.lineno, "torch.load without weights_only=True"
        if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
            yield node.lineno, f"{name} instead of yaml.safe_load"
        if name.endswith(("np.load", "numpy.load")) and is_constant(keywords.get("allow_pickle"), True):
            yield node.lineno, "np.load with allow_pickle"
        if name.startswith("subprocess.") and is_constant(keywords.get("shell"), True):
            yield node.lineno, "a shell"


def is_constant(node, value):
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_nothing_runs_data_as_code(path):
    assert list(problems(ast.parse(path.read_text(), str(path)))) == []


@pytest.mark.parametrize("bad", [
    "torch.load(f)", "torch.load(f, weights_only=False)", "yaml.load(f)", "eval('1')", "pickle.load(f)", "from pickle import loads",
    "np.load(f, allow_pickle=True)", "subprocess.run(c, shell=True)",
])  # fmt: skip
def test_the_rules_see_offenders(bad):
    assert list(problems(ast.parse(bad)))
    assert not list(problems(ast.parse("torch.load(f, weights_only=True); yaml.safe_load(f); model.eval(); np.load(f)")))


def test_the_installed_package_is_the_tested_one():
    """The same version as the sources, wherever it was installed."""
    version = (REPOSITORY / "spikeops" / "_version.py").read_text()
    assert f'__version__ = "{spikeops.__version__}"' in version
