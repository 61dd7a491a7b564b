"""Operations of networks in code: counted by hooks, against counts by hand and by the notation's own arithmetic."""

import math

import pytest
import torch
from torch import nn

from spikeops import nn as snn
from spiketrain import methods
from spiketrain.methods.base import operations
from spiketrain.methods.base.activity import LayerOperations
from spiketrain.methods.base.operations import Uncountable, count
from spiketrain.models.layers import MeanOverSpace, SumPool2d
from spiketrain.reports import energy, rates, tables

T, N = 4, 3


def spikes(*shape, share=0.3, seed=0):
    return (torch.rand(T, N, *shape, generator=torch.Generator().manual_seed(seed)) < share).float()


def counted(network, inputs, neurons=(), is_image=False):
    with torch.inference_mode():
        return {layer.name: layer for layer in count(network, list(neurons), inputs, T, lambda: network(inputs), is_image=is_image)}


def only(network, inputs, **options):
    (layer,) = counted(network, inputs, **options).values()
    return layer


def ways_by_hand(module, x):
    """How often a weight meets a spike: each output sums the spikes it sees, over all of its weights."""
    twin = type(module)(
        module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding, groups=module.groups, bias=False,
        dilation=module.dilation,
        **({"output_padding": module.output_padding} if "Transpose" in type(module).__name__ else {"padding_mode": module.padding_mode}),
    )  # fmt: skip
    nn.init.ones_(twin.weight)
    return twin.double()(x.double()).sum().item()


