"""Networks of runs without their data sets: `spiketrain.load` computes what `spiketrain eval` does, and says what it does not know."""

import copy
import random

import numpy as np
import pytest
import torch
import trained_runs
from data_files import writers

import spikeops
import spiketrain
from spiketrain import data, presets
from spiketrain.errors import LONGEST_LINE, UserError

DIGITS = [name for name in presets.names() if name.endswith("digits")]
SMALL = {"data": {"name": "digits"}, "network": {"layers": "12-10", "time_steps": 3}, "method": {"name": "bptt"}}


def changed(folder, change):
    """The best checkpoint of a run with a change."""
    with trained_runs.rewritten(folder / "best.ckpt") as content:
        change(content)


@pytest.mark.parametrize("preset", DIGITS)
def test_every_method_computes_what_eval_does(preset, tmp_path):
    trainer, inputs, scores = trained_runs.evaluated(trained_runs.train(preset, tmp_path / "run"))
    random_numbers = torch.get_rng_state()
    model = spiketrain.load(tmp_path / "run")
    images = trainer.dataset.test.images
    assert torch.equal(model.preprocess(images), inputs)
    with torch.no_grad():
        assert torch.equal(model(images), scores)
        assert torch.equal(model(inputs), scores)
        assert torch.equal(model(images), scores), "a second time something else: the first one left a trace"
    predictions = model.predict(images)
    assert torch.equal(predictions.scores, scores) and torch.equal(predictions.indices, scores.argmax(1))
    assert predictions.probabilities.sum(1).allclose(torch.ones(len(images), dtype=torch.float64))
    assert not model.training and model.class_names == tuple(map(str, range(10)))
    assert torch.equal(torch.get_rng_state(), random_numbers)


def test_an_export_is_needed_for_each_new_method():
    """A new method without a preset on digits is one that nothing here has looked at."""
    from spiketrain import methods

    assert {presets.load(name)["method"]["name"] for name in DIGITS} == set(methods.names())


def test_a_checkpoint_says_what_its_network_needs(tmp_path):
    folder = trained_runs.train("bptt-digits", tmp_path / "run")
    content = torch.load(folder / "best.ckpt", weights_only=True)
    scale, shift = 1 / 6, -4.9 / 6
    assert content["model"]["preprocessing"] == {"kind": "pictures", "white": 16, "scale": [pytest.approx(scale)], "shift": [pytest.approx(shift)]}
    expected = {"data": "digits", "input_shape": [1, 8, 8], "classes": 10, "class_names": None, "task": "accuracy", "preset": "bptt-digits"}
    assert {name: content["model"][name] for name in expected} == expected
    versions = {"spiketrain": spikeops.__version__, "spikeops": spikeops.__version__, "torch": str(torch.__version__)}
    assert content["model"]["versions"] == versions == spiketrain.load(folder).versions


def test_no_data_set_is_read(tmp_path, monkeypatch, cli):
    writers.write_pictures(tmp_path / "data")
    raw = {**SMALL, "data": {"name": "imagefolder", "root": str(tmp_path / "data"), "image_size": 8}, "network": {"layers": "12-3", "time_steps": 3}}
    folder = trained_runs.train(raw, tmp_path / "run")
    _, inputs, scores = trained_runs.evaluated(folder)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    monkeypatch.setattr(data, "load", None)
    (folder / "last.ckpt").unlink()
    (folder / "best.ckpt").rename(tmp_path / "alone.ckpt")
    model = spiketrain.load(tmp_path / "alone.ckpt")
    assert model.class_names == ("cat", "dog", "eel") and model.input_shape == (3, 8, 8)
    predictions = model.predict(tmp_path / "elsewhere" / "test")
    assert torch.equal(predictions.scores, scores)
    assert [name.rpartition("/test/")[2] for name in predictions.names] == [f"{name}/{k}.png" for name in ("cat", "dog", "eel") for k in (0, 1)]
    with torch.no_grad():
        assert torch.equal(model(inputs), scores)


@pytest.mark.parametrize("keep", [True, False])
def test_older_checkpoints_are_described_by_their_configuration(tmp_path, keep, assert_error):
    """From what is known of the data set, or from the data; where neither is, one line says what is missing."""
    writers.write_pictures(tmp_path / "data")
    raw = {**SMALL, "data": {"name": "imagefolder", "root": str(tmp_path / "data"), "image_size": 8}, "network": {"layers": "12-3", "time_steps": 3}}
    folder = trained_runs.train(raw, tmp_path / "run")
    _, inputs, scores = trained_runs.evaluated(folder)
    changed(folder, lambda content: content.pop("model"))
    if keep:
        model = spiketrain.load(folder)
        assert len(model.notes) == 1 and "older version" in model.notes[0]
        assert model.class_names == ("cat", "dog", "eel") and model.versions == {}
        with torch.no_grad():
            assert torch.equal(model(inputs), scores)
    else:
        (tmp_path / "data").rename(tmp_path / "elsewhere")
        assert_error(["class names", "normalisation", "imagefolder", "data set not found"], "predict", folder, "a.png")
        with pytest.raises(UserError) as raised:
            spiketrain.load(folder)
        assert len(str(raised.value)) <= LONGEST_LINE
        assert spiketrain.load(folder, options=["--data.root", str(tmp_path / "elsewhere")]).class_names == ("cat", "dog", "eel")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "nmnist", "cifar10_dvs", "shd", "ssc", "dvs-gesture"])
