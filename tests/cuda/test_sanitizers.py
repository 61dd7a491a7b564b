"""AddressSanitizer and UBSan see through the host stand-in: faults are reported, right kernels are clean."""

import ast
import json

import pytest
from host_cuda import sanitized


@pytest.fixture(scope="module")
def run():
    directory = sanitized.MODULE_DIR
    if not list(directory.glob("spikeops_testing*.so")):
        pytest.skip(f"no sanitized spikeops_testing in {directory} (SPIKEOPS_TESTING_SANITIZE=ON)")
    return sanitized.run


FAULTS = {
    "global_overrun(np.zeros(64, np.float32), 64, 1)": "AddressSanitizer: heap-buffer-overflow",
    "global_overrun(np.zeros(64, np.float32), 64, -1)": "AddressSanitizer: heap-buffer-overflow",
    "global_overrun(torch.zeros(64).numpy(), 64, 1)": "AddressSanitizer: heap-buffer-overflow",
    "static_shared_overrun(np.zeros(128, np.float32), 1)": "AddressSanitizer: global-buffer-overflow",
    "dynamic_shared_overrun(np.zeros(128, np.float32), 1)": "AddressSanitizer: heap-buffer-overflow",
    "copy_float4(np.zeros(17, np.float32)[1:], np.zeros(16, np.float32))": "misaligned address",
}


@pytest.fixture(scope="module")
def faulty(run):
    """{call: (what it wrote to stderr, whether it was the end of its process)}: of processes that one forks, which has imported PyTorch."""
    calls = "".join(f"    {call!r}: lambda: kernels.shim.{call},\n" for call in FAULTS)
    result = run(f"calls = {{\n{calls}}}" + """
import json, os, tempfile
ended = {}
for name, call in calls.items():
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.dup2(errors.fileno(), 2)
            call()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        errors.seek(0)
        ended[name] = errors.read().decode(errors="replace"), status != 0
print(json.dumps(ended))
""")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("call", FAULTS)
def test_faults_are_reported(faulty, call):
    written, was_the_end = faulty[call]
    assert was_the_end and FAULTS[call] in written, written


def test_right_kernels_and_thrown_faults_are_clean(run):
    result = run("""
shim, zeros = kernels.shim, lambda n: np.zeros(n, np.float32)
for order in ("forward", "reverse", "shuffled"):
    kernels.set_thread_order(order)
    shim.global_overrun(zeros(64), 64, 0)
    shim.static_shared_overrun(zeros(128), 0)
    shim.dynamic_shared_overrun(zeros(128), 0)
    shim.copy_float4(zeros(16), zeros(16))
    shim.block_sum(zeros(512), zeros(4), 4, 128)
    try:
        shim.divergent_barrier(zeros(64))
    except kernels.KernelFault:
        print("fault", order)
""")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["fault", "forward", "fault", "reverse", "fault", "shuffled"]


def test_kernels_are_clean(run):
    result = run("from host_cuda import short_list\nprint(short_list.run())")
    assert result.returncode == 0, result.stderr[-5000:]
    agreed = ast.literal_eval(result.stdout)  # number of calls of each op whose results are those of the CPU kernels
    assert len(agreed) > 15 and min(agreed.values()) >= 6, agreed
