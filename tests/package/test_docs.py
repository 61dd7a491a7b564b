"""Docstrings: every example runs, and every public function and class has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest
import torch

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import surrogate

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(spikeops.__path__, "spikeops.")
    if not module.name.startswith("spikeops.triton")  # needs triton
)


@pytest.mark.parametrize("name", ["spikeops", *MODULES])
def test_examples(name):
    if name.startswith("spikeops.conversion.") and "._" not in name:
        pytest.importorskip(name.rpartition(".")[2])
    if name.startswith("spikeops.nir"):
        pytest.importorskip("nir")
        pytest.importorskip("nirtorch")
    module = importlib.import_module(name)
    names = {"torch": torch, "spikeops": spikeops, "SF": SF, "snn": snn}
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for test in finder.find(module, name, globs=names):
            runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("name", SF.__all__)
def test_functions_are_documented(name):
    text = inspect.getdoc(getattr(SF, name))
    for section in ("Args:", "Returns:", "Raises:", "Example:", ">>> "):
        assert section in text, f"{name} has no {section}"
    for parameter in inspect.signature(getattr(SF, name)).parameters:
        assert f"{parameter}: " in text or "as in :func:`" in text, f"{name} does not document {parameter}"


@pytest.mark.parametrize("name", snn.__all__)
def test_modules_are_documented(name):
    text = inspect.getdoc(getattr(snn, name))
    assert "Example:" in text and ">>> " in text


@pytest.mark.parametrize("name", surrogate.__all__)
def test_surrogates_are_documented(name):
    assert inspect.getdoc(getattr(surrogate, name))
