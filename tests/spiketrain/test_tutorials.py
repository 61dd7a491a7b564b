"""docs/tutorials: the code and the commands of each page run, one after the other in one folder, as a newcomer pastes them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
USES = {"benchmark": ["snntorch"], "deploy": ["onnx", "onnxscript", "onnxruntime"], "swap": ["snntorch", "spikingjelly"]}  # beside the extra [train]


def blocks(page):
    """(language, code, line of the page on which it begins) of each block that is Python or a shell's."""
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(python|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield block[1], block[2], text[: block.start(2)].count("\n")


def run(command, cli, folder):
    """Run one command of a page."""
    program, *words = shlex.split(command, comments=True)
    if program == "pip":
        return check_install(words)
    if program == "spiketrain":
        status, _, errors = cli(*words)
        assert status == 0, (command, errors)
        return None
    if program == "torchrun":
        words = ["-m", "torch.distributed.run", *words]
    else:
        assert program == "python", f"{command}: what is {program}?"
        words = [str(ROOT / word) if word.startswith("benchmarks/") else word for word in words]
    result = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
    return None


def check_install(words):
    """Nothing is installed here, but the extras that a page names have to be there."""
    assert words[0] == "install"
    extras = set(re.findall(r"^([a-z]+) = \[", (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2], re.MULTILINE))
    for word in words[1:]:
        if match := re.fullmatch(r"spikeops\[(.+)\]", word):
            assert set(match[1].split(",")) <= extras, word


def test_each_use_has_a_page():
    assert [page.stem for page in PAGES] == ["benchmark", "deploy", "extend", "many_processes", "reproduce", "swap"]
    contents = (ROOT / "docs" / "index.md").read_text()
    assert [page.stem for page in PAGES if f"\ntutorials/{page.stem}\n" not in contents] == []


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs(page, cli, own_code, tmp_path):
    for package in USES.get(page.stem, []):
        pytest.importorskip(package)
    names = {}
    for language, code, line in blocks(page):
        if language == "sh":
            for command in code.splitlines():
                run(command, cli, tmp_path)
                own_code.forget()  # each is a command of its own
        elif match := re.match(r"# (\w+)\.py\n", code):
            own_code.write(match[1], code[match.end() :])
        else:
            exec(compile("\n" * line + code, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_that_take_too_long_are_at_least_known(page):
    """Those of real data sets, which pages show indented."""
    from spiketrain import presets
    from spiketrain.cli.arguments import make_parser, split_fields
    from spiketrain.methods import load_config

    commands = re.findall(r"^    (spiketrain .*)$", page.read_text(), re.MULTILINE)
    assert bool(commands) == (page.stem == "reproduce")
    for command in commands:
        own, fields = split_fields(shlex.split(command)[1:])
        arguments = make_parser().parse_args(own)
        for preset in getattr(arguments, "presets", None) or [arguments.preset]:
            load_config(presets.load(preset), fields)
