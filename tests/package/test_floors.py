"""The plan of the house (docs/design.md): imports and includes go downwards, never up, never in a circle.

An import counts wherever it stands: inside a function and under TYPE_CHECKING, too.
"""

import ast
import re
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# From the ground up. A module belongs to the longest of these names that it begins with, and may import from its own and from all
# floors further down. Rooms on the same floor do not know each other.
FLOORS = [
    ["spikeops._dtypes", "spikeops._freed_memory", "spikeops._graph_site", "spikeops._library", "spikeops._numbers", "spikeops._version"],
    ["spikeops._devices", "spikeops._layout", "spikeops.surrogate"],
    ["spikeops._backend", "spikeops.reference", "spikeops.triton"],
    ["spikeops.functional"],
    ["spikeops.nn"],
    ["spikeops.conversion"],
    ["spikeops"],
    ["spiketrain.errors"],
    ["spiketrain.files"],
    ["spiketrain.launcher", "spiketrain.plugins"],
    ["spiketrain.distributed"],
    ["spiketrain.config"],
    ["spiketrain.presets"],
    ["spiketrain.data", "spiketrain.models"],
    ["spiketrain.methods.base"],
    ["spiketrain.methods"],
    ["spiketrain.reports"],
    ["spiketrain.training"],
    ["spiketrain.deployment"],
    ["spiketrain.cli"],
    ["spiketrain"],
]
# Of benchmarks, whose folder is on the path when its commands run. On top of its rooms stand the commands, side by side.
ROOMS_OF_BENCHMARKS = [["measuring"], ["ops"], ["device", "libraries", "steps"], ["reports"]]


def named_modules(folder, prefix):
    """Name of each module below a folder -> its file."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [*prefix, *path.relative_to(folder).with_suffix("").parts]
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def sources():
    """All modules of the packages, by the names under which they are installed."""
    spikeops = named_modules(REPOSITORY / "spikeops", ["spikeops"])
    triton = named_modules(REPOSITORY / "kernels" / "triton", ["spikeops", "triton"])
    spiketrain = named_modules(REPOSITORY / "python" / "spiketrain", ["spiketrain"])
    return {**spikeops, **triton, **spiketrain}


def benchmarks():
    """All modules of the benchmarks, and their floors."""
    modules = named_modules(REPOSITORY / "benchmarks", [])
    rooms = [room for floor in ROOMS_OF_BENCHMARKS for room in floor]
    return modules, [*ROOMS_OF_BENCHMARKS, [module for module in modules if module.partition(".")[0] not in rooms]]


def imports(text, module, is_package, modules):
    """(line, module) of what a module imports from among `modules`."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level], *filter(None, [node.module])] if node.level else [node.module]
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            # What is no module is a name in one: in the package's __init__, if the package is all that there is.
            while name and name not in modules:
                name = name.rpartition(".")[0]
            if name and name != module:
                yield node.lineno, name


def import_graph(modules):
    """module -> {module it imports: line}."""
    graph = {}
    for module, path in modules.items():
        found = imports(path.read_text(), module, path.name == "__init__.py", modules)
        graph[module] = {name: line for line, name in found}
    return graph


def circle(graph):
    """A circle of the graph, [a, b, ..., a], or []."""
    done, way = set(), []

    def walk(node):
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        way.append(node)
        for following in graph.get(node, ()):
            if found := walk(following):
                return found
        done.add(way.pop())
        return []

    return next((found for node in graph if (found := walk(node))), [])


def assert_no_circle(graph):
    found = circle(graph)
    assert not found, f"a circle of imports: {' -> '.join(found)}. Move what they share below all of them."


def place(module, floors=FLOORS):
    """(height, room) of a module."""
    rooms = [(height, room) for height, floor in enumerate(floors) for room in floor if f"{module}.".startswith(f"{room}.")]
    assert rooms, f"{module} has no place: give it one in FLOORS"
    return max(rooms, key=lambda found: len(found[1]))


