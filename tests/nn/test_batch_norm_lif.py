"""The module BatchNormLIF beside torch's batch norms with LIF behind them."""

import copy

import pytest
import torch
from torch import nn

import spikeops.nn as snn
from spikeops.surrogate import Sigmoid

SHAPES = {nn.BatchNorm1d: (5, 4, 3), nn.BatchNorm2d: (5, 4, 3, 6, 7)}
NEURONS = dict(decay=0.7, threshold=0.8, reset="to", surrogate=Sigmoid(3.0))


def batches(shape, count=3):
    draw = torch.Generator().manual_seed(2)
    for place in range(count):
        yield torch.randn(shape, generator=draw, dtype=torch.float64) * (1 + place) + place


def pair(kind, **options):
    """(torch's, ours), with the same parameters."""
    torch.manual_seed(0)
    apart = nn.Sequential(snn.TimeDistributed(kind(3, **options)), snn.LIF(**NEURONS)).double()
    together = snn.BatchNormLIF(3, **options, **NEURONS).double()
    if options.get("affine", True):
        with torch.no_grad():
            apart[0].module.weight.uniform_(0.5, 2)
            apart[0].module.bias.uniform_(-0.5, 0.5)
    together.load_state_dict(apart[0].module.state_dict())
    return apart, together


@pytest.mark.parametrize("options", [
    {}, {"momentum": None}, {"momentum": 0.3, "eps": 0.01}, {"affine": False}, {"track_running_stats": False},
    {"affine": False, "track_running_stats": False},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("kind", SHAPES, ids=lambda kind: kind.__name__)
def test_it_is_torchs_module_with_lif_behind(kind, options):
    """In training, batch after batch, and with the statistics that are left; buffers as well."""
    apart, together = pair(kind, **options)
    for training in (True, False):
        apart.train(training)
        together.train(training)
        for x in batches(SHAPES[kind]):
            leaves = [x.clone().requires_grad_() for _ in range(2)]
            actual, expected = together(leaves[0]), apart(leaves[1])
            assert torch.equal(actual, expected)
            actual.cos().sum().backward()
            expected.cos().sum().backward()
            torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=1e-10, atol=1e-12)
        ours, theirs = together.state_dict(), apart[0].module.state_dict()
        assert list(ours) == list(theirs)
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-12, atol=1e-12)
    for a, e in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(a.grad, e.grad, rtol=1e-10, atol=1e-10)


def by_compiler(module, x):
    torch._dynamo.reset()
    return torch.compile(module, backend="aot_eager", fullgraph=True)


def by_export(module, x):
    return torch.export.export(module, (x,)).module()


def by_trace(module, x):
    return torch.jit.trace(module, x, check_trace=False)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("graph_of", [by_compiler, by_export, by_trace], ids=lambda f: f.__name__)
def test_statistics_move_in_graphs_as_in_eager_code(graph_of, momentum):
    """Batch after batch: what depends on how many there were so far is no constant of a graph. In float64, and as exact."""
    module = nn.Sequential(snn.BatchNormLIF(3, momentum=momentum)).double()
    graph = graph_of(copy.deepcopy(module), next(batches((5, 4, 3))))
    if graph_of is by_trace:  # which is made by a call, and that has been counted
        for name, value in graph.named_buffers():
            value.copy_(module.get_buffer(name))
    for x in batches((5, 4, 3), 4):
        assert torch.equal(graph(x), module(x))
    found = {name.removeprefix("_orig_mod."): value for name, value in graph.named_buffers()}
    for name, value in module.named_buffers():
        torch.testing.assert_close(found[name], value, rtol=1e-14, atol=1e-14)


def test_buffers_are_left_alone_without_track_running_stats():
    """As torch does with a module whose flag is set later."""
    apart, together = pair(nn.BatchNorm1d)
    for module in (apart[0].module, together):
        module.track_running_stats = False
    x = next(batches(SHAPES[nn.BatchNorm1d]))
    before = copy.deepcopy(together.state_dict())
    assert torch.equal(together(x), apart(x))
    for name, value in together.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_state_goes_in_and_out():
    module = snn.BatchNormLIF(3, return_state=True).eval()
    x = 2 * torch.rand(6, 4, 3)
    spikes, v_last = module(x)
    first, v = module(x[:2])
    second, v = module(x[2:], v)
    assert torch.equal(torch.cat((first, second)), spikes) and torch.equal(v, v_last)
    module.return_state = False
    assert torch.equal(module(x), spikes)


def test_it_keeps_the_output_of_the_convolution_alone():
    """And two numbers of each channel, where batch norm and LIF keep both their inputs."""
    x = torch.rand(4, 2, 3, 8, 8, requires_grad=True)

    def kept(module):
        found = {}

        def note(tensor):
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            module(x)
        return sum(found.values())

    numbers = 4 * 4 * 3  # mean, inverse deviation, weight and bias of 3 channels
    assert kept(snn.BatchNormLIF(3)) == x.nbytes + numbers
    assert kept(nn.Sequential(snn.TimeDistributed(nn.BatchNorm2d(3)), snn.LIF())) >= 2 * x.nbytes


def test_torchs_conversion_does_not_take_it_for_a_batch_norm():
    """It would put a batch norm without neurons in its place."""
    module = nn.Sequential(snn.BatchNormLIF(3))
    assert type(nn.SyncBatchNorm.convert_sync_batchnorm(module)[0]) is snn.BatchNormLIF


@pytest.mark.parametrize("given, error, words", [
    (dict(num_features=0), ValueError, "expected num_features to be at least 1, got 0."),
    (dict(num_features=3.0), TypeError, "expected num_features to be an int, got float."),
    (dict(affine=1), TypeError, "expected affine to be True or False, got 1."),
    (dict(track_running_stats=None), TypeError, "expected track_running_stats to be True or False, got None."),
    (dict(synchronized="yes"), TypeError, "expected synchronized to be True or False, got 'yes'."),
    (dict(momentum=2), ValueError, "expected momentum, the weight of new statistics in the running ones, to be between 0 and 1, got 2."),
    (dict(eps=-1.0), ValueError, "expected eps to be 0 or above, got -1.0."),
    (dict(decay=torch.ones(3)), TypeError, "expected decay to be a number, got Tensor."),
    (dict(threshold=torch.ones(3)), TypeError, "expected threshold to be a number, got Tensor."),
    (dict(reset="zero"), ValueError, "expected reset to be one of"),
], ids=str)  # fmt: skip
def test_bad_arguments(given, error, words):
    with pytest.raises(error, match=f"BatchNormLIF: {words}"):
        snn.BatchNormLIF(**{"num_features": 3, **given})


def test_one_value_per_channel_in_training():
    module = snn.BatchNormLIF(3)
    with pytest.raises(ValueError, match="expected more than one value per channel when training, got 1"):
        module(torch.ones(1, 1, 3))
    assert module.num_batches_tracked == 0, "a call that was refused has been counted"
    assert module.eval()(torch.ones(1, 1, 3)).shape == (1, 1, 3)
