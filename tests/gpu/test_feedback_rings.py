"""Feedback rings on a GPU: time loops replayed as CUDA graphs compute what they compute step by step, and what the CPU computes.
Solvers of the implicit gradient: test_implicit_gradient.py."""

import gc
import threading
import warnings

import pytest
import torch
from gpu_tests.captures import FAILURES, refuse, run_out_of_memory
from torch import nn

import spikeops
import spikeops.nn as snn
from spikeops import _graph_site
from spikeops.nn.feedback import cuda_graph
from spikeops.nn.feedback.time_loop import TimeLoop


def convolutional(method, mode, feedback=True):
    """Small numbers that floats hold exactly, so that every order of adding gives the same spikes."""

    def coarse(module):
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(torch.randint(-4, 5, p.shape) / 8)
        return module

    torch.manual_seed(1)
    layers = [coarse(nn.Conv2d(4, 6, 3, 2, 1)), nn.AvgPool2d(2)]
    back = coarse(nn.ConvTranspose2d(6, 4, 4, 4, bias=False)) if feedback else None
    return snn.FeedbackRing(layers, back, coarse(nn.Conv2d(1, 4, 3, padding=1)), method=method, time_steps=8, threshold=1.0,
                            dropout=0.5, backward_time_steps=12, cuda_graph=mode).cuda()  # fmt: skip


def image(batch, seed):
    draw = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 9, (batch, 1, 16, 16), generator=draw) / 8).cuda()


def training_steps(ring, batches):
    """Rates, and rates of the backward pass, of some steps with changing weights; and the last gradients."""
    torch.manual_seed(2)
    seen = []
    for step, batch in enumerate(batches):
        ring.zero_grad()
        rate = ring(image(batch, step))
        (rate * 8).sum().backward()
        seen += [rate.detach(), ring.last_forward_rates]
        if ring.last_backward_rates is not None:
            seen.append(ring.last_backward_rates)
        with torch.no_grad():
            for p in ring.parameters():
                p.add_(torch.randint(-1, 2, p.shape, device="cuda") / 8)
    return seen, [p.grad for p in ring.parameters()]


