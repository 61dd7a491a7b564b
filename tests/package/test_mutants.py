"""The wrong changes of tests/helpers/mutation still apply to the sources, so that the list stays alive. Whether the tests notice them is
for `make mutants`."""

import ast
import importlib.util
from collections import Counter

import pytest
from mutation.catalogue import MUTANTS
from mutation.mutant import REPOSITORY, DoesNotApplyError, Mutant

FLOORS = ("kernels/math", "kernels/cpu", "kernels/cuda", "kernels/triton", "csrc", "spikeops/functional", "spikeops/nn", "python/spiketrain/data",
          "python/spiketrain/training", "python/spiketrain/methods", "python/spiketrain/models", "python/spiketrain/reports")  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_applies(mutant):
    path = REPOSITORY / mutant.file
    text = path.read_text()
    changed = mutant.changed(text)
    if path.suffix == ".py":
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), "changes nothing that Python sees"
    words = [word for word in mutant.tests.split() if word.startswith("tests/")]
    assert words, f"names no tests: {mutant.tests}"
    for word in words:
        file = REPOSITORY / word.partition("::")[0]
        assert file.exists(), f"{word} is not there"
        assert "::" not in word or f"def {word.partition('::')[2]}(" in file.read_text(), f"{word} is not there"


def test_every_floor_has_some():
    assert len(MUTANTS) >= 60
    for floor in FLOORS:
        assert sum(mutant.file.startswith(floor) for mutant in MUTANTS) >= 2, floor
    assert Counter(mutant.name for mutant in MUTANTS).most_common(1)[0][1] == 1
    assert all((REPOSITORY / mutant.file).is_relative_to(REPOSITORY) and "tests" not in mutant.file for mutant in MUTANTS)


@pytest.mark.parametrize("old, new", [("absent", "x"), ("twice", "x"), ("once", "once")])
def test_what_does_not_apply_says_so(old, new):
    with pytest.raises(DoesNotApplyError, match="spikeops/file.py: a mistake: (finds its text [02] times|changes nothing)"):
        Mutant("spikeops/file.py", "a mistake", old, new, "tests/ops").changed("once, twice, twice")


@pytest.mark.parametrize("file, library", [
    ("kernels/math/lif.h", "cpu"), ("kernels/cpu/walk.h", "cpu"), ("csrc/lif.cpp", "cpu"), ("kernels/cuda/lif.cu", "testing"),
    ("kernels/triton/lif.py", None), ("spikeops/nn/time.py", None),
])  # fmt: skip
def test_what_is_compiled_for_it(file, library):
    assert Mutant(file, "", "a", "b", "").library == library


@pytest.mark.parametrize("killed, survived, broken, status", [(20, 0, 0, 0), (19, 1, 0, 0), (18, 2, 0, 1), (20, 0, 1, 1)])
def test_the_exit_status_and_the_names_of_survivors(capsys, killed, survived, broken, status):
    spec = importlib.util.spec_from_file_location("run_mutants", REPOSITORY / "tests" / "mutants" / "run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    verdicts = [run.KILLED] * killed + [run.SURVIVED] * survived + [run.BROKEN] * broken
    results = [run.Result(f"mutant {i}", verdict, 1.0, f"why {i}") for i, verdict in enumerate(verdicts)]
    assert run.summarise(results) == status
    lines = capsys.readouterr().out.splitlines()
    assert f"{killed} of {len(results)} killed, {survived} survived, {broken} did not apply" in lines
    named = [line for line in lines if line.startswith(("  survived: ", "  did not apply: "))]
    assert named == [f"  {verdict}: mutant {i}" for i, verdict in enumerate(verdicts) if verdict != run.KILLED]
