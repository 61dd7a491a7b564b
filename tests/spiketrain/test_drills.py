"""The drills of tests/drills in a short form: what is damaged ends in one line, what is killed goes on to the same end."""

from run_drills import checkpoints, configurations, disks, kills


def test_damaged_configurations(tmp_path):
    outcomes = dict(configurations.drill(60, seed=11, folder=tmp_path))
    faults = [f"{what}: {outcome.fault}" for what, outcome in outcomes.items() if outcome.fault]
    assert not faults, "\n".join(faults)
    assert sum("data set not found" not in outcome.line for outcome in outcomes.values()) > 30


def test_damaged_checkpoints(tmp_path):
    outcomes = dict(checkpoints.drill(40, seed=11, folder=tmp_path))
    faults = [f"{what}: {outcome.fault}" for what, outcome in outcomes.items() if outcome.fault]
    assert not faults, "\n".join(faults)
    assert sum(outcome.status == 2 for outcome in outcomes.values()) > 20


def test_killed_runs(tmp_path):
    runs = list(kills.drill(3, seed=11, folder=tmp_path))
    assert sum(times for _, times, _ in runs) >= 3
    assert not [f"{what}: {fault}" for what, _, fault in runs if fault]


def test_disks_that_are_full_or_read_only(tmp_path):
    """Where no small disk may be mounted, files that may not grow."""
    runs = list(disks.drill(4, seed=11, folder=tmp_path, mounts=disks.can_mount(tmp_path)))
    assert not [f"{what}: {fault}" for what, _, fault in runs if fault]
    assert any(status == 2 for _, status, _ in runs)
