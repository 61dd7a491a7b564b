"""`spiketrain predict`: the same answers as a table, as CSV and as JSON."""

import csv
import json

import numpy as np
import pytest
import torch
import trained_runs

import spiketrain

SMALL = {"data": {"name": "digits"}, "network": {"layers": "12-10", "time_steps": 3}, "method": {"name": "bptt"}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained_runs.train(SMALL, tmp_path_factory.mktemp("predict") / "run")


@pytest.fixture
def pictures(run, tmp_path):
    """Test pictures of the data set as files, and the scores that eval computes of them."""
    from PIL import Image

    trainer, _, scores = trained_runs.evaluated(run)
    files = [tmp_path / f"{i}.png" for i in range(6)]
    for path, image in zip(files, trainer.dataset.test.images):
        Image.fromarray((image[0].numpy() * 255.0 / 16).round().astype(np.uint8)).save(path)
    return files, scores[:6]


def test_json_has_the_scores_of_eval(run, pictures, cli):
    files, scores = pictures
    status, lines, notes = cli("predict", run, *files, "--top", 10, "--json")
    said = json.loads("\n".join(lines))
    assert status == 0 and notes == ["spiketrain: note: 6 of 6 pictures have their brightness from 0 to 255 taken for 0 to 16, as that of digits"]
    assert (said["preset"], said["epoch"], said["method"]) == ("custom", 1, "bptt") and said["versions"]["torch"] == str(torch.__version__)
    assert [row["file"] for row in said["files"]] == list(map(str, files))
    for row, wanted in zip(said["files"], scores):
        classes = row["classes"]
        by_label = torch.tensor([one["score"] for one in sorted(classes, key=lambda one: one["label"])])
        torch.testing.assert_close(by_label, wanted)  # of a batch of another size
        assert sum(one["probability"] for one in classes) == pytest.approx(1)
        assert [one["score"] for one in classes] == sorted((one["score"] for one in classes), reverse=True)


def test_table_and_csv_say_the_same(run, pictures, cli):
    files, _ = pictures
    _, lines, _ = cli("predict", run, *files)
    assert lines[0].split() == ["file", "class", "probability", "or", "or"]
    rows = list(csv.DictReader(cli("predict", run, *files, "--csv", "--top", 3)[1]))
    assert len(rows) == 3 * len(files) and [row["rank"] for row in rows[:3]] == ["1", "2", "3"]
    found = spiketrain.load(run).predict(files)
    for i, line in enumerate(lines[1:]):
        name, *cells = line.split()
        of_file = rows[3 * i : 3 * i + 3]
        assert name == str(files[i]) == of_file[0]["file"]
        assert cells == [cell for row in of_file for cell in (row["class"], f"{float(row['probability']):.4f}")]
        assert cells[0] == found.labels[i]


def test_a_folder_and_one_class(run, pictures, tmp_path, cli):
    status, lines, _ = cli("predict", run, tmp_path, "--top", 1)
    assert status == 0 and len(lines) == 7 and [len(line.split()) for line in lines] == [3] * 7


@pytest.mark.parametrize("options, words", [
    (["--top", "0"], "option --top"), (["--top", "many"], "option --top"), (["--json", "--csv"], "not allowed with"),
    (["--trainer.device", "tpu"], "trainer.device"), (["--resize=1"], "ignored explicit argument"), (["--seed"], "expected a value"),
])  # fmt: skip
def test_wrong_options_are_one_line(run, pictures, assert_error, options, words):
    assert_error(words, "predict", run, pictures[0][0], *options)


def test_a_picture_of_another_size_says_how_to_mend_it(run, tmp_path, cli, assert_error):
    from PIL import Image

    Image.new("L", (20, 30)).save(tmp_path / "a.png")
    assert_error(["20 x 30 pixels: expected 8 x 8", "--resize"], "predict", run, tmp_path / "a.png")
    assert cli("predict", run, tmp_path / "a.png", "--resize")[0] == 0


def test_names_of_files_are_printed_whatever_they_are(run, pictures, tmp_path, cli):
    strange = tmp_path / "a\nb\x1b[31m,\".png"
    strange.write_bytes(pictures[0][0].read_bytes())
    _, lines, _ = cli("predict", run, strange)
    assert len(lines) == 2 and "\\n" in lines[1] and "\\x1b" in lines[1]
    said = json.loads("\n".join(cli("predict", run, strange, "--json")[1]))
    assert said["files"][0]["file"] == str(strange)


def test_weights_that_are_no_use_are_refused(run, pictures, tmp_path, assert_error):
    with trained_runs.rewritten(run / "best.ckpt", tmp_path / "a.ckpt") as content:
        content["method"]["network"]["stages.linear_2.module.weight"].fill_(3e38)
    assert_error("are not finite", "predict", tmp_path / "a.ckpt", pictures[0][0])
