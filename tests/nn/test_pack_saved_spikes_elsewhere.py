"""``with spikeops.pack_saved_spikes()`` beside other tools of autograd, in threads and in compiled code."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from op_tests.saved import saved_bytes, saved_tensors
from torch import nn
from torch.utils.checkpoint import checkpoint

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn
from spikeops.functional import _provenance

DRAW = torch.Generator().manual_seed(1)
X = 1.2 * torch.rand(5, 4, 12, generator=DRAW)


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert torch._C._autograd._top_saved_tensors_default_hooks(False) is None, "hooks were left behind"
    assert _provenance._of_thread.depth == 0, "a block was left open"


def packed(function):
    def inside(*arguments):
        with spikeops.pack_saved_spikes():
            return function(*arguments)

    return inside


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 10), nn.Tanh(), snn.LIF(0.9), nn.Linear(10, 8), snn.LIF(0.8), nn.Linear(8, 4), nn.Tanh())


def gradients(net, forward, backward=lambda loss: loss.backward()):
    net.zero_grad(set_to_none=True)
    x = X.clone().requires_grad_()
    backward(forward(x).square().sum())
    return [x.grad, *(parameter.grad for parameter in net.parameters())]


def assert_same(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        assert torch.equal(a, e)


def bits(tensors):
    return sum(tensor.dtype == torch.uint16 for tensor in tensors)


# --- autograd ---------------------------------------------------------------------------------------------------------------


def write_to_spikes(x, weight):
    spikes = SF.lif(x)[0]
    output = F.linear(spikes, weight)
    spikes.detach()[0].mul_(2)
    return output


def write_to_a_view(x, weight):
    spikes = SF.lif(x)[0].flatten(0, 1)
    output = F.linear(spikes, weight)
    spikes.detach().unflatten(0, (5, 4))[1:].zero_()
    return output


def write_to_a_copy(x, weight):
    spikes = SF.lif(x)[0].double()
    output = F.linear(spikes, weight.double())
    spikes.detach().add_(1)
    return output


def write_to_a_weight(x, weight):
    output = F.linear(SF.lif(x)[0], weight)
    weight.detach().add_(1)
    return output


def write_to_something_else(x, weight):
    output = (x * weight[0]).exp()
    output.add_(1)
    return output


@pytest.mark.parametrize("write", [write_to_spikes, write_to_a_view, write_to_a_copy, write_to_a_weight, write_to_something_else])
@pytest.mark.parametrize("forward", [lambda f: f, packed], ids=["without", "packed"])
def test_writing_to_what_is_kept_is_an_error_as_ever(write, forward):
    weight = torch.rand(12, 12, generator=DRAW).requires_grad_()
    output = forward(write)(X.clone().requires_grad_(), weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation.* is at version 1; expected version 0 instead"):
        output.sum().backward()


def test_spikes_that_change_between_two_that_keep_them():
    """In a way that autograd does not count."""

    def forward(x, weight, change):
        spikes = SF.lif(x)[0]
        first = F.linear(spikes, weight)
        change(spikes)
        return (first + F.linear(spikes, weight)).sum()

    def other_spikes(spikes):
        spikes.data.copy_(1 - spikes.data)

    def no_spikes(spikes):
        spikes.data.mul_(0.5)

    for change in (other_spikes, no_spikes):
        weight = torch.rand(12, 12, generator=DRAW).requires_grad_()
        spikes = SF.lif(X)[0]
        changed = spikes.clone()
        change(changed)
        packed(forward)(X, weight, change).backward()
        torch.testing.assert_close(weight.grad[0], (spikes + changed).sum((0, 1)))


def test_two_backward_passes():
    net = network()

    def twice(loss):
        loss.backward(retain_graph=True)
        loss.backward()
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward()

    assert_same(gradients(net, packed(net), twice), gradients(net, net, twice))


def test_gradients_of_gradients():
    net = network()

    def penalty(loss):
        grads = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
        sum(grad.square().sum() for grad in grads).backward()

    assert_same(gradients(net, packed(net), penalty), gradients(net, net, penalty))


def test_an_error_in_the_block_closes_it():
    with pytest.raises(ZeroDivisionError), spikeops.pack_saved_spikes():
        1 / 0


def test_one_context_manager_shared_and_nested():
    net, shared = network(), spikeops.pack_saved_spikes()

    def forward(x):
        with shared, spikeops.pack_saved_spikes(), shared:
            return net(x)

    assert_same(gradients(net, forward), gradients(net, net))
    assert saved_bytes(forward, X) == saved_bytes(packed(net), X)


def test_hooks_around_the_block_get_bits_and_all_else():
    net, sent = network(), []

    def send(tensor):
        sent.append(tensor)
        return tensor.clone()

    def forward(x):
        with torch.autograd.graph.saved_tensors_hooks(send, lambda tensor: tensor):
            return packed(net)(x)

    expected = gradients(net, net)
    assert_same(gradients(net, forward), expected)
    assert bits(sent) == 2 and len(sent) > 6


@pytest.mark.parametrize("order", ["around", "inside"])
def test_save_on_cpu(order):
    net = network()

    def forward(x):
        blocks = [torch.autograd.graph.save_on_cpu(), spikeops.pack_saved_spikes()]
        first, second = blocks if order == "around" else blocks[::-1]
        with first, second:
            return net(x)

    assert_same(gradients(net, forward), gradients(net, net))


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("order", ["around", "inside"])
def test_checkpoint_of_torch(order, use_reentrant):
    net = network()

    def forward(x):
        if order == "around":
            return packed(lambda x: checkpoint(net[3:], net[:3](x), use_reentrant=use_reentrant))(x)
        return checkpoint(packed(net[3:]), net[:3](x), use_reentrant=use_reentrant)

    assert_same(gradients(net, forward), gradients(net, net))
    if order == "around" and not use_reentrant:
        assert bits(saved_tensors(forward, X)[1]) == 1, "the input of the block is kept as it is"


def test_hooks_that_are_disabled_are_disabled():
    with torch.autograd.graph.disable_saved_tensors_hooks("not here"), pytest.raises(RuntimeError, match="not here"):
        packed(network())(X)


def test_transforms():
    """torch.func.grad refuses hooks of saved tensors, by its own words; vmap does not mind."""
    net = network()
    with pytest.raises(RuntimeError, match="saved tensor hooks"):
        torch.func.grad(packed(lambda x: net(x).sum()))(X)
    with spikeops.pack_saved_spikes(), pytest.raises(RuntimeError, match="saved tensor hooks"):
        torch.func.grad(lambda x: net(x).sum())(X)
    assert_same(gradients(net, packed(torch.vmap(net, 1, 1))), gradients(net, torch.vmap(net, 1, 1)))


# --- threads ----------------------------------------------------------------------------------------------------------------


def test_a_block_is_for_its_thread():
    net, inside, done, found = network(), threading.Event(), threading.Event(), []

    def work():
        inside.wait(10)
        found.append(bits(saved_tensors(net, X)[1]))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    with spikeops.pack_saved_spikes():
        inside.set()
        done.wait(10)
    thread.join()
    assert found == [0]


def test_four_threads_at_once():
    expected = gradients(net := network(), net)
    barrier = threading.Barrier(4)

    def work(own):
        barrier.wait(10)
        return [gradients(own, packed(own)) for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(work, [network() for _ in range(4)]):  # made one by one: they are drawn by one generator
            for result in results:
                assert_same(result, expected)


def test_the_way_back_in_another_thread():
    """On the backend of the way there, whichever is chosen then."""
    net = network()

    def elsewhere(loss):
        with ThreadPoolExecutor(1) as pool, spikeops.backend("reference"):
            pool.submit(loss.backward).result()

    assert_same(gradients(net, packed(net), elsewhere), gradients(net, net))


# --- compiled code ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def compiled():
    torch.compiler.reset()
    yield lambda function, **options: torch.compile(function, backend="aot_eager", **options)
    torch.compiler.reset()


def test_a_block_in_compiled_code_changes_nothing(compiled):
    net = network()
    assert_same(gradients(net, compiled(packed(net), fullgraph=True)), gradients(net, net))


def test_a_block_around_compiled_code(compiled):
    """What the compiled code keeps of its own is kept as it is, the spikes that come from outside as bits."""
    net = network()
    rest = compiled(net[3:], fullgraph=True)

    def forward(x):
        return rest(net[:3](x))

    for _ in range(2):
        assert_same(gradients(net, packed(forward)), gradients(net, net))
        assert_same(gradients(net, forward), gradients(net, net))
    assert bits(saved_tensors(packed(forward), X)[1]) == 1


def test_a_graph_break_in_a_block(compiled):
    net = network()

    def forward(x):
        with spikeops.pack_saved_spikes():
            spikes = net[:3](x)
            torch._dynamo.graph_break()
            return net[3:](spikes)

    assert_same(gradients(net, compiled(forward)), gradients(net, net))
