"""Networks in code: what is asked of a module is tried out before anything is written, and what it has is trained like any other network."""

import pytest
import torch
import yaml
from torch import nn

from spikeops import nn as snn
from spiketrain import methods
from spiketrain.config import merge
from spiketrain.distributed.batch_norm import average_statistics
from spiketrain.errors import UserError
from spiketrain.methods import load_config
from spiketrain.models import outside
from spiketrain.training import checkpoint

RAW = {
    "preset": "own",
    "seed": 3,
    "data": {"name": "digits"},
    "network": {"model": "own:network", "time_steps": 4},
    "method": {"name": "bptt"},
    "optimizer": {"lr": 0.01},
    "trainer": {"epochs": 3, "batch_size": 16, "limit_train": 96, "limit_test": 30, "threads": 1, "progress": "off"},
}


class Net(nn.Module):
    """What all that is wrong below is a change of: weights, batch norm, neurons, weights. (T, N, ...) to (T, N, outputs)."""

    def __init__(self, neuron=None, outputs=10):
        super().__init__()
        self.first = snn.TimeDistributed(nn.Sequential(nn.Flatten(), nn.Linear(64, 12, bias=False), nn.BatchNorm1d(12)))
        self.neuron = snn.LIF(0.5) if neuron is None else neuron
        self.last = nn.Linear(12, outputs)

    def forward(self, x):
        return self.last(self.neuron(self.first(x)))


@pytest.fixture
def method_of(monkeypatch):
    """The method bptt on a network from a function of (config, input_shape, classes, neuron)."""

    def make(builder, **changes):
        monkeypatch.setattr(outside, "_builder", lambda name: builder)
        return methods.get("bptt")(load_config(merge(RAW, changes)), (1, 8, 8), 10, torch.device("cpu"))

    return make


def changed(**attributes):
    """A builder of a `Net` of a class with other attributes."""
    return lambda *_: type("Changed", (Net,), attributes)()


class Keeps(Net):
    """Neurons that go on from where the last batch left them, as those of other libraries do without a reset."""

    def __init__(self):
        super().__init__(neuron=snn.LIF(0.9, return_state=True))
        self.v = None

    def forward(self, x):
        x = 3 * self.first(x)
        spikes, self.v = self.neuron(x, self.v.detach() if self.v is not None and len(self.v) == x.shape[1] else None)
        return self.last(spikes)


class Draws(Net):
    """Random input spikes, drawn in each pass."""

    def forward(self, x):
        return super().forward((torch.rand_like(x) < x).float())


class NoGradient(Net):
    def forward(self, x):
        return super().forward(x).detach()


class Aside(Net):
    """Its outputs are a constant's."""

    def forward(self, x):
        return torch.ones(x.shape[0], x.shape[1], 10, requires_grad=True) * 2


