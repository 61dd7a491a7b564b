"""The same bits for any number of threads, any vector instructions, and in every run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from op_tests.fingerprints import fingerprints
from op_tests.op_calls import CALLS, Inputs, call, op_of, prepare, run_on_copies

import spikeops
import spikeops.functional as SF

pytestmark = pytest.mark.usefixtures("native")

HELPERS = Path(__file__).parents[1] / "helpers"
WIDEST = spikeops.backends()["cpu"].get("isa")


@pytest.fixture(scope="module")
def here():
    """Fingerprints of this process, with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return fingerprints()
    finally:
        torch.set_num_threads(before)


def differing(actual, expected):
    return sorted(name for name in expected if actual[name] != expected[name])


@pytest.mark.parametrize("count", [2, 3])
def test_threads(threads, here, count):
    threads(count)
    assert differing(fingerprints(), here) == []


def test_parameter_gradients_of_many_neurons(threads):
    """The gradient of one decay for 300 000 neurons: a sum large enough to be shared among threads."""
    x = 0.4 + 0.7 * torch.randn(4, 300_000, generator=torch.Generator().manual_seed(0))
    gradients = []
    for count in (1, 2):
        threads(count)
        decay, v_init = torch.tensor(0.7, requires_grad=True), torch.tensor(0.1, requires_grad=True)
        spikes, v_last = SF.lif(x, decay, v_init=v_init)
        gradients.append(torch.autograd.grad((spikes.sum() + v_last.sum()), (decay, v_init)))
    assert gradients[0] == gradients[1]


@pytest.mark.skipif(WIDEST not in ("v2", "v3", "v4"), reason="one instruction set only on this platform")
@pytest.mark.parametrize("isa", ["v2", "v3", "v4"])
def test_instruction_sets(here, isa):
    if isa > WIDEST:
        pytest.skip(f"this CPU, or SPIKEOPS_CPU_ISA, stops at {WIDEST}")
    if isa == WIDEST:
        pytest.skip(f"{WIDEST} is what this process runs")
    command = [sys.executable, "-m", "op_tests.fingerprints"]  # found in the folder in which it runs
    environment = os.environ | {"SPIKEOPS_CPU_ISA": isa}
    printed = subprocess.run(command, cwd=HELPERS, env=environment, check=True, capture_output=True, text=True, timeout=300).stdout
    result = json.loads(printed)
    assert result["isa"] == isa
    assert differing(result["fingerprints"], here) == []


@pytest.mark.parametrize("name", CALLS)
def test_same_bits_in_every_run(device, name):
    run = prepare(name, Inputs(T=17, shape=(2, 700), device=device))
    runs = [run() for _ in range(3)]
    assert all(torch.equal(a, b) for later in runs[1:] for a, b in zip(runs[0], later))


def _wishes(name):
    """How many gradients a call may ask for or leave out by its last arguments, and whether these are one list."""
    needs = [argument.name for argument in getattr(torch.ops.spikeops, op_of(name)).default._schema.arguments if argument.name.startswith("need")]
    return (0, True) if needs == ["needs"] else (len(needs), False)


@pytest.mark.parametrize("name", [name for name in CALLS if _wishes(name) != (0, False)])
def test_what_else_is_asked_for_changes_no_gradient(device, name):
    """Where little is asked for, kernels leave out what nobody asks for, and may go another way."""
    count, is_list = _wishes(name)
    op, arguments = call(name, Inputs(T=17, shape=(2, 700), device=device))
    given = arguments[-1] if is_list else arguments[-count:]

    def gradients(needs):
        return run_on_copies(op, (*arguments[:-1], list(needs)) if is_list else (*arguments[:-count], *map(bool, needs)))

    everything = gradients([1] * len(given))
    for needs in ([0] * len(given), *([int(k == one) for k in range(len(given))] for one in range(len(given)))):
        found = gradients(needs)
        asked_for = (True,) * (len(found) - len(given)) + tuple(map(bool, needs))
        for gradient, of_all, is_asked_for in zip(found, everything, asked_for, strict=True):
            assert torch.equal(gradient, of_all) if is_asked_for else gradient.numel() == 0


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads by Linux's /proc")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one CPU")
def test_work_is_shared_among_threads(threads):
    """Looks at the CPU time of each thread, not at the clock: more than one must have worked."""
    threads(2)
    x = torch.rand(20, 200_000)
    before, end = cpu_ticks(), time.monotonic() + 10
    while time.monotonic() < end:
        SF.lif(x, 0.9)
        worked = sum(ticks - before.get(thread, 0) >= 5 for thread, ticks in cpu_ticks().items())
        if worked >= 2:
            return
    pytest.fail("one thread did all the work")


def cpu_ticks():
    """User CPU time of each thread of this process, in clock ticks (usually 10 ms)."""
    found = {}
    for stat in Path("/proc/self/task").glob("*/stat"):
        fields = stat.read_text().rpartition(")")[2].split()
        found[stat.parent.name] = int(fields[11])
    return found
