"""docs/extend: the code on the pages, and on those of docs/tutorials, is that of docs/examples; every command on the former runs."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "extend").glob("*.md"))
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
EXAMPLES = {path.name: path for path in (DOCS / "examples").glob("*.py")}
# Enough to see that they run.
LIMITS = ["--trainer.limit_train", "40", "--trainer.limit_test", "20", "--trainer.epochs", "1", "--trainer.threads", "1"]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page):
    return [shlex.split(line) for block in blocks(page, "sh") for line in block.splitlines() if line]


def test_pages_hold_code_and_commands():
    assert {"README.md", "method.md", "network.md", "data.md"} == {page.name for page in PAGES} and len(EXAMPLES) == 6
    assert sum(len(commands(page)) for page in PAGES) >= 10


def test_the_code_on_the_pages_is_that_of_the_examples():
    shown = {}
    for page in [*PAGES, *TUTORIALS]:
        for block in blocks(page, "python"):
            if match := re.match(r"# (\w+\.py)\n", block):
                shown[match[1]] = block[match.end() :]
    assert shown.keys() == EXAMPLES.keys()
    for name, text in shown.items():
        assert text == EXAMPLES[name].read_text(), f"docs/examples/{name} and its page differ"


def test_the_first_example_is_short():
    assert len(EXAMPLES["conv_bn_lif.py"].read_text().splitlines()) <= 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_run(page, cli, own_code, tmp_path):
    for name, path in EXAMPLES.items():
        own_code.write(name.removesuffix(".py"), path.read_text())
    (tmp_path / "my_presets").mkdir()
    for text in blocks(page, "yaml"):
        assert {"about", "data"} <= yaml.safe_load(text).keys()
        (tmp_path / "my_presets" / "bars.yaml").write_text(text)
    for program, command, *words in commands(page):
        assert program == "spiketrain"
        if command in ("train", "resume") and "--help" not in words:
            words = [*words, *(LIMITS if command == "train" else [])]
            # A run of one epoch goes on for another one.
            words = [*words, "--trainer.epochs", "2"] if command == "resume" else words
        status, lines, errors = cli(command, *words)
        assert (status, errors) == (0, []), (command, words)
        if "--help" in words:
            assert any("--method.rate_cost" in line for line in lines)
        own_code.forget()  # each is a command of its own


def test_the_program_on_the_first_page_runs(own_code):
    (code,) = blocks(DOCS / "extend" / "README.md", "python")
    own_code.write("conv_bn_lif", EXAMPLES["conv_bn_lif.py"].read_text())
    own_code.write("shown", code)
    sys.path.append(str(own_code.folder))
    import importlib

    assert importlib.import_module("shown").config.network.model == "conv_bn_lif:network"


def test_the_entry_points_on_the_first_page_lead_to_the_examples():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    (text,) = blocks(DOCS / "extend" / "README.md", "toml")
    groups = tomllib.loads(text)["project"]["entry-points"]
    from spiketrain import plugins

    assert groups.keys() == {*(group for group, _ in plugins.GROUPS.values()), plugins.PRESETS}
    for group in groups.keys() - {plugins.PRESETS}:
        for value in groups[group].values():
            module, _, name = value.partition(":")
            assert re.search(rf"^(class|def) {name}\b", EXAMPLES[f"{module}.py"].read_text(), re.MULTILINE), value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_other_code_runs(page, own_code):
    """What a program of one's own would say; blocks that begin with the name of a file are examples."""
    for name, path in EXAMPLES.items():
        own_code.write(name.removesuffix(".py"), path.read_text())
    for block in blocks(page, "python"):
        if not re.match(r"# \w+\.py\n", block):
            exec(compile(block, str(page), "exec"), {})
