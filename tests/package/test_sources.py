"""Rules for the sources that no other test would notice: how files are read, and what runs text as code."""

import ast
from pathlib import Path

import pytest

import spikeops

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ("spikeops", "python", "kernels", "benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))


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
