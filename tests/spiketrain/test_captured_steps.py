"""When training steps are captured as CUDA graphs and when they are just done, with a stand-in for graphs: replayed, one does on the
device what was captured, and nothing on the host. tests/gpu has the steps themselves."""

import contextlib
import copy

import pytest
import torch

from spikeops._graph_site import CaptureError
from spiketrain import methods, presets
from spiketrain.config import Config, DataConfig, NetworkConfig, OptimizerConfig, Published, TrainerConfig
from spiketrain.training import captured_steps, changes
from spiketrain.training.captured_steps import WARM_UP_STEPS, CapturedSteps
from spiketrain.training.trainer import Trainer

GPU = torch.device("cuda", 0)


class Graph:
    """Of a method's training step."""

    def __init__(self, method, run):
        self.method, self.run, self.replays = method, run, 0
        weights = copy.deepcopy(method.state_dict())
        run()
        counted = method.steps
        method.load_state_dict(weights)  # nothing was done yet ...
        method.steps = counted  # ... but by the host

    def replay(self):
        counted, self.replays = self.method.steps, self.replays + 1
        self.run()
        self.method.steps = counted


class Device:
    """Where everything is captured, or refused by an error."""

    def __init__(self):
        self.method, self.graphs, self.error = None, [], None

    def site(self, device):
        assert device == GPU
        return self

    device = torch.device("cpu")
    stream = property(lambda self: self)
    turn = contextlib.nullcontext

    def wait_stream(self, other):
        pass

    def own(self, make):
        return make()

    def capture(self, run):
        if self.error is not None:
            run()  # up to the place where it fails
            raise CaptureError from self.error
        self.graphs.append(Graph(self.method, run))
        return self.graphs[-1]


@pytest.fixture
def device(monkeypatch):
    device = Device()
    monkeypatch.setattr(captured_steps, "Site", device.site)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: device)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    return device


def method_of(preset="bell-mnist-dnn", optimizer=None, **network):
    raw = presets.load(preset)
    kind = methods.get(raw["method"]["name"])
    config = Config(
        preset=preset, published=Published(), data=DataConfig(name="mnist"),
        network=NetworkConfig(**{**raw["network"], "layers": "20-10", **network}), method=kind.Options(**raw["method"]),
        optimizer=OptimizerConfig(**{**raw["optimizer"], **(optimizer or {})}), trainer=TrainerConfig(),
    )  # fmt: skip
    torch.manual_seed(1)
    method = kind(config, (1, 4, 4), 10, torch.device("cpu"))
    method.start_epoch(1)
    return method


def batches(count, sizes=(8,)):
    draw = torch.Generator().manual_seed(2)
    for number in range(count):
        size = sizes[number % len(sizes)]
        yield torch.rand(size, 1, 4, 4, generator=draw), torch.randint(10, (size,), generator=draw)


def steps_of(method, device, mode="auto", said=None):
    device.method = method
    return CapturedSteps(method, GPU, mode, (said if said is not None else []).append)


def assert_alike(method, launched):
    assert method.steps == launched.steps
    for name, weight in method.network.state_dict().items():
        assert torch.equal(weight, launched.network.state_dict()[name]), name


@pytest.mark.parametrize("preset", ["bell-mnist-dnn", "ell-mnist-dnn", "tsslbp-mnist-cnn", "localce-mnist-mlp"])
def test_replays_are_the_steps(preset, device):
    """With their losses and counts, whatever size a batch has; each size has a graph of its own."""
    method, launched = method_of(preset), method_of(preset)
    steps = steps_of(method, device)
    for inputs, labels in batches(12, sizes=(8, 8, 5)):
        actual, expected = steps.step(inputs, labels, len(labels)), launched.training_step(inputs, labels, len(labels))
        assert torch.equal(actual.loss, expected.loss) and torch.equal(actual.correct, expected.correct)
        assert actual.layers == expected.layers or actual.layers.keys() == expected.layers.keys()
    assert_alike(method, launched)
    assert [graph.replays for graph in device.graphs] == [8 - WARM_UP_STEPS, 4 - WARM_UP_STEPS]


def test_a_new_learning_rate_takes_a_new_graph(device):
    method, launched = method_of(), method_of()
    steps = steps_of(method, device)
    for number, (inputs, labels) in enumerate(batches(10)):
        if number == 6:
            method.rate = launched.rate = 2 * launched.rate
        steps.step(inputs, labels, len(labels))
        launched.training_step(inputs, labels, len(labels))
    assert_alike(method, launched)
    assert [graph.replays for graph in device.graphs] == [3, 3]  # the first step with the new rate is just done


