"""``spiketrain rates``: firing rates and synaptic operations, against counts of the spikes themselves."""

import pytest
import torch
import yaml

from spiketrain import methods
from spiketrain.methods.base.activity import Activity, LayerActivity
from spiketrain.reports import rates
from spiketrain.training.trainer import Trainer

NETWORKS = {
    "ide": {"layers": "4C3s-6C3-10", "feedback": "4C3"},
    "spide": {"layers": "4C3s-6C3-10", "feedback": "4C3"},
    "tssl_bp": {"layers": "4C3-P2-12-10"},
    "bptt": {"layers": "4C3-P2-12-10"},
}


@pytest.fixture
def build(tiny):
    def method(name, network=None, **options):
        config = tiny(method={"name": name, **options}, network=network or NETWORKS[name])
        torch.manual_seed(0)
        return methods.get(name)(config, (1, 8, 8), 10, torch.device("cpu"))

    return method


def batch(samples=6):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(samples, 1, 8, 8, generator=generator) * 4, torch.arange(samples)


@pytest.mark.parametrize("name", NETWORKS)
def test_operations_are_spikes_times_fan_out(build, name):
    method = build(name, **({"norm_range": 100.0} if name == "spide" else {}))
    inputs, labels = batch()
    measured = method.activity(inputs, labels)
    trains = method.spike_trains(inputs)
    assert [layer.name for layer in measured.layers] == list(trains)
    for layer, spikes in zip(measured.layers, trains.values()):
        per_sample = spikes.sum().item() / len(labels)
        # The restriction of IDE's feedback moves a little at each use, and with it single spikes.
        assert layer.forward_rate * layer.neurons * measured.time_steps == pytest.approx(per_sample, rel=0.05)
        fan_out = layer.synapses / layer.neurons
        assert measured.forward_operations(layer) == pytest.approx(per_sample * fan_out, rel=0.05)
    # By hand: 8x8 image to 4 maps by 3x3 with padding 1 (stride 1: 22 * 22 ways; stride 2, 4x4 maps: 11 * 11).
    side_ways, places = (11, 10) if name in ("ide", "spide") else (22, None)
    assert measured.input_synapses == 4 * side_ways**2
    if places:  # 4x4 maps onto 4x4 maps: 10 * 10 ways between two maps
        assert [layer.synapses for layer in measured.layers] == [4 * 6 * places**2, 6 * 4 * places**2]
        assert measured.readout_synapses == 6 * 4 * 4 * 10
    else:
        spikes_at_output = name == "tssl_bp"
        assert [layer.synapses for layer in measured.layers] == [4 * 8 * 8 * 12, 12 * 10, 0][: 3 if spikes_at_output else 2]


def test_backward_spikes_run_through_the_synapses_that_drive_the_layer(build):
    method = build("spide", {"layers": "4C3s-6C3-10", "feedback": "4C1", "padding": [1, 1, 0]})
    measured = method.activity(*batch())
    assert measured.backward_time_steps == 100
    assert all(0 < layer.backward_rate < 1 for layer in measured.layers)
    first, second = measured.layers
    assert (first.backward_synapses, second.backward_synapses) == (second.synapses, first.synapses)
    assert (first.synapses, second.synapses) == (4 * 6 * 10**2, 6 * 4 * 4**2)
    assert measured.backward_operations(second) == pytest.approx(second.backward_rate * 100 * first.synapses)
    assert not method.network.classifier.weight.grad  # measuring is not learning


def test_events_cost_operations_from_the_input_on(tiny):
    config = tiny(method={"name": "ide"}, network=NETWORKS["ide"], data={"name": "nmnist"})
    method = methods.get("ide")(config, (1, 8, 8), 10, torch.device("cpu"))
    events = (torch.rand(5, 6, 1, 8, 8) < 0.25).float()
    measured = method.activity(events, torch.arange(6))
    assert measured.input_rate == pytest.approx(events.mean().item())
    assert measured.input_operations() == pytest.approx(events.mean().item() * 5 * 4 * 11**2)
    assert "MACs" not in rates.table(measured)[1]


def test_average_is_weighted_by_the_samples():
    def of(rate, back, events):
        return Activity([LayerActivity("conv_1", 10, rate, back)], 5, input_rate=events)

    mean = rates.average([(30, of(0.1, 0.2, 0.5)), (10, of(0.5, 0.6, 0.1))])
    assert (mean.layers[0].forward_rate, mean.layers[0].backward_rate, mean.input_rate) == pytest.approx((0.2, 0.3, 0.4))
    assert rates.average([(1, of(0.1, None, None))]).layers[0].backward_rate is None


