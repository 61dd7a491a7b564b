"""Damaged files of every data set in every format: refused with one clear line, or read right. tests/drills/damaged_data.py is the long form."""

import os

import pytest
from data_files import damage

COUNT, SHARES = 60, 3


@pytest.mark.parametrize("share", range(SHARES))
def test_drill(tmp_path, share):
    refused = 0
    for outcome, root, form in damage.drill(COUNT // SHARES, 100 + share, tmp_path / "drill"):
        assert outcome.fault is None, f"{outcome.case}: {outcome.fault}"
        if outcome.error is not None:
            refused += 1
            if refused % 8 == 1:  # the whole way from the command line takes longer
                status, lines = damage.status_and_lines(form, root)
                assert status == 2 and len(lines) == 1, f"{outcome.case}: exit status {status}, {lines}"
                assert not os.path.exists("runs")
    assert refused > COUNT // SHARES // 2


def test_the_drill_sees_faults(tmp_path):
    """Data that nobody damaged, told to be other than it was."""
    form = damage.FORMATS["mnist"]
    form.write(tmp_path)
    from spiketrain import data

    sound = damage.contents(data.load(damage.load_config("mnist", tmp_path)))
    assert damage.outcome_of("", form, tmp_path, sound, may_change=False).fault is None
    other = [(labels, values + 1) for labels, values in sound]
    assert "other data" in damage.outcome_of("", form, tmp_path, other, may_change=False).fault
