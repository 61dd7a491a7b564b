"""Pictures for papers: vector formats, membrane potentials, numbers people read, and published figures where they belong."""

import pytest
import torch
import trained_runs

import spikeops.functional as SF
from spiketrain import presets
from spiketrain.methods import load_config
from spiketrain.reports import drawing, membranes, plots
from spiketrain.training.trainer import Trainer

FIRST_BYTES = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


@pytest.mark.parametrize("kind", FIRST_BYTES)
def test_pictures_of_each_format(cli, tmp_path, kind, pictures):
    run = trained_runs.train("bptt-digits", tmp_path / "run")
    for command, names in (("plot", ["curve", "raster", "membranes", "confusion"]), ("rates", ["rates"])):
        status, _, errors = cli(command, run, "--format", kind)
        assert (status, errors) == (0, [])
        for name in names:
            assert (run / f"{name}.{kind}").read_bytes().startswith(FIRST_BYTES[kind]), name
    status, _, errors = cli("plot", run, "--format", "gif")
    assert status == 2 and "gif" in errors[0]


def test_potentials_are_those_of_the_neurons(tmp_path):
    run = trained_runs.train("bptt-digits", tmp_path / "run")
    trainer, inputs, _ = trained_runs.evaluated(run)
    seen = {}
    network = trainer.method.network
    for name, module in network.neurons().items():
        hook = lambda module, arguments, options, _, name=name: seen.update({name: (module, *arguments, options)})  # noqa: E731
        module.register_forward_hook(hook, with_kwargs=True)
    found = membranes.potentials(trainer.method, inputs[:1])
    assert list(found) == list(network.neurons())
    for name, (potential, spikes, threshold) in found.items():
        module, x, given = seen[name]  # a current that is the same in all steps comes without them
        options = {**module.options._asdict(), **given, "return_trace": "before"}
        expected, _, before = SF.lif(x, decay=module.decay, threshold=module.threshold, **options)
        assert torch.equal(potential, before[:, 0].flatten(1)) and torch.equal(spikes, expected[:, 0].flatten(1))
        assert torch.equal(potential >= threshold, spikes.bool())
    assert not any(module.return_trace for module in network.neurons().values())


@pytest.mark.parametrize("value, text", [(0, "0"), (0.25, "0.25"), (640, "640"), (999.6, "1 k"), (50_400, "50.4 k"), (1_234_567, "1.23 M"), (2e9, "2 G")])
def test_counts_as_people_read_them(value, text):
    assert drawing.in_units(value) == text


@pytest.mark.parametrize("count, rows, columns", [(1, 1, 1), (8, 8, 1), (9, 5, 2), (20, 7, 3), (33, 7, 5)])
def test_panels_of_deep_networks_stand_in_columns(count, rows, columns):
    *size, places = drawing.panels(count)
    assert size == [rows, columns]
    assert len({place[:2] for place in places}) == count and places == sorted(places, key=lambda place: (place[1], place[0]))
    assert (1 + max(row for row, _, _ in places), 1 + max(column for _, column, _ in places)) == (rows, columns)
    assert [place[:2] for place in places if place[2]] == [max(place[:2] for place in places if place[1] == column) for column in range(columns)]


def test_pictures_of_a_deep_network_are_no_tower(tmp_path):
    """Twelve layers of neurons."""
    from PIL import Image

    deep = {"data": {"name": "digits"}, "network": {"model": "sew_resnet18", "width": 4, "depth": 1, "time_steps": 2}, "method": {"name": "bptt"}}
    trainer = Trainer(load_config(deep))
    for draw in (plots.save_raster, membranes.save_membranes):
        assert draw(trainer.method, trainer.dataset, trainer.config, tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as image:
            assert 0.8 < image.width / image.height < 1.6, draw.__name__


@pytest.mark.parametrize("options, has_figures", [
    ([], True),
    (["--trainer.epochs", "3", "--optimizer.lr", "0.1", "--seed", "9"], True),
    (["--data.root", "elsewhere", "--data.download", "true"], True),
    (["--network.time_steps", "5"], True),  # as it is
    (["--network.time_steps", "6"], False),
    (["--data.name", "fashion_mnist"], False),
    (["--trainer.limit_train", "500"], False),
    (["--trainer.limit_test", "500"], False),
    (["--method.tau_m", "6"], False),
    (["--network.time_steps", "6", "--published.mean", "99"], True),  # somebody who knows better
])  # fmt: skip
def test_published_figures_are_of_the_published_experiment(options, has_figures):
    raw = presets.load("tsslbp-mnist-cnn")
    assert load_config(raw).network.time_steps == 5
    assert (load_config(raw, options).published.mean is not None) == has_figures


def test_a_file_over_a_preset_is_another_experiment_too(cli, tmp_path):
    import argparse

    from spiketrain.cli.raw_config import raw_config

    (tmp_path / "mine.yaml").write_text("network: {time_steps: 6}\n")
    (tmp_path / "fewer.yaml").write_text("trainer: {limit_train: 60}\n")
    (tmp_path / "longer.yaml").write_text("trainer: {epochs: 6}\n")
    for name, has_figures in (("mine", False), ("fewer", False), ("longer", True)):
        raw = raw_config(argparse.Namespace(preset="tsslbp-mnist-cnn", config=f"{name}.yaml"))
        assert (load_config(raw).published.mean is not None) == has_figures
