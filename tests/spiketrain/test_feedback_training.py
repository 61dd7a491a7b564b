"""IDE and SPIDE in the pipeline: the network, the update, what they report, what they refuse."""

import csv

import pytest
import torch
import yaml

from spiketrain import methods
from spiketrain.training import checkpoint
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

RING = {"layers": "4C3s-6C3-10", "feedback": "4C3", "time_steps": 6, "dropout": 0.0}
SGD = {"name": "sgd", "lr": 0.05, "weight_decay": 0.0, "clip_norm": 0.0, "weight_clamp": 0.0}


@pytest.fixture
def small(tiny):
    """``small("spide", network={...}, scale_factor=...)``: a small ring of that method."""

    def build(name, network=(), optimizer=(), data=(), trainer=(), **options):
        if name == "spide":
            options = {"backward_time_steps": 10, **options}
        return tiny(
            method={"name": name, **options},
            network={**RING, **dict(network)},
            optimizer={**SGD, **dict(optimizer)},
            data=dict(data),
            trainer=dict(trainer),
        )

    return build


def build(config, sample=(1, 8, 8)):
    torch.manual_seed(0)
    return methods.get(config.method.name)(config, sample, 10, torch.device("cpu"))


def batch(seed=0, samples=12):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % 10
    return torch.rand(samples, 1, 8, 8, generator=generator) * 2, labels


@pytest.mark.parametrize("name", ["ide", "spide"])
@pytest.mark.parametrize("leak", [1.0, 0.9])
@pytest.mark.parametrize(
    "network",
    [
        {"layers": "4C3s-6C3-10", "feedback": "4C3"},
        {"layers": "4C3s-6C3s-10", "feedback": "4C3u"},
        {"layers": "30-10", "feedback": "30"},
        {"layers": "4C3-P2-20-10", "feedback": ""},
    ],
    ids=lambda network: network["layers"],
)
def test_recorded_spikes_are_those_of_the_simulation(small, name, leak, network):
    method = build(small(name, network, leak=leak, norm_range=1.0 if name == "ide" else 100.0))
    inputs = batch()[0].double() * 4
    rates = settled_rates(method, inputs)
    trains = method.spike_trains(inputs)
    assert list(trains) == method.network.names
    assert [train.shape for train in trains.values()] == [(6, 12, *shape) for shape in method.network.shapes]
    assert all(set(train.unique().tolist()) <= {0.0, 1.0} for train in trains.values())
    assert [train.mean().item() for train in trains.values()] == pytest.approx(rates, rel=1e-12)
    assert rates[0] > 0.05


def settled_rates(method, inputs):
    """Rates in float64, where no rounding moves a spike, once the power iteration of IDE's feedback weight has converged."""
    method.network.double()
    for _ in range(200):
        rates = method.network.ring.firing_rates(inputs)
    return rates