WRONG = {
    "no module": (lambda *_: 3, "expected an nn.Module, got 3"),
    "a class": (lambda *_: Net, "expected an nn.Module"),
    "fewer arguments": (lambda config: Net(), "TypeError"),
    "raises": (lambda *_: 1 / 0, "ZeroDivisionError: division by zero (test_module_networks.py, line"),
    "exits": (changed(forward=lambda self, x: {}["key"]), "KeyError: 'key' (test_module_networks.py, line"),
    "fails within torch": (lambda *_: nn.Sequential(nn.Flatten(2), nn.Linear(9, 10)), "RuntimeError"),
    "no parameters": (lambda *_: nn.Flatten(2), "it has no parameters to learn"),
    "all frozen": (lambda *_: Net().requires_grad_(False), "it has no parameters to learn"),
    "no gradient": (lambda *_: NoGradient(), "no gradient gets from its outputs to its parameters"),
    "weights that are not used": (lambda *_: Aside(), "no gradient gets from its outputs to its parameters"),
    "a tuple": (changed(forward=lambda self, x: (Net.forward(self, x), None)), "expected outputs (4, 2, classes), or (2, classes)"),
    "nothing": (changed(forward=lambda self, x: None), "got nothing"),
    "batch first": (changed(forward=lambda self, x: Net.forward(self, x).transpose(0, 1)), "got (2, 4, 10)"),
    "mean over the batch": (changed(forward=lambda self, x: Net.forward(self, x).mean(1)), "got (4, 10)"),
    "flat": (changed(forward=lambda self, x: Net.forward(self, x).flatten(0, 1)), "got (8, 10)"),
    "maps": (changed(forward=lambda self, x: Net.forward(self, x).unsqueeze(3)), "got (4, 2, 10, 1)"),
    "integers": (changed(forward=lambda self, x: Net.forward(self, x).argmax(2, keepdim=True).expand(-1, -1, 10)), "floating type, got int64"),
    "float64": (lambda *_: Net().double(), "RuntimeError"),
    "state": (lambda *_: Keeps(), "returns something else for the same batch a second time"),
    "fewer outputs": (lambda *_: Net(outputs=9), "network.model: own:network has 9 outputs, the data set has 10 classes"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_network_is_refused_by_name(method_of, what):
    builder, words = WRONG[what]
    with pytest.raises(UserError) as refused:
        method_of(builder)
    line = str(refused.value)
    assert "network.model" in line and "own" in line and words in line and len(line) <= 300, line


def test_two_time_steps_are_not_taken_for_two_samples(method_of):
    with pytest.raises(UserError, match=r"or \(3, classes\), for 2 time steps and 3 samples, got \(2, 10\)"):
        method_of(changed(forward=lambda self, x: Net.forward(self, x).mean(1)), network={"time_steps": 2})


@pytest.mark.parametrize("section, field, value", [
    ("network", "layers", "12-10"), ("network", "padding", 1), ("network", "bias", True), ("network", "dropout", 0.1), ("network", "feedback", "4C3"),
    ("network", "conv_weight_scale", 2.0), ("method", "decay", 0.9), ("method", "surrogate", "Sigmoid"), ("method", "learn_decays", True),
    ("method", "readout_decay", 0.9),
])  # fmt: skip
def test_fields_without_effect_are_refused(method_of, section, field, value):
    with pytest.raises(UserError, match=f"{section}.{field}: has no effect on network.model own"):
        method_of(lambda *_: Net(), **{section: {field: value}})


def test_neurons_of_the_method_follow_its_options(method_of):
    method = method_of(lambda config, shape, classes, neuron: Net(neuron((12,))), method={"decay": 0.9, "learn_decays": True})
    decays = method.network.module.neuron.decay_logit.sigmoid().tolist()
    assert decays == pytest.approx([0.9] * 12)


def test_what_was_tried_out_leaves_no_trace(method_of):
    """Neither in statistics and random numbers, nor in gradients and modes."""
    built = []

    def builder(*_):
        built.append(Net().requires_grad_())
        torch.manual_seed(5)
        return built[-1]

    network = method_of(builder).network
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
    norm = built[0].first.module[2]
    assert norm.num_batches_tracked == 0 and norm.running_mean.abs().sum() == 0
    assert network.training and all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("builder", [
    lambda *_: Net(outputs=17), lambda *_: Draws(), changed(forward=lambda self, x: Net.forward(self, x).mean(0)),
    lambda *_: nn.Sequential(snn.TimeDistributed(nn.Sequential(nn.Flatten(), nn.LazyLinear(10)))),
])  # fmt: skip
def test_what_is_a_network_is_trained(method_of, builder):
    method = method_of(builder)
    before = [weight.clone() for weight in method.network.parameters()]
    images, labels = torch.rand(6, 1, 8, 8), torch.arange(6)
    torch.manual_seed(0)
    result = method.training_step(images, labels, 6)
    assert result.loss.isfinite() and any(not torch.equal(old, new) for old, new in zip(before, method.network.parameters()))
    torch.manual_seed(1)
    scores = method.scores(images)
    assert scores.shape == (6, method.network.outputs)
    torch.manual_seed(1)
    # Events get to the module as they are, an image as a movie of equal frames.
    torch.testing.assert_close(method.scores(images.expand(4, *images.shape)), scores, rtol=0, atol=0)


def test_frozen_weights_stay_as_they_are(method_of):
    def builder(*_):
        net = Net()
        net.first.requires_grad_(False)
        net.first.module[1].weight.data[0, 0] = 7.0
        return net

    method = method_of(builder, optimizer={"weight_clamp": 0.1, "weight_decay": 0.5})
    images, labels = torch.rand(6, 1, 8, 8), torch.arange(6)
    frozen = method.network.module.first.module[1].weight
    before = frozen.clone()
    method.training_step(images, labels, 6)
    method.training_step(images[:0], labels[:0], 6)  # other processes have the samples
    assert torch.equal(frozen, before) and method.network.module.last.weight.abs().max() <= 0.1


def test_spikes_are_found_by_the_kind_of_neurons_or_as_the_module_says(method_of):
    images, labels = torch.rand(6, 1, 8, 8), torch.arange(6)
    method = method_of(lambda *_: Net())
    activity = method.activity(images, labels)
    assert [(layer.name, layer.neurons) for layer in activity.layers] == [("neuron", 12)] and not activity.is_counted

    class Twice(Net):
        def forward(self, x):
            return self.last(self.neuron(4 * self.neuron(self.first(x))))

    assert list(method_of(lambda *_: Twice()).spike_trains(images)) == ["neuron", "neuron, call 2"]
    own = changed(neurons=lambda self: {"all of them": self.neuron})
    trains = method_of(own).spike_trains(images)
    assert list(trains) == ["all of them"] and trains["all of them"].shape == (4, 6, 12)
    with pytest.raises(UserError, match="no layer of neurons that spike"):
        method_of(lambda *_: nn.Sequential(nn.Flatten(2), nn.Linear(64, 10))).activity(images, labels)
    with pytest.raises(UserError, match="expected of its neurons"):
        method_of(changed(neurons=lambda self: [self.neuron])).spike_trains(images)
    with pytest.raises(UserError, match=r"neurons weights: expected spikes \(T, N, ...\) of 6 samples, got \(24, 12\)"):
        method_of(changed(neurons=lambda self: {"weights": self.first.module[1]})).spike_trains(images)


@pytest.mark.parametrize("method", [name for name in methods.names() if name != "bptt"])
def test_other_methods_refuse_networks_by_a_name(method):
    for field, value in (("model", "own:network"), ("bias", True)):
        with pytest.raises(UserError, match=f"network.{field}: {method} .* for bptt"):
            load_config({"method": {"name": method}, "network": {field: value}})


def test_a_network_takes_the_place_of_a_presets(tmp_path):
    raw = {"method": {"name": "bptt"}, "network": {"layers": "4C3-10", "padding": 1, "dropout": 0.5, "time_steps": 7}}
    network = load_config(raw, ["--network.model", "own:network"]).network
    assert (network.model, network.layers, network.padding, network.dropout, network.time_steps) == ("own:network", "10", 0, 0.0, 7)
    spelled_out = load_config({"method": {"name": "bptt"}, "network": {"model": "own:network", "time_steps": 7}}, ["--network.layers", "12-10"]).network
    assert (spelled_out.model, spelled_out.layers) == ("", "12-10")


def test_a_run_resumes_bit_for_bit(own_code, cli, tmp_path):
    own_code.write("own", """
        import torch
        from torch import nn
        from spikeops import nn as snn

        class Net(nn.Module):
            def __init__(self, neuron, classes):
                super().__init__()
                self.first = snn.TimeDistributed(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.2)))
                self.neuron, self.last = neuron((16,)), nn.Linear(16, classes)

            def forward(self, x):
                return self.last(self.neuron(self.first((torch.rand_like(x) < x).float()))).mean(0)

        def network(config, input_shape, classes, neuron):
            return Net(neuron, classes)
    """)  # fmt: skip
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(merge(RAW, {"network": {"model": "own:network"}})))
    words = ("--config", tmp_path / "a.yaml", "--plugin", "own")
    assert cli("train", *words, "--trainer.out", tmp_path / "whole")[0] == 0
    assert cli("train", *words, "--trainer.out", tmp_path / "parts", "--trainer.epochs", "1")[0] == 0
    own_code.forget()
    assert cli("resume", tmp_path / "parts", "--plugin", "own", "--trainer.epochs", "3")[0] == 0
    whole, parts = (checkpoint.load(tmp_path / name / "last.ckpt") for name in ("whole", "parts"))
    assert whole["epoch"] == parts["epoch"] == 3
    for name, weight in whole["method"]["network"].items():
        assert torch.equal(weight, parts["method"]["network"][name]), name
    assert [row["train_loss"] for row in whole["history"]] == [row["train_loss"] for row in parts["history"]]


def test_looking_at_a_run(own_code, cli, tmp_path):
    own_code.write("own", """
        from torch import nn

        def network(config, input_shape, classes, neuron):
            return nn.Sequential(nn.Flatten(2), nn.Linear(64, 12), neuron((12,)), nn.Linear(12, classes))
    """)  # fmt: skip
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(merge(RAW, {"network": {"model": "own:network"}, "trainer": {"epochs": 1}})))
    run = tmp_path / "run"
    assert cli("train", "--config", tmp_path / "a.yaml", "--plugin", "own", "--trainer.out", run)[0] == 0
    status, lines, errors = cli("rates", run, "--plugin", "own")
    assert (status, errors) == (0, []) and lines[2].startswith("2 ") and "12" in lines[2]
    assert any(line.split()[:3] == ["1", "0", "768"] for line in lines), "the image is multiplied once: 64 times 12 MACs"
    assert any("; the same layers without spikes: 888 MACs" in line for line in lines) and any("Horowitz, ISSCC 2014" in line for line in lines)
    assert cli("plot", run, "--plugin", "own")[0] == 0 and (run / "raster.png").stat().st_size > 1000
    assert cli("eval", run, "--plugin", "own")[0] == 0


