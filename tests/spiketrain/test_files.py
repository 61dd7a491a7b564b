"""Where results are written: what a user names, and nothing else in its place."""

import os
import stat

import pytest
import trained_runs

SMALL = {"preset": "small", "data": {"name": "digits"}, "network": {"layers": "12-10", "time_steps": 2}, "method": {"name": "bptt"}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained_runs.train(SMALL, tmp_path_factory.mktemp("files") / "run")


WRITING = {
    "report": ("out.html", lambda run, out: ("report", run, "--no-measure", "--out", out)),
    "compare": ("out.svg", lambda run, out: ("compare", run, "--figure", out)),
    "export": ("out.pt2", lambda run, out: ("export", run, "--format", "pt2", "--out", out)),
    "state_dict": ("out.pt", lambda run, out: ("export", run, "--format", "state_dict", "--out", out)),
}


@pytest.mark.parametrize("command", WRITING)
def test_a_device_is_not_replaced_by_a_file(run, tmp_path, assert_error, command):
    """As root /dev/null would be; a link to one, such as /dev/stdout, too."""
    name, words = WRITING[command]
    os.mkfifo(tmp_path / name)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / name).symlink_to(tmp_path / name)
    for out in (tmp_path / name, tmp_path / "links" / name):
        assert_error(["cannot write", name, "it is no regular file"], *words(run, out))
    assert stat.S_ISFIFO((tmp_path / name).stat().st_mode) and (tmp_path / "links" / name).is_symlink()


@pytest.mark.parametrize("command", WRITING)
def test_a_link_stays_and_its_file_is_written(run, tmp_path, cli, command):
    name, words = WRITING[command]
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / name).write_text("old")
    (tmp_path / name).symlink_to(f"there/{name}")
    status, _, errors = cli(*words(run, tmp_path / name))
    assert status == 0, errors
    assert (tmp_path / name).is_symlink() and (tmp_path / "there" / name).read_bytes() != b"old"


def test_a_module_beside_the_weights_that_is_no_file(run, tmp_path, assert_error):
    os.mkfifo(tmp_path / "out.py")
    assert_error(["out.py would be overwritten"], "export", run, "--format", "state_dict", "--out", tmp_path / "out.pt")
