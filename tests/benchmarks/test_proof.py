"""Commands within a total time: one that fails, hangs or heeds nothing costs nothing but itself."""

import sys
import tarfile
import threading
import time

import proof as proof_module
from proof import FAIL, PASS, SKIPPED, Proof, pack_logs, unpack_logs


def python(code):
    return [sys.executable, "-c", code]


def test_a_failing_step_does_not_stop_the_next(proof, capsys):
    def crash():
        raise OSError("no such thing")

    proof.step("first", crash)
    proof.step("second", lambda: (PASS, "fine"))
    assert [(r.name, r.status, r.detail) for r in proof.results] == [
        ("first", FAIL, "OSError: no such thing"),
        ("second", PASS, "fine"),
    ]
    assert "second: PASS" in capsys.readouterr().out


def test_steps_leave_time_for_the_measurements(tmp_path):
    proof = Proof(minutes=1, logs=tmp_path, reserved=58)
    proof.step("tests", lambda: (PASS, ""))
    proof.release()
    proof.step("measurements", lambda: (PASS, ""))
    assert [r.status for r in proof.results] == [SKIPPED, PASS]


def test_steps_side_by_side(proof):
    """Each waits for the other: one after the other they would never end."""
    meet = threading.Barrier(2, timeout=20)
    proof.side_by_side({name: lambda: (PASS, str(meet.wait() in (0, 1))) for name in ("a", "b")})
    assert sorted((r.name, r.status, r.detail) for r in proof.results) == [("a", PASS, "True"), ("b", PASS, "True")]


def test_results_are_kept_after_every_step(tmp_path):
    kept = []
    proof = Proof(minutes=1, logs=tmp_path, ended=lambda results: kept.append([r.name for r in results]))
    for name in ("a", "b"):
        proof.step(name, lambda: (PASS, ""))
    assert kept == [["a"], ["a", "b"]]


def test_a_command_is_interrupted_before_it_is_killed(proof):
    code = "import time\ntry:\n    print('begun', flush=True); time.sleep(30)\nexcept KeyboardInterrupt: print('saved')"
    done = proof.command("heeds", python(code), 1)
    assert done.status is None and done.output == "begun\nsaved\n"
    assert done.how == "stopped: it took too long: saved"


def test_a_command_that_heeds_nothing_is_killed_with_its_children(proof, tmp_path, monkeypatch):
    monkeypatch.setattr(proof_module, "SECONDS_TO_END", 0.5)
    child = f"import time; time.sleep(4); open({str(tmp_path / 'alive')!r}, 'w')"
    code = (
        "import signal, subprocess, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); print('begun', flush=True);"
        f"subprocess.run([sys.executable, '-c', {child!r}])"
    )
    started = time.monotonic()
    done = proof.command("hang", python(code), 1)
    assert done.status is None and done.output == "begun\n"
    assert time.monotonic() - started < 4
    time.sleep(max(0, started + 5.5 - time.monotonic()))
    assert not (tmp_path / "alive").exists()


def test_how_a_command_ended(proof):
    done = proof.command("bad", python("print('nvcc: fatal error: no'); print('bye'); raise SystemExit(3)"), 20)
    assert done.how == "exit status 3: nvcc: fatal error: no"


def test_logs_in_one_archive(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_text("said")
    archive = pack_logs(tmp_path / "logs", tmp_path / "out" / "logs.tar.gz")
    unpack_logs(archive, tmp_path / "back")
    assert (tmp_path / "back" / "a.log").read_text() == "said"
    assert pack_logs(tmp_path / "none", archive) is None


def test_an_archive_does_not_write_outside_its_folder(tmp_path):
    archive = tmp_path / "bad.tar.gz"
    (tmp_path / "file").write_text("x")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "file", "../escaped")
    unpack_logs(archive, tmp_path / "in")
    assert not (tmp_path / "escaped").exists()