def test_a_network_in_code_is_exported_as_a_program_and_as_nothing_else(own_code, cli, assert_error, tmp_path):
    """For batches of any size. Formats that cannot name the one that can; `rates` sees neurons behind a batch norm in one op."""
    own_code.write("own", """
        from torch import nn
        from spikeops import nn as snn

        def network(config, input_shape, classes, neuron):
            first = snn.TimeDistributed(nn.Sequential(nn.Flatten(), nn.Linear(64, 12, bias=False)))
            return nn.Sequential(first, snn.BatchNormLIF(12, config.method.decay), nn.Linear(12, classes))
    """)
    run = tmp_path / "run"
    small = ("--network.time_steps", 4, "--trainer.limit_train", 60, "--trainer.limit_test", 20, "--trainer.epochs", 1, "--trainer.out", run)
    assert cli("train", "bptt-digits", "--network.model", "own:network", *small)[0] == 0
    export = ("export", run, "--plugin", "own", "--out", tmp_path / "net.pt2")
    assert cli(*export, "--format", "pt2")[0] == 0
    with torch.no_grad():
        program = torch.export.load(str(tmp_path / "net.pt2")).module()
        assert [program(torch.zeros(count, 1, 8, 8, dtype=torch.uint8)).shape for count in (1, 7)] == [(1, 10), (7, 10)]
    assert_error(["network.model own:network", "export it as pt2"], *export, "--format", "state_dict")
    assert_error(["Export it as pt2"], *export, "--format", "nir")
    assert cli("rates", run, "--plugin", "own")[0] == 0