def test_recorded_spikes_of_events(small):
    method = build(small("ide", data={"name": "nmnist"}))
    events = (torch.rand(6, 5, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.6).double() * 3
    rates = settled_rates(method, events)
    trains = method.spike_trains(events)
    assert [train.mean().item() for train in trains.values()] == pytest.approx(rates, rel=1e-12)
    assert trains["conv_1"].sum() > 0


def test_spide_scale_factor_scales_the_loss_and_divides_the_learning_rate(small):
    """With backward thresholds scaled alike the update is the same, bit for bit: 64 is a power of two."""
    plain = build(small("spide", scale_factor=1.0, backward_threshold=0.01))
    scaled = build(small("spide", scale_factor=64.0, backward_threshold=0.64))
    for step in range(3):
        torch.manual_seed(step)
        result = plain.training_step(*batch(step), 12)
        torch.manual_seed(step)
        assert torch.equal(result.loss, scaled.training_step(*batch(step), 12).loss)
    before = build(small("spide")).network.state_dict()
    for key, value in plain.network.state_dict().items():
        assert torch.equal(value, scaled.network.state_dict()[key]), key
        assert not torch.equal(value, before[key]), key
    assert scaled.optimizer.param_groups[0]["lr"] == 0.05 / 64


def test_warm_up_rises_over_the_first_steps_and_the_schedule_goes_on(small):
    method = build(small("spide", optimizer={"warmup_steps": 4, "schedule": "multistep", "milestones": [2]}, scale_factor=10.0))
    rates = []
    for epoch in (1, 2, 3):
        method.start_epoch(epoch)
        for _ in range(3):
            method.training_step(*batch(), 12)
            rates.append(method.optimizer.param_groups[0]["lr"] * 10)
    assert rates == pytest.approx([0.0125, 0.025, 0.0375, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005])


@pytest.mark.parametrize("name", ["ide", "spide"])
def test_what_was_measured_is_in_metrics_and_tensorboard(small, tmp_path, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = small(name, trainer={"out": str(tmp_path / "run"), "epochs": 2})
    Trainer(config).fit(RunDirectory.create(config))
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    of_method = ["solver_residual"] if name == "ide" else ["backward_rate_conv_1", "backward_rate_conv_2"]
    for column in ["forward_rate_conv_1", "forward_rate_conv_2", *of_method]:
        values = [float(row[column]) for row in rows]
        assert len(values) == 2 and all(0 <= value < 1 for value in values), column
        assert column == "solver_residual" or all(values), column
        events = EventAccumulator(str(tmp_path / "run"))
        events.Reload()
        assert [event.value for event in events.Scalars(column.replace("_", "/", 1))] == pytest.approx(values)


def test_measured_rates_are_means_over_the_samples(small):
    method = build(small("spide"))
    method.start_epoch(1)
    expected = 0
    for samples in (12, 5):
        method.training_step(*batch(samples=samples), samples)
        expected += samples * method.network.ring.last_forward_rates[0].item()
    assert method.finish_epoch()["forward_rate_conv_1"] == pytest.approx(expected / 17)


@pytest.mark.parametrize("name", ["ide", "spide"])
def test_testing_leaves_no_trace_and_eval_repeats_it(small, tmp_path, cli, name):
    """Both restrictions of the feedback's norm change something at each use: a step of power iteration, random vectors."""
    config = small(name, norm_range=0.5, trainer={"out": str(tmp_path / "run"), "epochs": 1})
    trainer = Trainer(config)
    trainer.fit(RunDirectory.create(config))
    before = {key: value.clone() for key, value in trainer.method.network.state_dict().items()}
    random = torch.get_rng_state()
    first = trainer.test_figures()
    assert trainer.test_figures() == first
    assert torch.equal(torch.get_rng_state(), random)
    for key, value in trainer.method.network.state_dict().items():
        assert torch.equal(value, before[key]), key
    best = checkpoint.load(tmp_path / "run" / "best.ckpt")["history"][0]["test_accuracy"]
    assert cli("eval", tmp_path / "run")[1] == [f"test_accuracy={best:.4f} epoch=1"]


def test_testing_draws_from_the_seed_of_the_run_wherever_training_is(small):
    """The estimated norm of SPIDE's feedback, above its range, comes from random vectors: the same ones in each test of a run."""
    trainer = Trainer(small("spide", norm_range=1.0))
    scores, seen = trainer.method.scores, []
    trainer.method.scores = lambda inputs: seen.append(scores(inputs)) or seen[-1]
    for state in (1, 2):
        torch.manual_seed(state)
        trainer.test_figures()
    (first, second), once = seen, trainer.method.scores
    assert torch.equal(first, second)
    torch.manual_seed(4)  # not the run's
    assert not torch.equal(once(trainer.dataset.test.batch(torch.arange(len(first)))), first), "choose a norm that matters"


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("name", ["ide", "spide"])
def test_bench_and_plot(small, tmp_path, cli, monkeypatch, name):
    from spiketrain.training import bench

    monkeypatch.setattr(bench.step_times, "__defaults__", (0.05,))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(small(name).to_dict()))
    status, lines, errors = cli("bench", "--config", tmp_path / "a.yaml")
    assert status == 0, errors
    assert lines[-1].startswith("fused_seconds=")
    assert cli("train", "--config", tmp_path / "a.yaml", "--trainer.out", tmp_path / "run", "--trainer.epochs", 1)[0] == 0
    (tmp_path / "run" / "raster.png").unlink()
    assert cli("plot", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "raster.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["ide", "spide"])
def test_empty_share_of_a_batch_moves_nothing_but_momentum(small, name):
    """A process that gets nothing of a short last batch keeps step with the others, who would send it their gradients."""
    method = build(small(name, optimizer={"momentum": 0.0}))
    before = {key: value.clone() for key, value in method.network.state_dict().items()}
    inputs, labels = batch()
    result = method.training_step(inputs[:0], labels[:0], 1)
    assert (result.loss.item(), result.correct.item(), method.steps) == (0, 0, 1)
    for key, value in method.network.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_solver_that_fails_is_counted(small, recwarn):
    """Warnings thin out; the epoch's figures tell the share of the steps."""
    method = build(small("ide", solver="fixed_point", solver_steps=1))
    method.start_epoch(1)
    residuals = []
    for step in range(4):
        method.network.ring.solver_steps = 1 if step % 2 else 60
        method.training_step(*batch(step), 12)
        residuals.append(method.network.ring.last_residual)
    assert [residual > 0.1 for residual in residuals] == [False, True, False, True]
    measured = method.finish_epoch()
    assert measured["solver_failures"] == pytest.approx(0.5)
    assert measured["solver_residual"] == pytest.approx(sum(residuals) / 4)


def test_solver_that_fails_stops_the_run_if_asked(small, tmp_path, assert_error):
    config = small("ide", solver="fixed_point", solver_steps=1, on_solver_failure="raise", trainer={"out": str(tmp_path / "run")})
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config.to_dict()))
    # The spectral norm of the feedback weight is at its range and one damped step is not enough.
    words = ["training step", "solver", "residual", "checkpoints are intact"]
    assert_error(words, "train", "--config", tmp_path / "a.yaml", "--optimizer.lr", 0.5)