def test_table_adds_up():
    layers = [
        LayerActivity("conv_1", 100, 0.1, 0.02, synapses=2000, backward_synapses=500),
        LayerActivity("conv_2", 50, 0.2, 0.04, synapses=500, backward_synapses=2000),
    ]
    lines = rates.table(Activity(layers, 10, 50, input_synapses=300, readout_synapses=70))
    header = "layer neurons forward rate backward rate SynOps/sample backward SynOps non-spiking MACs"
    assert " ".join(lines[0].split()) == header
    assert lines[2].split() == ["conv_1", "100", "0.1000", "0.0200", "2,000", "500", "2,000"]
    assert lines[3].split() == ["conv_2", "50", "0.2000", "0.0400", "1,000", "4,000", "500"]
    assert lines[4].split() == ["all", "150", f"{0.4 / 3:.4f}", f"{0.08 / 3:.4f}"]  # averages over the neurons
    assert "3,000 SynOps and 370 MACs" in lines[-2] and "2,870 MACs" in lines[-2]
    assert "4,500 SynOps" in lines[-1] and "2,500 MACs" in lines[-1]


def test_table_without_known_synapses_has_the_rates():
    lines = rates.table(Activity([LayerActivity("conv_1", 100, 0.1), LayerActivity("conv_2", 300, 0.3)], 10))
    assert [line.split() for line in lines] == [["layer", "neurons", "forward", "rate"], ["conv_1", "100", "0.1000"],
                                                ["conv_2", "300", "0.3000"], ["all", "400", "0.2500"]]  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_command_prints_a_table_and_draws_it(tiny, tmp_path, cli, name):
    config = tiny(method={"name": name}, network=NETWORKS[name], trainer={"epochs": 1})
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config.to_dict()))
    assert cli("train", "--config", tmp_path / "a.yaml", "--trainer.out", tmp_path / "run")[0] == 0
    status, lines, errors = cli("rates", tmp_path / "run")
    assert status == 0, errors
    assert "mean over 60 test samples" in lines[0]
    table = {line.split()[0]: line.split() for line in lines[2:] if line}
    trainer = Trainer(config)
    for layer in trainer.method.activity(*batch()).layers:
        assert 0 <= float(table[layer.name][2]) <= 1
        assert table[layer.name][1] == f"{layer.neurons:,}"
    assert ("backward" in lines[1]) == (name == "spide")
    assert (tmp_path / "run" / "rates.png").read_bytes().startswith(b"\x89PNG")
    assert cli("rates", tmp_path / "run")[1] == lines  # the same random numbers each time


def test_no_run(tmp_path, assert_error):
    assert_error("no run directory", "rates", tmp_path)


LOCAL = {
    "ell": ("4C3-P2-12", {}), "fell": ("4C3-P2-12", {"update": "window"}), "bell": ("4C3-6C3", {"decoder_size": 20}),
    "local_ce": ("4C3-P2-12-10", {}), "local_corr": ("12-14-10", {}), "local_ce_corr": ("4C3-P2-6C3-10", {"neuron": "lif"}),
}  # fmt: skip


@pytest.mark.parametrize("name", LOCAL)
def test_operations_of_layers_that_learn_on_their_own(build, name):
    """Each layer adds a weight for each spike that it gets and each synapse that leads on from there."""
    layers, options = LOCAL[name]
    method = build(name, {"layers": layers, "padding": 1, "time_steps": 6, "dropout": 0, "conv_weight_scale": 3.0, "linear_weight_scale": 3.0}, **options)
    inputs, labels = batch()
    measured, trains = method.activity(inputs, labels), method.spike_trains(inputs)
    assert measured.uncounted == "" and sum(spikes.sum() for spikes in trains.values()) > 0
    counted = {layer.name: layer for layer in measured.operations}
    names = list(counted)
    assert counted[names[0]].additions == 0 and counted[names[0]].macs == counted[names[0]].synapses, "an image is multiplied once"
    for below, spikes in trains.items():
        if names.index(below) + 1 == len(names):
            continue
        reached = counted[names[names.index(below) + 1]]
        assert reached.synapses > 0 and reached.macs in (0, reached.synapses)
        if spikes.dim() == 3 and reached.macs == 0:  # a layer of units: each spike reaches all of the next one
            fan_out = reached.synapses / spikes.shape[2]
            assert reached.additions == pytest.approx(spikes.sum().item() / len(labels) * fan_out, rel=1e-9), reached.name
    totals = measured.totals()
    assert totals.additions > 0 and totals.macs > 0
    assert "energy" in rates.energy_line(totals)


def test_classifier_behind_pooling_counts_the_ways_of_each_spike(build):
    """A window that reaches past the maps misses none here, so each spike takes one way to each class; without spikes pooled maps are multiplied."""
    method = build("bell", {"layers": "4C3-6C3", "padding": 1, "time_steps": 6, "dropout": 0, "conv_weight_scale": 4.0}, decoder_size=24)
    inputs, labels = batch()
    (spikes,) = list(method.spike_trains(inputs).values())[1:]
    classifier = {layer.name: layer for layer in method.activity(inputs, labels).operations}["conv_2.classifier"]
    assert spikes.sum() > 0 and classifier.additions == pytest.approx(spikes.sum().item() / len(labels) * 10)
    assert classifier.synapses == 24 * 10 and classifier.macs == 0
