"""The CPU kernels, and the CUDA kernels on the host, touch nothing outside the tensors that they are given."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[1] / "helpers"
TESTING_DIR = Path(os.environ.get("SPIKEOPS_TESTING_DIR", Path(__file__).parents[2] / "build" / "testing"))

# One neuron; less and more than the vectors of a row; more than a tile. Steps that fill words and segments, and one more.
CASES = """[
    dict(T=1, shape=(1,), dtype=torch.float64), dict(T=17, shape=(67,), dtype=torch.float32), dict(T=3, shape=(1031,), dtype=torch.float16),
    dict(T=16, shape=(2, 3, 5, 7), dtype=torch.bfloat16, layout="channels_last"),
]"""
SCRIPT = f"""
import sys
sys.path[:0] = {[str(HELPERS)]!r}
import torch
from op_tests.guarded import guarded, run_all
from op_tests.op_calls import CALLS
"""

pytestmark = [
    pytest.mark.usefixtures("native"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is guarded by mprotect"),
]


def run(script, folder):
    """Away from the sources, in whose folder the package would be found without its libraries."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", SCRIPT + script], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("at_the_end, offset", [(True, 4096), (False, -4)], ids=["behind", "in front"])
def test_the_guards_end_a_process(tmp_path, at_the_end, offset):
    """Whatever reads or writes there."""
    script = f"""
import ctypes
tensor = guarded(torch.zeros(1024), {at_the_end})
print("begin", flush=True)
ctypes.string_at(tensor.data_ptr() + {offset}, 4)
print("survived")
"""
    result = run(script, tmp_path)
    assert result.returncode < 0 and result.stdout == "begin\n", result


def test_cpu_kernels(tmp_path):
    result = run(f"import spikeops; run_all(torch.ops.spikeops, CALLS, {CASES})", tmp_path)
    assert result.returncode == 0, f"{result.stdout[-300:]}\n{result.stderr[-2000:]}"
    assert result.stdout.count("guard behind") == 4 * len(_calls())


def test_cuda_kernels_on_the_host(tmp_path):
    if not list(TESTING_DIR.glob("spikeops_testing*.so")):
        pytest.skip(f"spikeops_testing is not built in {TESTING_DIR} (SPIKEOPS_BUILD_TESTING=ON, SPIKEOPS_TESTING_DIR)")
    # Kernels whose threads wait for each other are slow here.
    script = f"""
sys.path.insert(0, {str(TESTING_DIR)!r})
import spikeops_testing
from host_cuda.calls import WAITING
calls = {{name: build for name, build in CALLS.items() if hasattr(torch.ops.spikeops_testing_cuda, build(Inputs(T=2, shape=(3,)))[0])}}
waiting = {{name: build for name, build in calls.items() if name.partition("/")[0] in WAITING}}
run_all(torch.ops.spikeops_testing_cuda, {{name: build for name, build in calls.items() if name not in waiting}}, {CASES})
run_all(torch.ops.spikeops_testing_cuda, waiting, [dict(T=3, shape=(2, 5), dtype=torch.float32), dict(T=2, shape=(3, 4), dtype=torch.float64)])
"""
    result = run("from op_tests.inputs import Inputs\n" + script, tmp_path)
    assert result.returncode == 0, f"{result.stdout[-300:]}\n{result.stderr[-2000:]}"
    assert result.stdout.count("guard behind") > 60


def _calls():
    from op_tests.op_calls import CALLS

    return CALLS
