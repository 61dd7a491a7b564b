"""What training programs do with networks besides calling them: checkpointing, autocast, copies, threads, processes."""

import copy
import io
import multiprocessing
import os
import pickle
import subprocess
import threading
from pathlib import Path

import pytest
import python_code
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transform_tests import processes
from transform_tests.calls import CALLS, MODULES, WORKS, as_tuple, loss

import spikeops
import spikeops.nn as snn

HELPERS = Path(processes.__file__).parents[1]


def leaves(call, dtype=torch.float64):
    return tuple(tensor.requires_grad_() for tensor in call.tensors(dtype))


def run(function, tensors):
    torch.manual_seed(0)
    return as_tuple(function(*tensors))


def equal(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        assert torch.equal(a, e)


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.gradient == WORKS or "Ring" in name])
def test_checkpoint(name, use_reentrant):
    call = CALLS[name]
    gradients = []
    for function in (call.make(), lambda *tensors, inner=call.make(): checkpoint(inner, *tensors, use_reentrant=use_reentrant)):
        given = leaves(call)
        loss(function)(*given).backward()
        gradients.append([tensor.grad for tensor in given])
    equal(*gradients)


@pytest.mark.parametrize("name", MODULES)
def test_autocast(name):
    """In bfloat16 on the CPU: matrix products are, and what neurons make of them is what the reference does."""
    call = CALLS[name]
    module, tensors = call.make(torch.float32), call.tensors(torch.float32)
    results = []
    for backend in ("auto", "reference"):
        given = [tensor.clone().requires_grad_(call.gradient == WORKS) for tensor in tensors]
        with spikeops.backend(backend), torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = run(copy.deepcopy(module), given)
        if call.gradient == WORKS:
            with spikeops.backend(backend):
                loss(tuple)(outputs).backward()
        results.append((*outputs, *(tensor.grad for tensor in given if tensor.grad is not None)))
    for a, e in zip(*results, strict=True):
        assert a.dtype == e.dtype
        torch.testing.assert_close(a, e, rtol=2e-2, atol=2e-2)  # bfloat16 has 8 bits


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "save"])
def test_copies(name, way):
    """Also of modules that have been used, and of what has been compiled and not."""
    call = CALLS[name]
    module, tensors = call.make(), call.tensors()
    expected = run(module, tensors)
    if way == "deepcopy":
        copied = copy.deepcopy(module)
    elif way == "pickle":
        copied = pickle.loads(pickle.dumps(module))
    else:
        torch.save(module.state_dict(), file := io.BytesIO())
        file.seek(0)
        copied = call.make()
        copied.load_state_dict(torch.load(file, weights_only=True))
    equal(run(copied, tensors), expected)


def test_threads():
    """Every op and module from four threads at once gives what it gives alone."""
    names = [name for name in CALLS if "poisson" not in name]
    functions = {name: CALLS[name].make() for name in names}
    expected = {name: as_tuple(functions[name](*CALLS[name].tensors())) for name in names}
    failed = []

    def work(order):
        for name in order:
            for actual, wanted in zip(as_tuple(functions[name](*CALLS[name].tensors())), expected[name]):
                if not torch.equal(actual, wanted):
                    failed.append(name)

    threads = [threading.Thread(target=work, args=(names[start:] + names[:start],)) for start in (0, 5, 10, 15)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes(method):
    """Workers of a DataLoader that call ops, after the parent has used its threads."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    # In a process of its own: torch refuses gradients in a fork of one whose autograd has used threads, as other tests make it.
    code = f"from transform_tests import processes; print(*processes.by_workers({method!r}))"
    path = os.pathsep.join(filter(None, (str(HELPERS), os.environ.get("PYTHONPATH"))))
    run = subprocess.run(python_code.command(code), env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    expected, *results = run.stdout.split()
    assert results == [expected, expected]


def test_two_processes_train_one_network():
    """DistributedDataParallel and FSDP on two processes: the gradients of the whole batch in one."""
    network = processes.network()
    x = processes.batch()
    network(x).square().mean().backward()
    expected = [parameter.grad for parameter in network.parameters()]
    for kind, gradients in processes.run_two("spawn").items():
        for actual, wanted in zip(gradients, expected, strict=True):
            torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-12, msg=lambda message, kind=kind: f"{kind}: {message}")


def test_hooks_and_functional_calls_see_the_neurons():
    network = nn.Sequential(snn.LIF(0.9), snn.TSSLBP())
    seen = []
    for module in network:
        module.register_forward_hook(lambda module, inputs, output: seen.append(type(module).__name__))
        module.register_full_backward_hook(lambda module, inputs, outputs: seen.append(type(module).__name__))
    network(torch.rand(4, 3, requires_grad=True)).sum().backward()
    assert seen == ["LIF", "TSSLBP", "TSSLBP", "LIF"]
