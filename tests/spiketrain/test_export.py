"""Networks in other formats: what is written computes what eval does, or it is not written."""

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import python_code
import torch
import trained_runs
from data_files import event_writers

import spiketrain
from spiketrain import presets
from spiketrain.deployment import agreement, exporting
from spiketrain.deployment.exporting import export
from spiketrain.deployment.formats import NAMES, onnx, pt2, state_dict
from spiketrain.deployment.model import Model
from spiketrain.errors import LONGEST_LINE, UserError

# One of each kind of network and neuron, as small as they can be.
BPTT = {"data": {"name": "digits"}, "network": {"layers": "4C3-P2-10", "padding": 1, "time_steps": 3}, "method": {"name": "bptt"}}
KINDS = {
    "bptt": BPTT,
    "bptt, recurrent": {**BPTT, "network": {"layers": "9R-8R1-10", "time_steps": 3}, "method": {"name": "bptt", "current_decay": 0.5, "beta": 0.3,
                        "adaptation_decay": 0.9, "learn_decays": True, "readout_decay": 0.8, "readout_current_decay": 0.5, "loss": "max"}},
    "bptt, adaptive": {**BPTT, "method": {"name": "bptt", "beta": 0.3, "adaptation_decay": 0.9, "loss": "softmax"}},
    "bptt, current-based": {**BPTT, "method": {"name": "bptt", "current_decay": 0.4, "surrogate": "FastSigmoid", "surrogate_parameter": 9, "loss": "last"}},
    "bptt, learned decays": {**BPTT, "network": {"layers": "4C3s-P3-10", "padding": 1, "time_steps": 3, "dropout": 0.2},
                             "method": {"name": "bptt", "learn_decays": True, "normalize_input": True, "reset": "to"}},
    "tssl_bp": {**BPTT, "network": {**BPTT["network"], "conv_weight_scale": 4.0, "linear_weight_scale": 2.0},
                "method": {"name": "tssl_bp", "threshold": [0.5, 0.4]}},
    "ide": {**BPTT, "network": {"layers": "4C3s-P2-6-10", "feedback": "", "padding": 1, "time_steps": 4}, "method": {"name": "ide", "leak": 0.9, "threshold": 0.3}},
    "ide with feedback": {**BPTT, "network": {"layers": "4C3s-4C3-10", "feedback": "4C3", "padding": 1, "time_steps": 4}, "method": {"name": "ide"}},
    "spide": {**BPTT, "network": {"layers": "4C3-4C3s-10", "feedback": "4C3u", "padding": 1, "time_steps": 5},
              "method": {"name": "spide", "backward_time_steps": 5, "weight_standardization": True, "norm_range": 0.3}},
    "ell": {**BPTT, "data": {"name": "digits", "normalize": False}, "network": {"layers": "8C3-P2-12", "padding": 1, "time_steps": 4},
            "method": {"name": "ell", "feedback": "alignment", "decoder_size": 40, "threshold": 0.1}},
    "bell, latency": {**BPTT, "data": {"name": "digits", "normalize": False}, "network": {"layers": "12", "time_steps": 4},
                      "method": {"name": "bell", "encoding": "latency", "threshold": 0.1}},
    "clamped": {**BPTT, "network": {"layers": "4C3-P2-8-10", "padding": 1, "time_steps": 3}, "method": {"name": "local_ce", "neuron": "clamped"}},
    "local, lif": {**BPTT, "method": {"name": "local_ce_corr", "neuron": "lif"}},
    "convex": {**presets.load("convex-digits"), "network": {"layers": "20-10", "time_steps": 3}},
    "convex, stacked": {**presets.load("convex-digits"), "network": {"layers": "20-20-10", "time_steps": 3},
                        "method": {**presets.load("convex-digits")["method"], "float64": True}},
    "convex, by rates": {**presets.load("convex-digits"), "network": {"layers": "20-20-10", "time_steps": 3},
                         "method": {**presets.load("convex-digits")["method"], "between": "rates", "skip": False, "initial": "published", "dt": 0.1}},
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """``runs(kind)``: a run directory of one of the `KINDS`."""
    made = {}

    def run(kind):
        if kind not in made:
            made[kind] = trained_runs.train(KINDS[kind], tmp_path_factory.mktemp("export") / "run")
        return made[kind]

    return run


def module_of(path):
    """The module in a file, without spiketrain's help."""
    spec = importlib.util.spec_from_file_location(f"written_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_and_its_module_compute_what_eval_does(runs, kind, tmp_path):
    trainer, inputs, scores = trained_runs.evaluated(runs(kind))
    done = export(spiketrain.load(runs(kind)), "state_dict", tmp_path / "model.pt")
    assert done.agreement.is_equal and done.files == [tmp_path / "model.pt", tmp_path / "model.py"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "model.py"]
    module = module_of(tmp_path / "model.py")
    assert "spiketrain" not in [line.split()[1].partition(".")[0] for line in (tmp_path / "model.py").read_text().splitlines() if line.startswith(("import", "from"))]
    network = module.load()
    assert torch.equal(module.preprocess(trainer.dataset.test.images), inputs)
    with torch.no_grad():
        assert torch.equal(network(inputs), scores)
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    assert weights.keys() == network.state_dict().keys() and all(isinstance(value, torch.Tensor) for value in weights.values())
    assert (tuple(map(str, range(10))), (1, 8, 8), 16) == (module.CLASS_NAMES, module.INPUT_SHAPE, module.WHITE)


@pytest.mark.parametrize("kind", ["bptt", "bptt, recurrent", "tssl_bp", "ide with feedback", "ell", "clamped", "convex"])
def test_programs_compute_what_eval_does(runs, kind, tmp_path):
    trainer, _, scores = trained_runs.evaluated(runs(kind))
    export(spiketrain.load(runs(kind)), "pt2", tmp_path / "model.pt2")
    files = {pt2.ABOUT: ""}
    program = torch.export.load(str(tmp_path / "model.pt2"), extra_files=files).module()
    about = json.loads(files[pt2.ABOUT])
    assert about["class_names"] == list(map(str, range(10))) and about["input"] == "(N, 1, 8, 8) of uint8, 0 to 16"
    for count in (1, 7, 40):
        found = program(trainer.dataset.test.images[:count])
        assert agreement.compare(scores[:count], found).flipped == 0


@pytest.mark.parametrize("format", ["pt2", "onnx", "nir"])
def test_names_of_files_that_are_no_text(runs, format, tmp_path, cli):
    """Bytes that are not UTF-8, and a line end: what was written is read again, and said in one line."""
    if format == "onnx":
        for package in onnx.PACKAGES:
            pytest.importorskip(package)
    if format == "nir":
        pytest.importorskip("nirtorch")
    kind = trained_runs.train({**BPTT, "method": {"name": "bptt", "reset": "to", "strict": True}}, tmp_path / "run") if format == "nir" else runs("bptt")
    out = tmp_path / f"a\udcff \n.{format}"
    status, lines, errors = cli("export", kind, "--format", format, "--out", out)
    assert (status, errors) == (0, []) and out.is_file()
    assert lines[0].startswith(f"wrote {tmp_path}/a\\udcff \\n.{format}: scores of 64")


DEEP = {
    "sew_resnet18": {"name": "bptt", "detach_reset": True, "surrogate": "Rectangle", "surrogate_parameter": 1, "memory": "packed", "neurons_keep": "bits", "threshold": 0.3},
    "spikformer": {"name": "bptt", "reset": "to", "detach_reset": True, "normalize_input": True, "surrogate": "Sigmoid", "memory": "checkpoint", "threshold": 0.2},
}  # fmt: skip


@pytest.mark.parametrize("model", DEEP)
def test_deep_networks_are_programs_and_refused_by_formats_without_them(model, tmp_path, cli, assert_error):
    """With the options of their presets."""
    raw = {**BPTT, "network": {"model": model, "width": 8, "depth": 1, "time_steps": 2, **({"heads": 2} if model == "spikformer" else {})}, "method": DEEP[model]}
    folder = trained_runs.train(raw, tmp_path / "run")
    trainer, _, scores = trained_runs.evaluated(folder)
    status, lines, errors = cli("export", folder, "--format", "pt2", "--out", tmp_path / "model.pt2")
    assert (status, errors) == (0, []) and "64 samples" in lines[0]
    program = torch.export.load(str(tmp_path / "model.pt2")).module()
    for count in (1, 7, 40):
        assert agreement.compare(scores[:count], program(trainer.dataset.test.images[:count])).flipped == 0
    for format, words in (("state_dict", ["network.model", "export it as pt2"]), ("nir", ["NIR has no networks of", "Export it as pt2"])):
        assert_error([model, *words], "export", folder, "--format", format, "--out", tmp_path / "refused.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt2", "run"]


# The converter takes seconds for each: one for every kind of op.
@pytest.mark.parametrize("kind", ["bptt", "tssl_bp", "ide with feedback", "clamped"])
def test_onnx_computes_what_eval_does(runs, kind, tmp_path):
    for package in onnx.PACKAGES:
        pytest.importorskip(package)
    import onnxruntime

    trainer, _, scores = trained_runs.evaluated(runs(kind))
    export(spiketrain.load(runs(kind)), "onnx", tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["spiketrain.input"] == "(N, 1, 8, 8) of uint8, 0 to 16"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["model.onnx"]  # the weights are in it
    for count in (1, 40):
        found = session.run(["scores"], {"inputs": trainer.dataset.test.images[:count].numpy()})[0]
        agreement.check(agreement.compare(scores[:count], torch.from_numpy(found)), is_exact=False)


@pytest.mark.parametrize("options, dialect", [({"reset": "to", "strict": True}, "nir"), ({"reset": "to"}, "spikingjelly")])
def test_nir_computes_what_eval_does(tmp_path, options, dialect):
    pytest.importorskip("nir")
    pytest.importorskip("nirtorch")
    import spikeops.nir

    raw = {**BPTT, "network": {"layers": "4C3-P2-9-10", "padding": 1, "time_steps": 4, "dropout": 0.1, "conv_weight_scale": 3.0, "linear_weight_scale": 2.0}, "method": {"name": "bptt", **options}}
    folder = trained_runs.train(raw, tmp_path / "run")
    _, inputs, scores = trained_runs.evaluated(folder)
    done = export(spiketrain.load(folder), "nir", tmp_path / "model.nir", dialect=dialect)
    assert "(outputs / len(outputs)).sum(0)" in done.notes[1]
    network = spikeops.nir.from_nir(str(tmp_path / "model.nir"), dialect=dialect).eval()
    with torch.no_grad():
        found = network(inputs.expand(4, *inputs.shape)).mean(0)
    agreement.check(agreement.compare(scores, found), is_exact=False)


def test_networks_on_events_are_exported(tmp_path):
    event_writers.write_own(tmp_path / "data")
    raw = {"data": {"name": "events", "root": str(tmp_path / "data"), "downsample": 4}, "network": {"layers": "4C3-P2-2", "time_steps": 4}}
    raw["network"] |= {"conv_weight_scale": 4.0, "linear_weight_scale": 3.0}
    for method in ({"name": "bptt"}, {"name": "tssl_bp", "threshold": 0.3}, {"name": "ide", "threshold": 0.5}, {"name": "local_ce", "neuron": "lif"}):
        folder = trained_runs.train({**raw, "method": method}, tmp_path / method["name"])
        trainer, inputs, scores = trained_runs.evaluated(folder)
        model = spiketrain.load(folder)
        assert torch.equal(model.predict(tmp_path / "data" / "test").scores, scores)
        for format, name in (("state_dict", "model.pt"), ("pt2", "model.pt2")):
            export(model, format, tmp_path / name)
        network = module_of(tmp_path / "model.py").load()
        with torch.no_grad():
            assert torch.equal(network(inputs), scores)
            program = torch.export.load(str(tmp_path / "model.pt2")).module()
            assert agreement.compare(scores, program(inputs)).flipped == 0


@pytest.mark.parametrize("preset", [
    "bptt-shd-alif", "bptt-shd-rlif", "tsslbp-mnist-cnn", "ide-fashion-if", "spide-mnist-lenet-fast", "ell-mnist-dnn", "localce-lif-mnist-mlp",
    "localcorr-mnist-mlp", "convex-mnist",
])  # fmt: skip
def test_published_networks_are_rebuilt(preset, tmp_path):
    """The same modules, weights of the same names and shapes."""
    from torch.nn.utils import parametrize

    from spiketrain import methods
    from spiketrain.data import described
    from spiketrain.methods import load_config

    config = load_config(presets.load(preset))
    description = described.of_config(config)
    method = methods.get(config.method.name)(config, tuple(description["input_shape"]), description["classes"], torch.device("cpu"))
    for module in list(method.network.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    head = state_dict._HEAD[state_dict._HEAD.index("from __future__") :]
    (tmp_path / "network.py").write_text(head + method.source().text())
    network = module_of(tmp_path / "network.py").Network()
    shapes = {name: tensor.shape for name, tensor in method.network.state_dict().items()}
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == shapes
    assert [repr(stage) for stage in network.children()] == [repr(stage) for stage in method.network.children()]


def test_what_a_format_cannot_express_is_refused_by_name(runs, tmp_path):
    for kind, words in (("bptt", "reset must be 'to'"), ("tssl_bp", "no networks of tssl_bp"), ("ide", "no networks of ide"), ("ell", "no networks of ell"),
                        ("clamped", "no networks of local_ce"), ("convex", "no networks of convex")):  # fmt: skip
        if kind == "bptt":
            pytest.importorskip("nir")
            pytest.importorskip("nirtorch")
        with pytest.raises(UserError, match=words) as raised:
            export(spiketrain.load(runs(kind)), "nir", tmp_path / "model.nir")
        assert "to_nir" not in str(raised.value) and str(raised.value).startswith("NIR")
        assert "Export it as pt2 or state_dict" in str(raised.value) and len(str(raised.value)) <= LONGEST_LINE
    folder = trained_runs.train({**KINDS["convex"], "method": {**KINDS["convex"]["method"], "sigma_v": 0.1}}, tmp_path / "run")
    assert export(spiketrain.load(folder), "state_dict", tmp_path / "noise.pt").agreement.is_equal
    for format in ("pt2", "onnx", "nir"):
        with pytest.raises(UserError, match="sigma_v.*export a state_dict, which can"):
            export(spiketrain.load(folder), format, tmp_path / "model.x")
    assert not (tmp_path / "model.x").exists() and not (tmp_path / "model.nir").exists()


def test_runs_in_bfloat16_are_exported_in_float32_when_asked(tmp_path, cli, assert_error):
    folder = trained_runs.train(BPTT, tmp_path / "run", trainer={"precision": "bfloat16"})
    _, inputs, scores = trained_runs.evaluated(folder)
    assert torch.equal(spiketrain.load(folder).predict(inputs).scores, scores)
    assert_error(["bfloat16", "--trainer.precision float32"], "export", folder, "--format", "state_dict", "--out", tmp_path / "model.pt")
    status, lines, _ = cli("export", folder, "--format", "state_dict", "--out", tmp_path / "model.pt", "--trainer.precision", "float32")
    assert status == 0 and "equal, bit for bit" in lines[0]


def test_an_export_that_computes_something_else_is_not_written(runs, tmp_path, monkeypatch):
    """Neither a new file is left, nor an old one touched."""
    model = spiketrain.load(runs("bptt"))
    old = {name: state_dict._MARK for name in ("model.pt", "model.py", "model.pt2")}
    for name, content in old.items():
        (tmp_path / name).write_text(content)
    text = state_dict._text
    wrong_mean = "(outputs / len(outputs)).sum(0)"
    monkeypatch.setattr(state_dict, "_text", lambda *words: text(*words).replace(wrong_mean, "outputs.amax(0)"))
    with pytest.raises(UserError, match="was not written: its scores are not those of the run for .* of 64 samples"):
        export(model, "state_dict", tmp_path / "model.pt")
    monkeypatch.setattr(state_dict, "_text", lambda *words: text(*words).replace("snn.LIF(", "snn.LIF(threshold=1.01, "))
    with pytest.raises(UserError, match="was not written"):
        export(model, "state_dict", tmp_path / "model.pt")
    monkeypatch.setattr(state_dict, "_text", lambda *words: text(*words).replace("'conv_1'", "'conv'"))
    with pytest.raises(UserError, match="cannot be rebuilt from source .* export it as pt2") as raised:
        export(model, "state_dict", tmp_path / "model.pt")
    assert len(str(raised.value)) <= LONGEST_LINE
    follow = pt2.exported_program

    def other_weights(model, *words):
        with torch.no_grad():
            model.network.stages["conv_1"].module.weight[0] *= 1.01
        program = follow(model, *words)
        with torch.no_grad():
            model.network.stages["conv_1"].module.weight[0] /= 1.01
        return program

    monkeypatch.setattr(pt2, "exported_program", other_weights)
    with pytest.raises(UserError, match="was not written"):
        export(model, "pt2", tmp_path / "model.pt2")
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == old


def test_files_are_replaced_at_once(runs, tmp_path, monkeypatch):
    model = spiketrain.load(runs("bptt"))
    (tmp_path / "model.pt").write_text("old")
    monkeypatch.setattr(exporting.os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left"):
        export(model, "state_dict", tmp_path / "model.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"] and (tmp_path / "model.pt").read_text() == "old"
    monkeypatch.undo()
    export(model, "state_dict", tmp_path / "model.pt")
    assert (tmp_path / "model.pt").stat().st_mode & 0o777 == 0o666 & ~exporting._umask()


@pytest.mark.parametrize("out, words", [("folder", "it is a folder"), ("nowhere/model.pt", "no such folder"), ("best.ckpt", "a run keeps its own file by that name"), ("model.py", "a name such as model.pt"),
                                        ("my-model.pt", "a name such as model.pt"), ("class.x.pt", "a name such as model.pt"),
                                        ("class.pt", "a name such as model.pt"), ("own.pt", "own.py would be overwritten")])  # fmt: skip
def test_places_that_cannot_be_are_refused(runs, tmp_path, out, words, assert_error):
    (tmp_path / "folder").mkdir()
    (tmp_path / "own.py").write_text("import torch\n")
    assert_error(words, "export", runs("bptt"), "--format", "state_dict", "--out", tmp_path / out)


@pytest.mark.parametrize("options, words", [
    (["--format", "tflite"], "unknown format 'tflite'"), (["--format", "pt2", "--dialect", "sinabs"], "--dialect: is for --format nir"),
    (["--format", "nir", "--dt", "-1"], "--dt: expected seconds"), (["--format", "pt2", "--resize"], "--resize: is for the pictures of --check"),
    (["--format", "pt2", "--trainer.device", "cpu"], "made on the CPU"), (["--format", "pt2", "--check", "none.png"], "none.png"), ([], "--format"),
    (["--format", "pt2", "--out", "model"], "expected a name that ends in .pt2, got model"),  # torch's reader complains of others
])  # fmt: skip
def test_wrong_options_are_one_line(runs, tmp_path, assert_error, options, words):
    assert_error(words, "export", runs("bptt"), "--out", tmp_path / "model.pt2", *options)
    assert not (tmp_path / "model.pt2").exists()


def test_all_formats_are_documented(cli):
    from spiketrain.cli.export import FORMATS

    assert f"{', '.join(NAMES[:-1])} or {NAMES[-1]}" == FORMATS


def test_networks_that_say_the_same_of_everything_need_samples(runs, tmp_path, assert_error, monkeypatch):
    """Drawn inputs that leave the network silent would tell nothing of the export."""
    from PIL import Image

    with trained_runs.rewritten(runs("bptt") / "best.ckpt", tmp_path / "silent.ckpt") as content:
        for tensor in content["method"]["network"].values():
            tensor.zero_()
    with monkeypatch.context() as patched:  # which may take minutes
        patched.setattr(pt2, "write", None)
        assert_error("--check FILE", "export", tmp_path / "silent.ckpt", "--format", "pt2", "--out", tmp_path / "model.pt2")
    assert_error("--check FILE", "export", tmp_path / "silent.ckpt", "--format", "state_dict", "--out", tmp_path / "model.pt")
    for i in range(3):
        Image.new("L", (8, 8), 80 * i).save(tmp_path / f"{i}.png")
    model = spiketrain.load(tmp_path / "silent.ckpt")
    done = export(model, "state_dict", tmp_path / "model.pt", check=[tmp_path / f"{i}.png" for i in range(3)])
    assert done.agreement.samples == 3 and done.agreement.is_equal


def test_names_of_classes_are_text_and_no_code(runs, tmp_path):
    """A checkpoint may come from somebody else."""
    hostile = ['"""\nopen("harmed", "w")\n"""', "'); open('harmed', 'w'); ('", "\\", "\0", "\u2028open", "é", "{}", "%s", "'", '"']
    with trained_runs.rewritten(runs("bptt") / "best.ckpt", tmp_path / "a.ckpt") as content:
        content["model"]["class_names"] = hostile
        content["model"]["versions"] = {"torch": '"""\nopen("harmed", "w")\n"""', 3: "no", "none": 4}
        content["config"]["preset"] = '"""+str(open("harmed","w"))+"""'
        content["config"]["about"] = '"""; open("harmed", "w"); """'
    export(spiketrain.load(tmp_path / "a.ckpt"), "state_dict", tmp_path / "model.pt")
    module = module_of(tmp_path / "model.py")
    assert not Path("harmed").exists() and tuple(hostile) == module.CLASS_NAMES
    assert module.VERSIONS == {"torch": '"""\nopen("harmed", "w")\n"""'}


def test_the_written_module_runs_where_spiketrain_is_not(runs, tmp_path):
    export(spiketrain.load(runs("ide with feedback")), "state_dict", tmp_path / "ring.pt")
    program = (
        "import sys; sys.modules['spiketrain'] = None; sys.path.insert(0, sys.argv[1]); import torch, ring; "
        "print(ring.load()(ring.preprocess(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))).shape)"
    )
    found = subprocess.run(python_code.command(program, str(tmp_path)), capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "torch.Size([2, 10])\n"), found.stderr


def test_missing_packages_are_named(runs, tmp_path, monkeypatch, assert_error):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert_error(["onnxruntime", "spikeops[export]"], "export", runs("bptt"), "--format", "onnx", "--out", tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "nir", None)
    assert_error(["nir", "spikeops[nir]"], "export", runs("bptt"), "--format", "nir", "--out", tmp_path / "model.nir")


def test_agreement_allows_a_flipped_spike_in_some_and_no_more():
    scores = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    assert agreement.compare(scores, scores).is_equal
    near = scores * (1 + 1e-6)
    found = agreement.compare(scores, near)
    assert not found.is_equal and found.flipped == 0 and "64 of 64" in str(found)
    agreement.check(found, is_exact=False)
    with pytest.raises(UserError, match="expected equal ones"):
        agreement.check(found, is_exact=True)
    near[:2] += 0.1
    agreement.check(agreement.compare(scores, near), is_exact=False)
    near[2] += 0.1
    with pytest.raises(UserError, match="for 3 of 64 samples"):
        agreement.check(agreement.compare(scores, near), is_exact=False)
    for wrong in (scores[:, :9], torch.full_like(scores, float("nan"))):
        with pytest.raises(UserError, match="was not written"):
            agreement.compare(scores, wrong)


def test_drawn_inputs_differ_and_stay_the_same(runs):
    model = spiketrain.load(runs("bptt"))
    assert isinstance(model, Model) and torch.equal(model.examples(8), model.examples(8))
    assert model.examples(8).unique().tolist() == list(range(17))
