"""The Python in README and on the pages of docs runs, block after block of a page, as a reader would type it."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
# Pages on spiketrain, which needs more than torch: tests/spiketrain/test_deploy_docs.py, test_extend_docs.py and test_tutorials.py.
ELSEWHERE = {ROOT / "docs" / "deploy.md", *(ROOT / "docs" / "extend").glob("*.md"), *(ROOT / "docs" / "tutorials").glob("*.md")}
PAGES = [
    path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path not in ELSEWHERE and "```python" in path.read_text(encoding="utf-8")
]  # fmt: skip

# What a page takes for granted.
BEFORE = {
    "docs/memory.md": """
        import torch, spikeops, spikeops.functional as SF, spikeops.nn as snn
        from types import SimpleNamespace
        from spikeops import surrogate
        from torch import nn
        net = nn.Sequential(snn.TimeDistributed(nn.Linear(20, 30)), snn.LIF(0.9), snn.TimeDistributed(nn.Linear(30, 5)))
        criterion = lambda output, y: nn.functional.cross_entropy(output.mean(0), y)
        x, y = torch.rand(4, 3, 20), torch.randint(5, (3,))
        spikes = (torch.rand(4, 3, 6, 8, 8) < 0.2).float()
        current = torch.rand(4, 3, 64, 4, 4)
        self = SimpleNamespace(conv=snn.TimeDistributed(nn.Conv2d(6, 6, 3)), norm=snn.TimeDistributed(nn.BatchNorm2d(6)), neurons=snn.LIF(0.9))
        self.block1 = nn.Sequential(snn.TimeDistributed(nn.Conv2d(6, 6, 3)), snn.LIF(0.9))
    """,
    "docs/neurons.md": """
        import torch, spikeops
        from torch import nn
        snntorch = pytest.importorskip("snntorch")
        net = nn.ModuleDict({"fc1": nn.Linear(20, 30), "lif1": snntorch.Leaky(beta=0.9)})
        x = torch.rand(4, 3, 20)
    """,
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = page.relative_to(ROOT).as_posix()
    names = {"pytest": pytest}
    before = re.sub(r"^        ", "", BEFORE.get(name, ""), flags=re.MULTILINE)
    text = page.read_text(encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(before, f"before {name}", "exec"), names)
        for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            # At its place in the page, where a traceback then points.
            code = "\n" * text[: block.start(1)].count("\n") + block[1]
            exec(compile(code, str(page), "exec"), names)