def test_a_last_batch_of_one_sample_is_named(method_of):
    """Batch norm over one value has no variance."""
    flat = lambda *_: nn.Sequential(snn.TimeDistributed(nn.Flatten()), MeanOverTime(), nn.BatchNorm1d(64), nn.Linear(64, 10))  # noqa: E731
    with pytest.raises(UserError, match="training step 1: a batch norm got one value of each channel.*trainer.batch_size"):
        method_of(flat).training_step(torch.rand(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64), 1)


class MeanOverTime(nn.Module):
    def forward(self, x):
        return x.mean(0)


@pytest.mark.parametrize("text, expected", [
    ("network: {model: 'own:network'}", ("own:network", "10", 0)), ("network: {model: ''}", ("", "16C3-P2-64-10", 1)),
    ("network: {layers: 12-10, padding: 0}", ("", "12-10", 0)), ("seed: 2", ("", "16C3-P2-64-10", 1)),
])  # fmt: skip
def test_a_file_puts_its_network_in_the_place_of_a_presets(tmp_path, text, expected):
    import argparse

    from spiketrain.cli.raw_config import raw_config

    (tmp_path / "a.yaml").write_text(text)
    network = load_config(raw_config(argparse.Namespace(preset="bptt-digits", config=str(tmp_path / "a.yaml")))).network
    assert (network.model, network.layers, network.padding) == expected