CONVOLUTIONS = {
    "plain": (nn.Conv2d(2, 5, 3, padding=1), (2, 6, 6)),
    "stride": (nn.Conv2d(2, 5, 3, stride=2, padding=1), (2, 7, 6)),
    "dilated": (nn.Conv2d(2, 4, 3, dilation=2), (2, 8, 8)),
    "groups": (nn.Conv2d(4, 8, 3, groups=2), (4, 6, 6)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4, padding="same"), (4, 6, 6)),
    "circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 5, 5)),
    "of spikes": (snn.SpikeConv2d(2, 5, 3, padding=1), (2, 6, 6)),
    "over time": (nn.Conv1d(3, 6, 5, padding=2), (3, 20)),
    "in space": (nn.Conv3d(1, 2, 3), (1, 5, 5, 5)),
    "transposed": (nn.ConvTranspose2d(2, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 5, 5)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_each_spike_takes_its_own_ways(case):
    module, shape = CONVOLUTIONS[case]
    x = spikes(*shape)
    layer = only(snn.TimeDistributed(module), x)
    assert layer.additions * N == pytest.approx(ways_by_hand(module, x.flatten(0, 1)), rel=1e-12) and layer.macs == 0
    assert layer.synapses == ways_by_hand(module, torch.ones(1, *shape)), "once for all time steps in a network without spikes"


@pytest.mark.parametrize("module", [nn.Linear(12, 7), snn.SpikeLinear(12, 7)], ids=["linear", "of spikes"])
def test_linear_layers(module):
    x = spikes(12)
    assert only(module, x) == LayerOperations("network", x.sum().item() * 7 / N, 0.0, 12 * 7)
    # Sums of spikes are as many additions; signs do not matter.
    assert only(module, x + spikes(12, seed=1)).additions == (x + spikes(12, seed=1)).sum().item() * 7 / N
    assert only(module, -x).additions == only(module, x).additions
    assert only(module, 0 * x) == LayerOperations("network", 0.0, 0.0, 84), "a layer that gets no spike adds nothing"


def test_real_numbers_are_multiplied_at_each_step_that_differs():
    module, real = nn.Linear(12, 7), torch.rand(T, N, 12)
    assert only(module, real) == LayerOperations("network", 0.0, T * 84.0, 84)
    still = real[:1].expand(T, N, 12)
    assert only(module, still).macs == 84, "the same current at all time steps is computed once"
    image = torch.rand(N, 1, 3, 4).round()  # of zeros and ones alone, and yet an image
    flat = nn.Sequential(nn.Flatten(), module)
    assert only(flat, image, is_image=True) == LayerOperations("1", 0.0, 84.0, 84)


def test_a_layer_called_at_each_time_step():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = nn.Linear(12, 7)

        def forward(self, x):
            return torch.stack([self.weights(step) for step in x])

    x = spikes(12)
    assert only(Loop(), x) == LayerOperations("weights", pytest.approx(x.sum().item() * 7 / N), 0.0, 84)


@pytest.mark.parametrize("pool, factor", [
    (SumPool2d(2, 0.25), 4), (SumPool2d(3, 1 / 9), 9), (nn.AvgPool2d(2), 4), (nn.AvgPool2d(3), 9), (nn.AvgPool2d(2, divisor_override=3), 3),
    (nn.AdaptiveAvgPool2d(2), 9), (MeanOverSpace(), 36), (nn.MaxPool2d(2), 1), (nn.Sequential(nn.AvgPool2d(2), nn.AvgPool2d(3)), 36),
])  # fmt: skip
def test_averages_of_spikes_are_spikes_with_smaller_weights(pool, factor):
    x = spikes(2, 6, 6)
    pooled = pool(x.flatten(0, 1))
    layers = counted(nn.Sequential(snn.TimeDistributed(nn.Sequential(pool, nn.Flatten())), nn.Linear(pooled[0].numel(), 5)), x)
    (layer,) = layers.values()
    assert layer.macs == 0 and layer.additions == pytest.approx(pooled.sum().item() * factor * 5 / N, rel=1e-4)


def test_averages_of_real_numbers_are_none():
    network = nn.Sequential(snn.TimeDistributed(nn.Sequential(nn.AvgPool2d(2), nn.Flatten())), nn.Linear(18, 5))
    (layer,) = counted(network, torch.rand(T, N, 2, 6, 6)).values()
    assert (layer.additions, layer.macs) == (0.0, T * 90.0)


def test_recurrent_weights():
    neurons = snn.RecurrentLIF(12)
    network = nn.Sequential(nn.Linear(12, 12), neurons)
    x = spikes(12, share=0.9)
    fired = network(x).sum().item()
    layers = counted(network, x, [neurons])
    assert layers["1, within"] == LayerOperations("1, within", pytest.approx(fired * 12 / N), 0.0, 144) and fired


class ByHand(nn.Module):
    """Weights that no layer has."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first, self.weight = nn.Linear(12, 12), nn.Parameter(torch.rand(12, 12))

    def forward(self, x):
        x = self.first(x)
        if self.kind == "attention":
            return x @ x.transpose(-1, -2)
        return x @ self.weight if self.kind == "matmul" else nn.functional.linear(x, self.weight) if self.kind == "linear" else x * self.weight[0]


@pytest.mark.parametrize("kind", ["matmul", "linear", "attention", "elementwise"])
def test_what_multiplies_elsewhere_is_not_overlooked(kind):
    with pytest.raises(Uncountable, match="weight|outside"):
        counted(ByHand(kind), spikes(12))


def test_attention_of_pytorch_is_refused():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MultiheadAttention(12, 2)

        def forward(self, x):
            return self.inner(x[0], x[0], x[0])[0]

    with pytest.raises(Uncountable):
        counted(Attention(), spikes(12))


def test_no_hook_stays():
    network = nn.Sequential(nn.Linear(12, 7), nn.Linear(7, 3))
    counted(network, spikes(12))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    with pytest.raises(Uncountable):
        counted(ByHand("matmul"), spikes(12))


@pytest.mark.parametrize("layers", ["4C3-P2-12-10", "8-10", "4C3s-AP2-6C3-12R-10"])
def test_as_the_notation_counts(tiny, layers):
    """Both ways on one network. Fan-outs are means there, and exact here: equal for fully connected layers, near for convolutions."""
    config = tiny(method={"name": "bptt"}, network={"layers": layers})
    torch.manual_seed(0)
    method = methods.get("bptt")(config, (1, 8, 8), 10, torch.device("cpu"))
    inputs = 4 * torch.rand(6, 1, 8, 8)
    by_rates = method.activity(inputs, torch.arange(6)).totals()
    layers = operations.count(method.network, list(method.network.neurons().values()), inputs, 5, lambda: method.scores(inputs), is_image=True)
    assert sum(layer.macs for layer in layers) == by_rates.macs
    assert sum(layer.synapses for layer in layers) == by_rates.synapses
    assert sum(layer.additions for layer in layers) == pytest.approx(by_rates.additions, rel=0.3)


@pytest.mark.parametrize("network", [
    {"layers": "10", "padding": 0, "dropout": 0.0, "model": "sew_resnet18", "width": 4, "depth": 1},
    {"layers": "10", "padding": 0, "dropout": 0.0, "model": "spikformer", "width": 16, "depth": 1, "heads": 2},
    {"layers": "4C3-BN-(4C3-BN-4C3-BN)+-AP2-12-10"}, {"layers": "4C3-BN-(4C3-BN-4C3-BN+)-P2-12-10"},
], ids=["sew_resnet18", "spikformer", "blocks", "blocks of currents"])  # fmt: skip
def test_deep_networks_are_counted(tiny, network):
    config = tiny(method={"name": "bptt"}, network=network)
    method = methods.get("bptt")(config, (1, 8, 8), 10, torch.device("cpu"))
    inputs = 4 * torch.rand(3, 1, 8, 8)
    measured = method.activity(inputs, torch.arange(3))
    assert measured.uncounted == "" and not measured.is_counted
    totals, first = measured.totals(), measured.operations[0]
    assert first.additions == 0 and first.macs == first.synapses, "the image is multiplied once"
    assert totals.macs == first.macs and totals.additions > 0, [layer for layer in measured.operations if layer.macs]
    assert len({layer.name for layer in measured.operations}) == len(measured.operations)
    lines = rates.table(measured)
    assert any(line.startswith("weights") for line in lines) and f"{totals.additions:,.0f} SynOps" in lines[-1]


def test_energy():
    totals = LayerOperations("all", additions=1e6, macs=2e5, synapses=3e6)
    found = energy.Energy.of(totals)
    assert found.spiking == pytest.approx(1e6 * 0.9e-12 + 2e5 * 4.6e-12) and found.non_spiking == pytest.approx(3e6 * 4.6e-12)
    assert found.sentence() == "1.82 µJ per sample; the same layers without spikes 13.8 µJ, 7.6 times as much"
    assert [energy.joules(x) for x in (2.5e-13, 3e-9, 4.2e-3, 1.5)] == ["0.25 pJ", "3 nJ", "4.2 mJ", "1.5 J"]
    assert "Horowitz" in energy.SOURCE and "0.9" in energy.SOURCE and "4.6" in energy.SOURCE
    assert math.isfinite(energy.Energy.of(LayerOperations("all")).spiking) and energy.Energy.of(LayerOperations("all")).sentence()


def test_means_over_batches_are_weighted():
    from spiketrain.methods.base.activity import Activity, LayerActivity

    def of(additions, macs):
        return Activity([LayerActivity("a", 10, 0.1)], 4, operations=[LayerOperations("w", additions, macs, 50)])

    (mean,) = rates.average([(30, of(100.0, 0.0)), (10, of(20.0, 40.0))]).operations
    assert (mean.additions, mean.macs, mean.synapses) == (80.0, 10.0, 50.0)


def test_as_many_operations_as_the_rates_of_a_counted_network(tiny):
    """Totals of the notation's way: images are MACs once, events additions from the input on."""
    config = tiny(method={"name": "bptt"}, network={"layers": "8-10"})
    method = methods.get("bptt")(config, (1, 4, 4), 10, torch.device("cpu"))
    events = (torch.rand(5, 6, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    measured = method.activity(events, torch.arange(6))
    totals = measured.totals()
    assert totals.macs == 0 and totals.synapses == 16 * 8 + 8 * 10
    fired = method.spike_trains(events)["linear_1"].sum().item()
    assert totals.additions == pytest.approx((events.sum().item() * 8 + fired * 10) / 6)


def test_rates_tell_seldom_from_never():
    assert [tables.shown_rate(rate) for rate in (0.0, 1e-9, 0.00009999, 0.0001, 0.0635, 1.0)] == ["0", "< 0.0001", "< 0.0001", "0.0001", "0.0635", "1.0000"]