def test_what_a_configuration_tells_is_what_the_data_tell(name, tmp_path, tiny):
    """The description without any file is that of the data set itself."""
    from data_files import event_writers

    from spiketrain.data import described

    write = {
        "mnist": writers.write_mnist, "fashion_mnist": lambda root: writers.write_mnist(root, "FashionMNIST"),
        "cifar10": lambda root: writers.write_cifar(root, "cifar10"), "cifar100": lambda root: writers.write_cifar(root, "cifar100"),
        "svhn": writers.write_svhn, "nmnist": writers.write_nmnist, "cifar10_dvs": writers.write_dvs,
        "shd": event_writers.write_cochlea, "ssc": lambda root: event_writers.write_cochlea(root, "ssc"), "dvs-gesture": event_writers.write_gestures,
    }  # fmt: skip
    if name in ("shd", "ssc"):
        pytest.importorskip("h5py")
    tmp_path.joinpath("data").mkdir()
    write[name](tmp_path / "data")
    for options in ({}, {"normalize": False}, {"mean": [0.4], "std": [0.3]}):
        channels = {"mnist": 1, "fashion_mnist": 1}.get(name, 3)
        options = {key: value * channels if isinstance(value, list) else value for key, value in options.items()}
        if options and name not in ("mnist", "fashion_mnist", "cifar10", "cifar100", "svhn"):
            continue
        config = tiny(data={"name": name, "root": str(tmp_path / "data"), "augment": False, **options}, network={"time_steps": 6})
        read, known = data.load(config).description(), described.of_config(config)
        if name in ("shd", "ssc"):  # whose files say it
            assert known["class_names"] is None and len(read["class_names"]) == known["classes"]
            read["class_names"] = None
        if name in ("mnist", "fashion_mnist"):  # the files here are smaller
            read["input_shape"] = [1, 28, 28]
        assert known == read
        stand_in, batch = described.stand_in(known), data.load(config).test.batch(torch.arange(1))
        assert name in ("mnist", "fashion_mnist") or stand_in.test.batch(torch.arange(1)).shape == batch.shape


WRONG = {
    "no dictionary": 7, "nothing": {}, "shape of words": {"input_shape": ["a"]}, "a huge shape": {"input_shape": [2**20, 2**20, 3]},
    "another shape": {"input_shape": [1, 9, 9]}, "negative": {"input_shape": [1, -8, 8]}, "no classes": {"classes": 0},
    "too many classes": {"classes": 2**40}, "more classes": {"classes": 11}, "names": {"class_names": ["a"]}, "names of numbers": {"class_names": [1] * 10},
    "task": {"task": ["accuracy"]}, "kind": {"preprocessing": {"kind": "exec"}}, "no kind": {"preprocessing": {}}, "text": {"preprocessing": "pictures"},
    "scale": {"preprocessing": {"kind": "pictures", "white": 16, "scale": [float("nan")], "shift": [0.0]}},
    "two scales": {"preprocessing": {"kind": "pictures", "white": 16, "scale": [1.0, 2.0], "shift": [0.0]}},
    "white": {"preprocessing": {"kind": "pictures", "white": 0, "scale": [1.0], "shift": [0.0]}},
    "events": {"preprocessing": {"kind": "events", "counts": True, "binning": {"time_steps": 3, "downsample": 0, "sensor": [8, 8]}}},
    "no sensor": {"preprocessing": {"kind": "events", "counts": True, "binning": {"time_steps": 3, "sensor": None}}},
    "a number too many": {"preprocessing": {"kind": "events", "counts": True, "binning": {"time_steps": 3, "sensor": [8, 8], "x": 3}}},
    "sensor": {"preprocessing": {"kind": "events", "counts": True, "binning": {"time_steps": 3, "sensor": "ab"}}},
    "frames": {"preprocessing": {"kind": "frames", "side": 8, "time_steps": 2**30}},
}  # fmt: skip


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    return trained_runs.train(SMALL, tmp_path_factory.mktemp("small") / "run")


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_description_that_no_run_has_written_is_one_line(small_run, tmp_path, wrong):
    with trained_runs.rewritten(small_run / "best.ckpt", tmp_path / "a.ckpt") as content:
        if not wrong:
            content["model"] = {}
        else:
            content["model"] = {**content["model"], **wrong} if isinstance(wrong, dict) else wrong
    with pytest.raises(UserError) as raised:
        spiketrain.load(tmp_path / "a.ckpt")
    assert 10 < len(str(raised.value)) <= LONGEST_LINE