def test_while_the_rate_warms_up_nothing_is_captured(device):
    method, launched = method_of(optimizer={"warmup_steps": 6}), method_of(optimizer={"warmup_steps": 6})
    steps = steps_of(method, device)
    for number, (inputs, labels) in enumerate(batches(10), 1):
        steps.step(inputs, labels, len(labels))
        launched.training_step(inputs, labels, len(labels))
        assert len(device.graphs) == (number > 6)
    assert_alike(method, launched)


def test_what_cannot_be_captured_is_said_once_and_done(device):
    method, launched, said = method_of(), method_of(), []
    steps = steps_of(method, device, said=said)
    device.error = RuntimeError("operation not permitted when stream is capturing\nand more")
    weights = copy.deepcopy(method.network.state_dict())
    method.training_step = _only_counts_in_captures(method, device)
    for inputs, labels in batches(8):
        steps.step(inputs, labels, len(labels))
        launched.training_step(inputs, labels, len(labels))
    assert_alike(method, launched)
    assert not torch.equal(next(iter(weights.values())), next(iter(method.network.state_dict().values())))
    assert said == [
        "training steps are not replayed as CUDA graphs, but launched one kernel at a time: RuntimeError: operation not permitted when "
        "stream is capturing"
    ]


def _only_counts_in_captures(method, device):
    """A training step that fails in its capture after the host has counted it."""
    plain = method.training_step

    def step(inputs, labels, batch_size):
        if len(device.captured_steps) > WARM_UP_STEPS - 1 and not device.failed:
            device.failed = True
            method.steps += 1
            return None
        device.captured_steps.append(1)
        return plain(inputs, labels, batch_size)

    device.captured_steps, device.failed = [], False
    return step


def test_forgotten_graphs_are_captured_anew(device):
    """After another state was loaded: the optimiser then has other tensors."""
    method = method_of()
    steps = steps_of(method, device)
    for inputs, labels in batches(5):
        steps.step(inputs, labels, len(labels))
    steps.forget()
    for inputs, labels in batches(5):
        steps.step(inputs, labels, len(labels))
    assert [graph.replays for graph in device.graphs] == [2, 2]


class Foreign(torch.nn.Linear):
    pass


@pytest.mark.parametrize(("mode", "foreign", "captured"), [
    ("auto", False, True), ("on", False, True), ("off", False, False), ("auto", True, False), ("on", True, True),
])  # fmt: skip
def test_modes(mode, foreign, captured, device):
    method = method_of()
    if foreign:
        method.network.register_module("foreign", Foreign(1, 1))
        Foreign.__module__ = "elsewhere"
    steps = steps_of(method, device, mode)
    for inputs, labels in batches(5):
        steps.step(inputs, labels, len(labels))
    assert len(device.graphs) == captured


def test_rings_have_graphs_of_their_own(device):
    """And their solver is looked at on the host."""
    method = method_of("ide-fashion-lif", feedback="20")
    assert method.graph_key() is None
    steps = steps_of(method, device, "on")
    for inputs, labels in batches(5):
        steps.step(inputs, labels, len(labels))
    assert not device.graphs and method.steps == 5


def test_nothing_is_captured_on_the_cpu(device):
    method = method_of()
    steps = CapturedSteps(method, torch.device("cpu"), "on", print)
    for inputs, labels in batches(5):
        steps.step(inputs, labels, len(labels))
    assert not device.graphs


def test_the_trainer_forgets_its_graphs_with_a_checkpoint(tiny, monkeypatch):
    """Whatever loads a state into a trainer's method."""
    trainer = Trainer(tiny())
    forgotten = []
    monkeypatch.setattr(trainer._steps, "forget", lambda: forgotten.append("graphs"))
    trainer.restore(trainer._content())
    assert forgotten == ["graphs"]


def test_a_run_is_the_same_experiment_with_graphs_and_without(tiny):
    trainer = Trainer(tiny())
    config, said = changes.resumed_config(trainer._content(), ["--trainer.cuda_graphs", "off"])
    assert config.trainer.cuda_graphs == "off" and said == ["trainer.cuda_graphs: off from here on, was auto"]
    assert "trainer.cuda_graphs" in changes.NO_PART_OF_THE_EXPERIMENT
