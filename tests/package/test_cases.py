"""Every op has a case (tests/helpers/op_cases), and what a case file says is there, is used, and is said once."""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import op_cases
import pytest
import torch
from op_tests import kinds
from op_tests.inputs import Inputs
from op_tests.op_calls import CALLS, op_of

import spikeops.functional as SF
import spikeops.nn as snn

TESTS = Path(__file__).resolve().parents[1]
FOLDER = Path(op_cases.__file__).parent
SCHEMAS = sorted(
    name.split("::")[1].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name.startswith("spikeops::")
)


def families(function):
    """Where a case of a public function belongs: the files there are for."""
    return f"tests/helpers/op_cases/{Path(inspect.getfile(getattr(SF, function))).name}"


@pytest.mark.parametrize("op", SCHEMAS)
def test_every_op_is_called(op):
    called = {op_of(name) for name in CALLS}
    assert op in called or op in op_cases.TESTED_ELSEWHERE, (
        f"torch.ops.spikeops.{op} has no case: add one to RAW of its family's file in tests/helpers/op_cases, "
        f'"{op}": lambda i: ("{op}", (its arguments, drawn by i)), and others with each optional argument given and left out'
    )


@pytest.mark.parametrize("function", SF.__all__)
def test_every_function_is_called(function):
    assert function in op_cases.first_calls() or function in op_cases.TESTED_ELSEWHERE, (
        f"SF.{function} has no case: add Call(name={function!r}, ...) to CALLS in {families(function)}"
    )


@pytest.mark.parametrize("call", op_cases.CALLS.values(), ids=str)
def test_calls_name_what_is_there(call):
    assert call.function in SF.__all__, f"{call}: SF.{call.function} is not there"
    parameters = inspect.signature(getattr(SF, call.function)).parameters
    arguments = call.make(Inputs(4, (2, 3)))
    options = (*call.options, *call.ranges, *call.positive, *call.any_number, *call.float32)
    assert set(options) <= set(parameters), f"{call}: {set(options) - set(parameters)} are no arguments of SF.{call.function}"
    for spread, values in call.spreads.items():
        for value in values:  # an unknown one is a TypeError
            arguments |= call.make(Inputs(4, (2, 3)), **{spread: value})
    named = {*call.differentiable, *call.keeps, *call.written, *call.not_negative, *filter(None, [call.summed])}
    assert named <= {*arguments, *parameters}, f"{call}: {named - {*arguments, *parameters}} are not among its arguments"
    for file in filter(None, (call.own_test, call.own_bad_input)):
        assert call.function in (TESTS / "ops" / file).read_text(), f"{call}: tests/ops/{file} does not test it"


def test_what_is_tested_elsewhere_is():
    for name, file in op_cases.TESTED_ELSEWHERE.items():
        assert name in SCHEMAS or name in SF.__all__, f"{name} is neither an op nor a function"
        path = TESTS / "ops" / file
        # The class EventConv2d is what calls the ops event_conv_ and event_conv_weight.
        assert path.exists() and name.split("_")[0] in path.read_text(), f"{path} does not test {name}"


def test_modules_are_those_of_the_package():
    for case in op_cases.MODULES.values():
        assert getattr(snn, str(case), None) is case.kind, f"{case} is not in spikeops.nn"


def test_markings_are_of_calls_that_are_there():
    assert {*op_cases.TOO_SMALL_TO_POISON, *op_cases.WITHOUT_TRITON} <= set(CALLS)


@pytest.mark.parametrize("family", op_cases.FAMILIES)
def test_a_case_file_says_nothing_that_nobody_asks(family):
    """A misspelt name would silently be no test at all."""
    tree = ast.parse((FOLDER / f"{family}.py").read_text())
    names = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)}
    said = {name for name in names if not name.startswith("_")}
    assert said & {"RAW", "TESTED_ELSEWHERE"}, f"{FOLDER.name}/{family}.py tells of no op of torch.ops.spikeops"
    unknown = said - set(op_cases.KINDS)
    assert not unknown, f"{FOLDER.name}/{family}.py: nothing uses {sorted(unknown)}. Known are {', '.join(op_cases.KINDS)}"


def sources():
    """All that may use what the case files say."""
    folders = (TESTS, TESTS.parent / "benchmarks")
    files = (path for folder in folders for path in folder.rglob("*.py"))
    return {path: path.read_text() for path in files if FOLDER not in path.parents and path.name not in ("kinds.py", "test_cases.py")}


@pytest.mark.parametrize("kind", [kinds.Call, kinds.Smooth, kinds.Sequence, kinds.Module], ids=lambda kind: kind.__name__)
def test_every_field_is_used(kind):
    text = "\n".join(sources().values())
    methods = inspect.getsource(kind).partition("def ")[2]
    unused = [f.name for f in dataclasses.fields(kind) if not re.search(rf"\.{f.name}\b", text + methods)]
    assert not unused, f"no test asks for {unused} of a {kind.__name__}"


def test_every_kind_of_entry_is_used():
    text = "\n".join(sources().values())
    unused = [name for name in op_cases.KINDS if not re.search(rf"op_cases\.{name}\b|from op_cases import .*\b{name}\b", text)]
    assert not unused, f"no test asks for {unused}"


def test_a_call_that_is_described_twice_is_refused(monkeypatch):
    twin = type(op_cases)("twin")
    twin.RAW = {"lif": op_cases.RAW["lif"]}
    monkeypatch.setitem(op_cases.FAMILIES, "twin", twin)
    with pytest.raises(AssertionError, match=r"op_cases/twin.py: RAW has lif, which another entry is called already"):
        op_cases._all("RAW")
