"""Checkpoints and files that are whole or absent."""

import os
import random

import numpy as np
import pytest
import torch

from spiketrain.errors import UserError
from spiketrain.files import remove_unfinished, write_atomically
from spiketrain.training import checkpoint

CONTENT = {
    "config": {"seed": 1},
    "epoch": 1,
    "step": 12,
    "method": {"weight": torch.arange(1000.0), "rates": [0.1, 0.2]},
    "random": {"torch": torch.get_rng_state()},
    "history": [{"epoch": 1, "train_loss": 1.0, "learning_rate": 0.1, "train_seconds": 1.0, "test_seconds": 1.0, "test_accuracy": 0.5}],
}


def test_what_is_saved_is_loaded(tmp_path):
    checkpoint.save(tmp_path / "a.ckpt", CONTENT)
    loaded = checkpoint.load(tmp_path / "a.ckpt")
    assert torch.equal(loaded["method"]["weight"], CONTENT["method"]["weight"])
    assert {key: loaded[key] for key in ("config", "epoch", "step", "history")} == {
        key: CONTENT[key] for key in ("config", "epoch", "step", "history")
    }
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["epoch"] == 1  # an ordinary PyTorch file


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_flipped_bit_is_noticed(tmp_path, place):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, CONTENT)
    content = bytearray(path.read_bytes())
    weights = bytes(CONTENT["method"]["weight"].numpy())
    content[content.index(weights) + int(place * len(weights))] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(path)


@pytest.mark.parametrize("length", [0, 10, 0.5, -1])
def test_truncated_checkpoint_is_noticed(tmp_path, length):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, CONTENT)
    content = path.read_bytes()
    path.write_bytes(content[: int(length * len(content))] if isinstance(length, float) else content[:length])
    with pytest.raises(UserError, match="damaged or truncated"):
        checkpoint.load(path)


class Payload:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_loading_runs_no_code(tmp_path):
    torch.save({**CONTENT, "format": 1, "method": Payload()}, tmp_path / "a.ckpt")
    with pytest.raises(UserError):
        checkpoint.load(tmp_path / "a.ckpt")
    assert not (tmp_path / "harmed").exists()


def test_foreign_and_missing_files_are_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="no spiketrain checkpoint"):
        checkpoint.load(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint.load(tmp_path / "b.ckpt")


def test_random_state_is_restored(tmp_path):
    generator = torch.Generator().manual_seed(5)
    checkpoint.seed_everything(7)
    np.random.standard_normal()  # leaves half of a pair behind, which is part of the state

    def draw():
        return (
            random.random(),
            np.random.standard_normal(3).tolist(),
            torch.rand(3).tolist(),
            torch.rand(2, generator=generator).tolist(),
        )

    checkpoint.save(tmp_path / "a.ckpt", {**CONTENT, "random": checkpoint.random_state(generator)})
    drawn = draw()
    assert draw() != drawn
    checkpoint.restore_random_state(checkpoint.load(tmp_path / "a.ckpt")["random"], generator)
    assert draw() == drawn


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"new, but not")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    for name in (".unfinished-abc.ckpt", "last.ckpt"):
        (tmp_path / name).write_bytes(b"content")
    remove_unfinished(tmp_path)
    assert os.listdir(tmp_path) == ["last.ckpt"]
