"""``with spikeops.backend(...)`` is for the thread, and the asyncio task, that is in the block; compiled code and backward passes too."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import _backend, reference


@pytest.fixture(autouse=True)
def restored():
    before = _backend._default
    torch.compiler.reset()
    yield
    _backend._default = before
    assert _backend._blocks.get() == () and not _backend._traced, "a block was left open"


def in_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_a_block_is_for_its_thread():
    with spikeops.backend("reference"):
        assert in_thread(_backend.chosen) == "auto"
        assert _backend.chosen() == "reference"


def test_two_threads_in_blocks_of_their_own():
    both_inside, found = threading.Barrier(2), {}

    def work(name):
        with spikeops.backend(name):
            both_inside.wait(10)
            found[name] = _backend.chosen()
            both_inside.wait(10)
        found[name, "after"] = _backend.chosen()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("reference", "native")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"reference": "reference", "native": "native", ("reference", "after"): "auto", ("native", "after"): "auto"}


def test_one_context_manager_shared_and_nested():
    shared = spikeops.backend("reference")
    with shared:
        with spikeops.backend("native"):
            with shared:
                assert _backend.chosen() == "reference"
            assert _backend.chosen() == "native"
        assert _backend.chosen() == "reference"
    assert _backend.chosen() == "auto"


def test_set_backend_is_for_all_threads_but_those_in_blocks():
    entered, go_on, found = threading.Event(), threading.Event(), []

    def work():
        with spikeops.backend("native"):
            entered.set()
            go_on.wait(10)
            found.append(_backend.chosen())
        found.append(_backend.chosen())

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait(10)
    spikeops.set_backend("reference")
    go_on.set()
    thread.join()
    assert found == ["native", "reference"] and in_thread(_backend.chosen) == "reference"


def test_set_backend_in_a_block_ends_with_it():
    with spikeops.backend("native"):
        spikeops.set_backend("reference")
        assert _backend.chosen() == "reference"
        assert in_thread(_backend.chosen) == "auto"
    assert _backend.chosen() == "auto"


def test_tasks_that_take_turns():
    async def work(name):
        found = []
        with spikeops.backend(name):
            for _ in range(3):
                await asyncio.sleep(0)
                found.append(_backend.chosen())
        return found

    async def both():
        with spikeops.backend("auto"):
            return await asyncio.gather(work("reference"), work("native"))

    assert asyncio.run(both()) == [["reference"] * 3, ["native"] * 3]


class Encoded(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        with spikeops.backend("reference"):
            return SF.latency_encode(torch.tensor([0.5]), 3), _backend.chosen()


def test_workers_of_a_data_loader():
    with spikeops.backend("native"):
        loader = torch.utils.data.DataLoader(Encoded(), batch_size=2, num_workers=1)
        for _, names in loader:
            assert set(names) == {"reference"} and _backend.chosen() == "native"


# --- compiled code ----------------------------------------------------------------------------------------------------------


def inside_and_after(x):
    with spikeops.backend("reference"):
        spikes = SF.lif(x)[0]
        inner = _backend.chosen()
        with spikeops.backend("native"):
            innermost = _backend.chosen()
            spikeops.set_backend("auto")
            changed = _backend.chosen()
    return spikes, inner, innermost, changed, _backend.chosen()


def test_blocks_in_compiled_code():
    compiled, x = torch.compile(inside_and_after, fullgraph=True, backend="aot_eager"), torch.rand(4, 3)
    assert compiled(x)[1:] == ("reference", "native", "auto", "auto")
    with spikeops.backend("native"):
        assert compiled(x)[1:] == ("reference", "native", "auto", "native")


def test_compiled_code_is_compiled_again_for_another_choice():
    compiled, x = torch.compile(lambda x: (SF.lif(x)[0], _backend.chosen()), fullgraph=True, backend="aot_eager"), torch.rand(4, 3)
    assert compiled(x)[1] == "auto"
    with spikeops.backend("reference"):
        assert compiled(x)[1] == "reference"
        assert in_thread(lambda: compiled(x)[1]) == "auto"
    assert compiled(x)[1] == "auto"
    spikeops.set_backend("native")
    assert compiled(x)[1] == "native"


def test_a_graph_break_inside_a_block():
    def broken(x):
        with spikeops.backend("reference"):
            y = SF.lif(x)[0]
            torch._dynamo.graph_break()
            return y, _backend.chosen()

    assert torch.compile(broken, backend="aot_eager")(torch.rand(4, 3))[1] == "reference"
    assert _backend.chosen() == "auto"


# --- backward passes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ide", "spide"])
@pytest.mark.parametrize("in_another_thread", [False, True])
def test_a_ring_goes_back_on_the_backend_of_its_forward_pass(method, in_another_thread, monkeypatch):
    """On GPUs backward passes run in threads of autograd's own."""
    used = set()
    monkeypatch.setattr(reference, "ternary_step_", lambda *_, **__: used.add("ternary_step_"))
    torch.manual_seed(0)
    ring = snn.FeedbackRing([], torch.nn.Linear(6, 6), torch.nn.Linear(5, 6), method=method, time_steps=5, backward_time_steps=4)
    monkeypatch.setattr(type(ring.graphs), "run", lambda self, work, *args: used.add(_backend.chosen()) or work.run(*args))
    with spikeops.backend("reference"):
        loss = ring(torch.rand(3, 5)).sum()
    assert used == {"reference"}
    used.clear()
    if in_another_thread:
        in_thread(loss.backward)
    else:
        loss.backward()
    assert used == ({"reference", "ternary_step_"} if method == "spide" else {"reference"})


OPS = {
    "lif": lambda x: SF.lif(x, 0.9)[0],
    "lif_rate": lambda x: SF.lif_rate(x, 0.9),
    "tssl_bp": lambda x: SF.tssl_bp(x),
    "synaptic_filter": lambda x: SF.synaptic_filter(x, 3.0),
    "spike_count": lambda x: SF.spike_count(x),
    "spike_conv2d": lambda x: SF.spike_conv2d(x[None], x[None]),
    "avg_pool2d": lambda x: SF.avg_pool2d(x[None], 2),
    "spike_linear": lambda x: SF.spike_linear(x, x[0]),
}


@pytest.mark.parametrize("forward, backward", [("native", "reference"), ("reference", "native")])
@pytest.mark.parametrize("op", OPS)
def test_gradients_do_not_depend_on_the_choice_at_the_backward_pass(op, forward, backward):
    def gradient(choice_at_backward):
        x = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
        with spikeops.backend(forward):
            loss = OPS[op](x).square().sum()
        with spikeops.backend(choice_at_backward):
            loss.backward()
        return x.grad

    assert torch.equal(gradient(backward), gradient(forward))