def test_all_statistics_are_the_mean_of_the_processes_that_have_samples(method_of, monkeypatch):
    """Those of all norms: with the main process's own alone, `eval` would find another network than was tested."""

    class Norms(Net):
        def __init__(self):
            super().__init__(neuron=snn.BatchNormLIF(12))
            self.instance = nn.InstanceNorm1d(12, track_running_stats=True)

        def forward(self, x):
            return super().forward(x) + 0 * self.instance(x.flatten(0, 1).flatten(1)[:, None, :12].expand(-1, 12, -1)).sum()

    method = method_of(lambda *_: Norms())
    norms = [module for module in method.network.modules() if getattr(module, "running_mean", None) is not None]
    assert {type(norm) for norm in norms} == {nn.BatchNorm1d, snn.BatchNormLIF, nn.InstanceNorm1d}
    monkeypatch.setattr("spiketrain.distributed.group.world_size", lambda: 2)

    def add_up(tensors):
        *statistics, processes = tensors
        for tensor in statistics:
            tensor.add_(3.0)  # another's
        processes.add_(1.0)

    monkeypatch.setattr("spiketrain.distributed.group.add_up", add_up)
    # A process without a sample, since a batch has fewer than there are processes, has the statistics that it began with.
    for has_samples, mean, variance in ((True, 2.0, 2.5), (False, 3.0, 3.0)):
        for norm in norms:
            norm.running_mean.fill_(1.0)
            norm.running_var.fill_(2.0)
        average_statistics(method.network, has_samples)
        assert all(norm.running_mean.eq(mean).all() and norm.running_var.eq(variance).all() for norm in norms)


@pytest.mark.parametrize("batch_size, fits", [(16, True), (19, False), (95, False), (94, True), (1, False), (200, True)])
def test_shared_statistics_need_samples_of_all_processes(monkeypatch, batch_size, fits):
    """One that has none of a short last batch would not come to the sum, and another sum would be taken for it."""
    from spiketrain.training.trainer import Trainer

    monkeypatch.setattr(outside, "_builder", lambda name: lambda *_: Net(neuron=snn.BatchNormLIF(12, synchronized=True)))
    config = load_config(merge(RAW, {"trainer": {"batch_size": batch_size}}))
    Trainer(config)
    monkeypatch.setattr("spiketrain.distributed.world_size", lambda: 2)
    if fits:
        Trainer(config)
    else:
        with pytest.raises(UserError, match=f"trainer.batch_size: {batch_size} leaves 1 of 96 samples for the 2 processes .* module.neuron"):
            Trainer(config)