def upward(graph, floors=FLOORS):
    """A sentence for each import that goes up, or to a neighbour."""
    for module, imported in graph.items():
        height, room = place(module, floors)
        for name, line in imported.items():
            other_height, other_room = place(name, floors)
            if room != other_room and other_height >= height:
                where = "beside" if other_height == height else "above"
                yield f"{module}, line {line}, imports {name}, but {other_room} lies {where} {room}: move what both need below them"


def test_packages_have_no_circle():
    assert_no_circle(import_graph(sources()))


def test_packages_look_down_only():
    assert list(upward(import_graph(sources()))) == []


def test_benchmarks_have_no_circle():
    assert_no_circle(import_graph(benchmarks()[0]))


def test_benchmarks_look_down_only():
    modules, floors = benchmarks()
    assert len(modules) > 20 and "gpu" in floors[-1]
    assert list(upward(import_graph(modules), floors)) == []


# What benchmarks take from the helpers of the tests: what is known of each op, written once.
SHARED_WITH_BENCHMARKS = ["op_cases", "op_tests.measured", "gpu_tests.calls"]


def foreign(path):
    """The packages that a file imports from, but for Python's own."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {name for node in nodes for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module])}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


def test_benchmarks_take_only_the_cases_from_the_tests():
    helpers = named_modules(REPOSITORY / "tests" / "helpers", [])
    own = benchmarks()[0]
    graph = import_graph({**helpers, **own})
    taken = {f"{module}, line {line}": name for module in own for name, line in graph[module].items() if name in helpers}
    assert "op_cases" in taken.values()
    assert {where: name for where, name in taken.items() if name not in SHARED_WITH_BENCHMARKS} == {}


def test_case_files_need_no_more_than_the_ops_do():
    """Benchmarks read them on machines without pytest. Nor do they, and what they import, run in a circle."""
    helpers = named_modules(REPOSITORY / "tests" / "helpers", [])
    graph = import_graph(helpers)
    assert_no_circle(graph)
    reached, to_do = set(), [name for name in helpers if name.partition(".")[0] == "op_cases"] + SHARED_WITH_BENCHMARKS
    while to_do:
        module = to_do.pop()
        if module not in reached:
            reached.add(module)
            to_do += graph[module]
    assert len(reached) > 12
    allowed = {"torch", "spikeops", *(name.partition(".")[0] for name in reached)}
    assert {name: foreign(helpers[name]) - allowed for name in reached if foreign(helpers[name]) - allowed} == {}


def graph_of(**texts):
    """The import graph of modules given by their text; `a__b` stands for a.b, and those that hold others are packages."""
    modules = {name.replace("__", "."): textwrap.dedent(text) for name, text in texts.items()}
    packages = {name.rpartition(".")[0] for name in modules}
    found = {module: imports(text, module, module in packages, modules) for module, text in modules.items()}
    return {module: {name: line for line, name in pairs} for module, pairs in found.items()}


@pytest.mark.parametrize("text", [
    "import h.b", "from h.b import f", "from h import b", "from . import b", "from .b import f",
    "def late():\n    from h.b import f", "if TYPE_CHECKING:\n    from h.b import f", "import h.b as other, os",
])  # fmt: skip
def test_circles_are_seen(text):
    graph = graph_of(h="", h__a=text, h__b="from h import a", h__c="from h import a")
    assert circle(graph) in (["h.a", "h.b", "h.a"], ["h.b", "h.a", "h.b"])
    with pytest.raises(AssertionError, match=r"h\.a -> h\.b -> h\.a"):
        assert_no_circle(graph)
    assert circle(graph_of(h="", h__a=text, h__b="import os", h__c="from h import a")) == []


def test_names_in_a_package_are_imports_of_it():
    """A module that imports a name from the __init__ that imports the module is a circle, a module of that name is none."""
    assert circle(graph_of(h="from h.a import f", h__a="from h import version")) == ["h", "h.a", "h"]
    assert circle(graph_of(h="from h.a import f", h__a="from h import version", h__version="")) == []


def test_ways_up_are_seen():
    graph = graph_of(h="", h__low="\ndef late():\n    from h.high import f", h__high="import h.low", h__beside="from h import high")
    floors = [["h.low"], ["h.high", "h.beside"], ["h"]]
    up, beside = upward(graph, floors)
    assert "h.low, line 3, imports h.high, but h.high lies above h.low" in up
    assert "h.beside, line 1, imports h.high, but h.high lies beside h.beside" in beside


def include_graph():
    """file of kernels or csrc -> {what it includes: line}: files by their path in the repository, all else as it is written."""
    graph = {}
    for folder in ("kernels", "csrc"):
        for path in sorted((REPOSITORY / folder).rglob("*.*")):
            if path.suffix not in (".h", ".hpp", ".def", ".cpp", ".cu"):
                continue
            name = str(path.relative_to(REPOSITORY))
            graph[name] = {}
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if own := re.match(r'\s*#\s*include\s*"([^"]+)"', line):
                    target = (path.parent / own[1]).resolve()
                    assert target.is_file(), f"{name}:{number} includes {own[1]}: write it as a path from the folder of the file"
                    graph[name][str(target.relative_to(REPOSITORY))] = number
                elif other := re.match(r"\s*#\s*include\s*<([^>]+)>", line):
                    graph[name][f"<{other[1]}>"] = number
    return graph


# What files below a folder may include besides the system's headers; the first folder that fits counts.
INCLUDES = {
    "kernels/math/": r"kernels/math/",
    "kernels/cpu/": r"kernels/(math/|kernels\.def|cpu/)",
    "kernels/cuda/": r"kernels/(math/|kernels\.def|cuda/|cuda_host/)",
    "kernels/cuda_host/": r"kernels/cuda_host/",
    "kernels/": r"kernels/math/",
    "csrc/testing/": r"kernels/|csrc/(testing|cuda_host)/|<pybind11/",
    "csrc/cuda_host/": r"kernels/|csrc/(?!testing/)|<torch/(csrc/stable|csrc/inductor/aoti_torch/c|headeronly)/",
    "csrc/": r"kernels/(?!cuda_host/)|csrc/(?!testing/|cuda_host/)|<torch/(csrc/stable|csrc/inductor/aoti_torch/c|headeronly)/",
}
OF_THE_SYSTEM = re.compile(r"<(?!Python\.h|pybind11/|torch/|ATen/|c10/)")


def forbidden_includes(graph):
    """A sentence for each include that a file may not have."""
    for path, included in graph.items():
        folder, allowed = next((folder, allowed) for folder, allowed in INCLUDES.items() if path.startswith(folder))
        for name, line in included.items():
            if not (re.match(allowed, name) or OF_THE_SYSTEM.match(name)):
                yield f"{path}, line {line}, includes {name}; files in {folder} may include what matches {allowed}"


def test_includes_have_no_circle():
    assert_no_circle(include_graph())


def test_includes_look_down_only():
    assert list(forbidden_includes(include_graph())) == []


@pytest.mark.parametrize("path, name", [
    ("kernels/cuda/gpu.hpp", "csrc/testing/arrays.h"), ("kernels/math/lif.h", "kernels/kernels.def"),
    ("kernels/cpu/lif.cpp", "<torch/torch.h>"), ("csrc/lif.h", "<pybind11/numpy.h>"), ("csrc/lif.h", "spikeops/lif.h"),
    ("kernels/cuda/lif.cu", "<Python.h>"), ("csrc/common.h", "csrc/testing/arrays.h"),
])  # fmt: skip
def test_forbidden_includes_are_seen(path, name):
    (sentence,) = forbidden_includes({path: {name: 7, "<vector>": 8, "<cuda_runtime.h>": 9}})
    assert f"{path}, line 7, includes {name}" in sentence


def test_every_package_is_in_the_wheel():
    """setuptools packs the packages that pyproject.toml names, and no others."""
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    named = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(named) == sorted(module for module, path in sources().items() if path.name == "__init__.py")