@pytest.fixture(autouse=True)
def exact_convolutions():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("mode", [True, "auto"])
@pytest.mark.parametrize("method, feedback", [("ide", True), ("spide", True), ("spide", False)])
def test_graphs_compute_the_same(method, feedback, mode):
    """Also when batch sizes alternate: what a replay has given is not touched by the next one."""
    batches = [4, 4, 3, 4, 3, 4]
    plain, plain_gradients = training_steps(convolutional(method, False, feedback), batches)
    captured, gradients = training_steps(convolutional(method, mode, feedback), batches)
    assert any(rate.any() for rate in plain)
    for a, b in zip(plain, captured, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(plain_gradients, gradients, strict=True):  # a convolution may sum up the gradient of its weight in any order
        assert (a - b).abs().max() <= 1e-4 * a.abs().max()


@pytest.fixture
def captures(monkeypatch):
    """The loops captured so far."""
    made, capture = [], cuda_graph.CapturedLoop
    monkeypatch.setattr(cuda_graph, "CapturedLoop", lambda loop, site: made.append(loop) or capture(loop, site))
    return made


def test_auto_captures_shapes_that_come_again(captures):
    ring = convolutional("spide", "auto").eval()
    with torch.no_grad():
        for batch, graphs in ((4, 0), (4, 1), (4, 1), (3, 1), (3, 2), (4, 2)):
            ring(image(batch, 0))
            assert len(captures) == graphs


@torch.no_grad()
def test_more_shapes_than_graphs(captures):
    ring, plain = convolutional("ide", True).eval(), convolutional("ide", False).eval()
    batches = range(1, cuda_graph.MAX_GRAPHS + 3)
    for step in range(3):
        for batch in batches:
            x = image(batch, 10 * step + batch)
            assert torch.equal(ring(x), plain(x))
    assert len(captures) == len(batches)


@torch.no_grad()
def test_another_backend_or_precision_has_another_graph(captures):
    ring, plain = convolutional("ide", True).eval(), convolutional("ide", False).eval()
    x, y = image(4, 0), image(4, 1)
    ring(x)
    with spikeops.backend("reference"):
        assert torch.equal(ring(y), plain(y))
    assert len(captures) == 2
    torch.backends.cudnn.allow_tf32 = True
    ring(x)
    assert len(captures) == 3
    torch.backends.cudnn.allow_tf32 = False
    assert torch.equal(ring(y), plain(y))
    assert len(captures) == 3


def test_a_graph_captured_in_inference_mode_serves_outside_of_it_too(captures):
    ring, plain = convolutional("ide", True).eval(), convolutional("ide", False).eval()
    for step, mode in enumerate((torch.inference_mode, torch.no_grad, torch.inference_mode)):
        with mode():
            assert torch.equal(ring(image(4, step)), plain(image(4, step)))
    assert len(captures) == 1


def graphs_of(ring):
    return [g for device in ring.graphs._devices.values() for captured in device._graphs.values() for g in captured._graphs]


def pool_bytes(pool):
    gc.collect()
    return sum(
        segment["total_size"] for segment in torch.cuda.memory_snapshot() if tuple(segment["segment_pool_id"]) == tuple(pool)
    )


@torch.no_grad()
def test_all_graphs_work_in_the_memory_of_one():
    layers = [nn.Linear(512, 512, bias=False), nn.Linear(512, 512, bias=False)]
    ring = snn.FeedbackRing(layers, None, nn.Identity(), method="ide", time_steps=8, threshold=1.0, cuda_graph=True).cuda().eval()
    sizes = []
    for batch in (2048, 2000, 1000):
        ring(torch.rand(batch, 512, device="cuda"))
        pools = {graph.pool() for graph in graphs_of(ring)}
        assert len(pools) == 1
        sizes.append(pool_bytes(*pools))
    assert sizes[0] >= 3 * 8 * 2048 * 512 * 4  # the spikes of three populations
    assert sizes[2] <= 1.3 * sizes[0], sizes


def test_streams_take_turns():
    """Batches large enough for the streams to overlap, and no wait of the host in between: what is differentiable reports later."""
    ring, plain = convolutional("ide", True).eval(), convolutional("ide", False).eval()
    inputs = [image((256, 192)[k // 2 % 2], k) for k in range(12)]
    expected = [plain(x).detach() for x in inputs]
    for x in inputs[:3]:
        ring(x)
    assert len(graphs_of(ring)) == 2
    streams = [torch.cuda.Stream(), torch.cuda.Stream()]
    torch.cuda.synchronize()
    outcomes = []
    for k, x in enumerate(inputs):
        with torch.cuda.stream(streams[k % 2]):
            outcomes.append(ring(x).detach())
    torch.cuda.synchronize()
    assert any(outcome.any() for outcome in outcomes)
    for outcome, value in zip(outcomes, expected):
        assert torch.equal(outcome, value)


def test_threads_take_turns():
    """Of four, two share a batch size; all of them capture."""
    ring, plain = convolutional("ide", "auto").eval(), convolutional("ide", False).eval()
    inputs = [[image(16 + 16 * (thread % 2), 10 * thread + k) for k in range(6)] for thread in range(4)]
    with torch.no_grad():
        expected = [[plain(x) for x in xs] for xs in inputs]
        ring(inputs[0][0])  # shapes
    torch.cuda.synchronize()
    outcomes, errors = [[] for _ in inputs], []

    @torch.no_grad()
    def work(thread):
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                outcomes[thread] += [ring(x) for x in inputs[thread]]
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.cuda.synchronize()
    assert not errors, errors
    for found, values in zip(outcomes, expected):
        assert len(found) == len(values) and all(torch.equal(a, b) for a, b in zip(found, values))


def failing_captures(monkeypatch, fail):
    """Loops of 3 samples cannot be captured."""
    run = TimeLoop.run

    def run_or_fail(loop, *args):
        outcome = run(loop, *args)
        if len(loop.current) == 3 and torch.cuda.is_current_stream_capturing():
            fail()
        return outcome

    monkeypatch.setattr(TimeLoop, "run", run_or_fail)


def check_that_all_is_well():
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.cuda.empty_cache()
    torch.rand(8, device="cuda").cpu()
    torch.empty(8).pin_memory()
    ring, plain = convolutional("spide", True).eval(), convolutional("spide", False).eval()
    for seed in range(2):
        assert torch.equal(ring(image(4, seed)), plain(image(4, seed)))


@pytest.mark.parametrize("fail", list(FAILURES))
@torch.no_grad()
def test_auto_says_why_it_does_not_capture_and_just_runs(monkeypatch, captures, fail):
    ring, plain = convolutional("ide", "auto").eval(), convolutional("ide", False).eval()
    failing_captures(monkeypatch, fail)
    for seed in range(2):
        assert torch.equal(ring(image(4, seed)), plain(image(4, seed)))
    assert torch.equal(ring(image(3, 0)), plain(image(3, 0)))
    with pytest.warns(RuntimeWarning, match=FAILURES[fail]):
        assert torch.equal(ring(image(3, 1)), plain(image(3, 1)))
    check_that_all_is_well()
    tries = len(captures)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for seed in range(3):
            assert torch.equal(ring(image(3, seed)), plain(image(3, seed)))
        assert len(captures) == tries
        for batch in (4, 5, 4, 5):
            for seed in range(2):
                assert torch.equal(ring(image(batch, seed)), plain(image(batch, seed)))
    del ring
    check_that_all_is_well()


@pytest.mark.parametrize("fail", list(FAILURES))
@torch.no_grad()
def test_true_raises_what_failed(monkeypatch, fail):
    ring, plain = convolutional("ide", True).eval(), convolutional("ide", False).eval()
    failing_captures(monkeypatch, fail)
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError if fail is run_out_of_memory else RuntimeError, match=FAILURES[fail]) as caught:
            ring(image(3, 0))
        assert "smaller batch, or cuda_graph=False." in str(caught.value)
    del caught
    for seed in range(2):
        assert torch.equal(ring(image(4, seed)), plain(image(4, seed)))
    check_that_all_is_well()


def test_a_backward_pass_that_cannot_be_captured_still_computes_its_gradients(monkeypatch):
    """It runs in a thread of autograd's."""
    plain, expected = training_steps(convolutional("spide", False), [3, 3, 3])
    failing_captures(monkeypatch, refuse)
    with pytest.warns(RuntimeWarning, match=FAILURES[refuse]):
        seen, gradients = training_steps(convolutional("spide", "auto"), [3, 3, 3])
    for a, b in zip(plain, seen, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(expected, gradients, strict=True):
        assert (a - b).abs().max() <= 1e-4 * a.abs().max()
    check_that_all_is_well()


WORK_SPACE = 32 << 20  # of cuBLAS, on Hopper


@pytest.mark.parametrize("method", ["ide", "spide"])
def test_a_ring_that_is_gone_gives_its_memory_back(method):
    gc.collect()
    sites = len(_graph_site._sites)
    ring = convolutional(method, True)
    training_steps(ring, [4, 4])
    (pool,) = {graph.pool() for graph in graphs_of(ring)}
    assert pool_bytes(pool) > 0 and len(_graph_site._sites) == sites + 1
    del ring
    gc.collect()
    torch.cuda.empty_cache()
    # IDE's solver multiplies matrices. What PyTorch 2.11 keeps for that on a stream stays, for whoever has the stream next.
    assert pool_bytes(pool) <= (WORK_SPACE if method == "ide" else 0) and len(_graph_site._sites) == sites


two_devices = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")


@two_devices
@torch.no_grad()
def test_two_devices():
    """The graphs of the second one hold its kernels, not none, whatever was captured before."""
    ring, plain = convolutional("ide", True).eval(), convolutional("ide", False).eval()
    for device in ("cuda:0", "cuda:1"):
        ring, plain = ring.to(device), plain.to(device)
        for seed in range(3):
            x = image(4, seed).to(device)
            assert torch.equal(ring(x), plain(x))


@two_devices
@torch.no_grad()
def test_replicas_on_two_devices():
    ring, plain = convolutional("ide", True).eval(), convolutional("ide", False).eval()
    replicas = nn.DataParallel(ring, [0, 1])
    for seed in range(4):
        x = image(8, seed)
        assert torch.equal(replicas(x), plain(x))
    assert len(graphs_of(ring)) == 2


def test_inside_a_graph_of_the_caller():
    ring = convolutional("spide", True).eval()
    x, y = image(4, 0), image(4, 1)
    with torch.no_grad():
        expected = ring(y)
        ring.graphs.mode = False
        ring(x)  # shapes and libraries
        ring.graphs.mode = True
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = ring(x)
        x.copy_(y)
        graph.replay()
        assert torch.equal(captured, expected)


@pytest.mark.parametrize("method, feedback", [("ide", True), ("spide", True), ("spide", False)])
def test_same_spikes_as_on_the_cpu(method, feedback):
    ring = convolutional(method, True, feedback).eval()
    x = image(4, 3)
    with torch.no_grad():
        on_gpu = ring(x)
        rates = ring.last_forward_rates
        on_cpu = ring.cpu()
        with spikeops.backend("native"):
            assert torch.equal(on_gpu.cpu(), on_cpu(x.cpu()))
        torch.testing.assert_close(rates.cpu(), on_cpu.last_forward_rates)