def test_damaged_checkpoints_keep_their_errors(small_run, tmp_path, assert_error):
    content = bytearray((small_run / "best.ckpt").read_bytes())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best.ckpt").write_bytes(content[: len(content) // 2])
    for command in (["predict", tmp_path / "run", "a.png"], ["export", tmp_path / "run", "--format", "pt2", "--out", "a.pt2"]):
        assert_error("damaged or truncated", *command)
        assert_error("is no run directory: it holds no last.ckpt", *[tmp_path / "data" if word == tmp_path / "run" else word for word in command])


def test_tensors_that_do_not_fit_are_refused(small_run):
    model = spiketrain.load(small_run)
    bright = torch.full((2, 1, 8, 8), 17, dtype=torch.uint8)
    for wrong, words in (
        (torch.zeros(2, 8, 8), r"pictures \(N, 1, 8, 8\), got shape \(2, 8, 8\)"), (torch.zeros(2, 1, 8, 9), "got shape"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "got shape"), (bright, "0 .black. to 16 .white., as in the data set, got 17"),
    ):  # fmt: skip
        for ask in (model, model.predict):
            with pytest.raises(ValueError, match=words):
                ask(wrong)
    for ask in (model, model.predict):
        with pytest.raises(TypeError, match="floating point or uint8, got torch.int64"):
            ask(torch.zeros(2, 1, 8, 8, dtype=torch.int64))
    with pytest.raises(TypeError, match="uint8 pictures from 0 to 16"):
        model.preprocess(torch.zeros(2, 1, 8, 8))
    assert len(model.predict(torch.zeros(0, 1, 8, 8))) == 0


def test_a_loaded_network_is_an_ordinary_module(small_run):
    model = spiketrain.load(small_run)
    pictures = model.examples(5)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        assert torch.equal(copied(pictures), model(pictures))
        copied.network.stages["linear_1"].module.weight.zero_()
        assert not torch.equal(copied(pictures), model(pictures)), "the copy shares its weights"
    inputs = model.preprocess(pictures).requires_grad_()
    model(inputs).logsumexp(1).sum().backward()
    assert inputs.grad.abs().sum() > 0
    assert set(model.state_dict()) == {f"network.{name}" for name in model.network.state_dict()}
    assert "takes pictures (N, 1, 8, 8)" in repr(model)


def test_training_goes_on_with_other_masks_each_time_and_predictions_have_none(tmp_path):
    raw = {**SMALL, "network": {"layers": "40-10", "time_steps": 3, "dropout": 0.5}}
    model = spiketrain.load(trained_runs.train(raw, tmp_path / "run"))
    pictures = model.examples(20)
    scores = model.predict(pictures).scores
    model.train()
    model.network.stages["linear_1"].eval()
    assert not torch.equal(model(pictures), model(pictures))
    assert torch.equal(model.predict(pictures).scores, scores)
    assert model.training and not model.network.stages["linear_1"].training


def test_batches_of_any_size_give_the_same_predictions(small_run):
    model, progress = spiketrain.load(small_run), []
    pictures = model.examples(7)
    found = model.predict(pictures, batch_size=3, progress=lambda done, of: progress.append((done, of)))
    assert progress == [(3, 7), (6, 7), (7, 7)]
    torch.testing.assert_close(found.scores, model.predict(pictures).scores)
    best = found.top(2)
    assert [len(row) for row in best] == [2] * 7 and all(row[0].score >= row[1].score for row in best)
    assert found.notes == []
    assert [row[0].name for row in best] == found.labels and best[0][0].probability == found.probabilities[0].max()


def test_noise_is_that_of_eval(tmp_path):
    folder = trained_runs.train("convex-digits", tmp_path / "run", method={"sigma_v": 0.05})
    _, inputs, scores = trained_runs.evaluated(folder)
    model = spiketrain.load(folder)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(model.predict(inputs).scores, scores)
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]


def test_outputs_beyond_the_classes_have_names(tmp_path):
    folder = trained_runs.train({**SMALL, "network": {"layers": "12-12", "time_steps": 3}}, tmp_path / "run")
    model = spiketrain.load(folder)
    assert model.class_names[9:] == ("9", "output 10 (no class)", "output 11 (no class)")


def test_networks_of_points_take_points(tmp_path, assert_error):
    folder = trained_runs.train("convex-own-surfaces-1layer", tmp_path / "run", trainer={"limit_train": 30})
    trainer, inputs, scores = trained_runs.evaluated(folder)
    model = spiketrain.load(folder)
    assert torch.equal(model.predict(inputs).scores, scores) and not model.is_classifier
    assert_error("real numbers, no classes", "predict", folder, "a.png")


def test_options_are_applied_or_refused(small_run, tmp_path, assert_error):
    assert spiketrain.load(small_run, options=["--network.time_steps", "2"]).time_steps == 2
    grey = spiketrain.load(small_run, options=["--data.normalize", "false"])
    assert grey.preprocess(torch.full((1, 1, 8, 8), 16, dtype=torch.uint8)).unique().item() == pytest.approx(1)
    assert_error("network.layers", "predict", small_run, "a.png", "--network.layers", "20-10")
    assert_error("unknown field 'topp'", "predict", small_run, "a.png", "--topp", "3")