@pytest.mark.parametrize(
    "preset, field, value, words",
    [
        ("ide-digits", "method.solver", "newton", ["method.solver", "newton", "broyden"]),
        ("ide-digits", "method.on_solver_failure", "ignore", ["method.on_solver_failure", "ignore"]),
        ("ide-digits", "method.solver_steps", "-1", ["solver_steps", "-1"]),
        ("ide-digits", "network.time_steps", "0", ["network.time_steps", "above 0", "0"]),
        ("ide-digits", "method.leak", "0", ["method.leak", "above 0 and at most 1"]),
        ("spide-digits", "method.leak", "1.01", ["method.leak", "1.01"]),
        ("spide-digits", "method.leak", "nan", ["method.leak", "nan"]),
        ("ide-digits", "method.threshold", "0", ["threshold", "0"]),
        ("ide-digits", "method.norm_range", "0", ["norm_range", "0"]),
        ("spide-digits", "method.backward_time_steps", "0", ["backward_time_steps", "0"]),
        ("spide-digits", "method.backward_threshold", "-0.5", ["backward_threshold", "-0.5"]),
        ("spide-digits", "method.u_rest", "2", ["u_rest"]),
        ("spide-digits", "method.scale_factor", "0", ["method.scale_factor", "above 0"]),
        ("spide-digits", "method.init", "zeros", ["method.init", "zeros"]),
        ("ide-digits", "network.feedback", "16X3", ["network.feedback", "16X3", "64C5"]),
        ("ide-digits", "network.feedback", "16C3u", ["ring does not close", "16"]),
        ("ide-digits", "network.feedback", "17C3", ["ring does not close", "17"]),
        ("ide-digits", "network.layers", "16C3s-9", ["9 outputs", "10 classes"]),
        ("ide-digits", "network.layers", "10", ["layer of neurons"]),
        ("spide-digits", "network.dropout", "[0.1]", ["dropout"]),
        ("spide-digits", "network.dropout", "[0.1, 0.1, 1.0]", ["network.dropout", "[0, 1)"]),
        ("tsslbp-digits", "network.feedback", "16C3", ["network.feedback", "ide and spide"]),
        ("tsslbp-digits", "network.dropout", "[0.1, 0.2]", ["network.dropout", "ide and spide"]),
        ("ide-digits", "optimizer.warmup_steps", "-1", ["optimizer.warmup_steps", "0 or more"]),
    ],
)
def test_wrong_options_are_one_clear_line(tmp_path, assert_error, preset, field, value, words):
    assert_error(words, "train", preset, f"--{field}", value)
    assert not (tmp_path / "runs").exists()
