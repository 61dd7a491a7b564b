"""docs/deploy.md: its code runs, its commands are accepted, its tables name what there is."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
import trained_runs

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "deploy.md"


@pytest.fixture
def run(tmp_path):
    trained_runs.train("bptt-digits", tmp_path / "runs" / "digits")


def test_the_code_runs(run, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) == 5
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "all.py").write_text("\n".join(blocks))
    import runpy

    names = runpy.run_path(str(tmp_path / "all.py"))
    sys.modules.pop("digits", None)
    torch.testing.assert_close(names["scores"], names["model"](names["pictures"]))
    assert torch.equal(names["network"](names["digits"].preprocess(names["pictures"])), names["model"](names["pictures"]))


def test_the_commands_are_accepted(run, tmp_path, cli):
    from PIL import Image

    Image.new("L", (8, 8), 90).save(tmp_path / "photo.png")
    (tmp_path / "recordings").mkdir()
    Image.new("L", (8, 8), 30).save(tmp_path / "recordings" / "other.png")
    commands = re.findall(r"^    spiketrain (.*?)(?:  +#.*)?$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        words = [{"RUN": "runs/digits"}.get(word, word) for word in shlex.split(command)]
        if "onnx" in words:
            pytest.importorskip("onnxruntime")
        status, _, errors = cli(*words)
        if "nir" in words:  # of this network NIR has no neurons
            assert status == 2 and ("reset must be 'to'" in errors[0] or "spikeops[nir]" in errors[0])
        else:
            assert status == 0, errors


def test_methods_are_sorted_by_what_their_scores_are():
    from spiketrain import methods

    text = DOCUMENT.read_text().partition("own estimate where its loss")[2].partition("\n\n")[0]
    assert set(methods.names()) <= set(re.findall(r"[a-z_]+", text))
