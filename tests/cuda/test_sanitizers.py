"""AddressSanitizer and UBSan see through the host stand-in: faults are reported, right kernels are clean."""

import ast

import pytest
from host_cuda import sanitized


@pytest.fixture(scope="module")
def run():
    directory = sanitized.MODULE_DIR
    if not list(directory.glob("spikeops_testing*.so")):
        pytest.skip(f"no sanitized spikeops_testing in {directory} (SPIKEOPS_TESTING_SANITIZE=ON)")
    return sanitized.run


@pytest.mark.parametrize(
    ("call", "report"),
    [
        ("global_overrun(np.zeros(64, np.float32), 64, 1)", "AddressSanitizer: heap-buffer-overflow"),
        ("global_overrun(np.zeros(64, np.float32), 64, -1)", "AddressSanitizer: heap-buffer-overflow"),
        ("global_overrun(torch.zeros(64).numpy(), 64, 1)", "AddressSanitizer: heap-buffer-overflow"),
        ("static_shared_overrun(np.zeros(128, np.float32), 1)", "AddressSanitizer: global-buffer-overflow"),
        ("dynamic_shared_overrun(np.zeros(128, np.float32), 1)", "AddressSanitizer: heap-buffer-overflow"),
        ("copy_float4(np.zeros(17, np.float32)[1:], np.zeros(16, np.float32))", "misaligned address"),
    ],
)
def test_faults_are_reported(run, call, report):
    result = run(f"kernels.shim.{call}\nprint('survived')")
    assert result.returncode != 0, result.stdout
    assert report in result.stderr, result.stderr
    assert "survived" not in result.stdout


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
    assert len(agreed) > 15 and min(agreed.values()) >= 24, agreed
