"""The names of decoded copies in the cache folder: two copies that differ have two names."""

import inspect
import os

import pytest

from spiketrain.data import decoded


@pytest.fixture
def files(tmp_path):
    for name in ("Train", "Test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.bin").write_bytes(b"12345")
        os.utime(tmp_path / name / "1.bin", ns=(10**18, 10**18))
    return [tmp_path / "Train" / "1.bin"]


def name(files, *settings):
    return decoded.copy_of("pictures", files, files[0].parents[1], "train", (decoded.__name__,), *settings).path


def test_the_same_copy_has_the_same_name(files):
    assert name(files, 30, 1e4) == name(files, 30, 1e4)


@pytest.mark.parametrize("change", ["settings", "other file", "size", "date", "code"])
def test_other_copies_have_other_names(files, monkeypatch, change):
    before, settings = name(files, 30, 1e4), (30, 1e4)
    if change == "settings":
        settings = (301, 0e4)
    elif change == "other file":
        files = [files[0].parents[1] / "Test" / "1.bin"]
    elif change == "size":
        files[0].write_bytes(b"1234567890")
        os.utime(files[0], ns=(10**18, 10**18))
    elif change == "date":
        os.utime(files[0], ns=(10**18, 10**18 + 1))
    else:
        source = inspect.getsource(decoded)
        monkeypatch.setattr(inspect, "getsource", lambda module: source + "\n# the same, but right")
    assert name(files, *settings) != before


def test_another_version_of_pillow_decodes_again(files, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls = []

    def decode(path):
        calls.append(path)
        return decoded.np.zeros((1, 2, 2), decoded.np.uint8)

    for version, expected in (("10.0", 1), ("10.0", 1), ("11.0", 2)):
        monkeypatch.setattr(decoded, "_pillow_version", lambda version=version: version)
        copy = decoded.copy_of("pictures", files, tmp_path, "train", (decoded.__name__,))
        decoded.decode_once(copy, files, (1, 2, 2), decode)
        assert len(calls) == expected
