from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segtune.core import rundir
from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.rundir import RunDir

HOLD = """
import sys
from segtune.core.rundir import RunDir
run = RunDir.open(sys.argv[1]).lock()
print("held", flush=True)
sys.stdin.read()
"""


def _run(tmp_path: Path, name: str = "first") -> RunDir:
    run = RunDir.create(tmp_path / "runs", name)
    run.write_text(rundir.CONFIG, "a: 1\n")
    return run


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    run = _run(tmp_path)
    with pytest.raises(ConfigError, match="exists already") as raised:
        RunDir.create(tmp_path / "runs", "first")
    assert f"segtune train --resume {run.path}" in str(raised.value)
    assert run.config.read_text() == "a: 1\n"


def test_a_name_that_a_killed_start_has_left_is_free(tmp_path: Path) -> None:
    """Killed before its configuration was written, a run can be neither resumed nor, so far, begun again."""
    RunDir.create(tmp_path, "first").release()
    (tmp_path / "first" / "base").mkdir()
    (tmp_path / "first" / ".config.yaml.12.tmp").write_text("half")
    with RunDir.create(tmp_path, "first") as run, pytest.raises(ConfigError, match="another process is writing"):
        RunDir.create(tmp_path, run.name)
    (tmp_path / "first" / "photo.jpg").write_text("")
    with pytest.raises(ConfigError, match="exists already"):
        RunDir.create(tmp_path, "first")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\nb", ".hidden", "x" * 300])
def test_names_stay_below_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.name"):
        RunDir.create(tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigError):
        RunDir.create(tmp_path / "runs", "a")


def test_opening_what_is_no_run(tmp_path: Path) -> None:
    _run(tmp_path)
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "file").write_text("")
    for path, message in (
        ("runs/other", "an empty folder"),
        ("file", "a file"),
        ("runs", "first"),
        ("nothing", "no such"),
    ):
        with pytest.raises(CheckpointError, match=message):
            RunDir.open(tmp_path / path)
    assert RunDir.open(tmp_path / "runs" / "first").name == "first"


def test_a_second_process_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.release()
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {other.pid} "):
            run.lock()
        other.send_signal(signal.SIGKILL)
        other.wait()
    with run:  # the death of a process frees its lock
        pass


def test_a_forked_worker_does_not_keep_the_lock_of_a_killed_parent(tmp_path: Path) -> None:
    run = _run(tmp_path)
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done[1])
        os.write(ready[1], b"x")
        os.read(done[0], 1)  # until the parent closes its end
        os._exit(0)
    try:
        os.read(ready[0], 1)
        os.close(run._handle or 0)  # what a kill does: the handle goes, nothing unlocks
        RunDir.open(run.path).lock().release()
    finally:
        os.close(done[1])
        os.waitpid(child, 0)
        rundir._held.discard(run._handle or 0)


def test_the_lock_outlives_a_worker_of_the_same_run(tmp_path: Path) -> None:
    run = _run(tmp_path)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(ConfigError, match=f"process {os.getpid()} "):
        RunDir.open(run.path).lock()
    run.release()


def test_default_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(r"quickstart-\d{8}-\d{6}", rundir.default_name("quickstart", tmp_path))
    monkeypatch.setattr(rundir.time, "strftime", lambda form: "20260102-030405")
    for expected in ("my-recipe-20260102-030405", "my-recipe-20260102-030405-2", "my-recipe-20260102-030405-3"):
        name = rundir.default_name("folder/my recipe.yaml", tmp_path)
        assert name == expected
        (tmp_path / name).mkdir()


def test_file_names_are_the_documented_ones(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    names = [
        run.epoch_metrics(3),
        run.scores("photos", "val", "generate"),
        run.predictions("a/b c", "val", "forced"),
        run.checkpoint("best"),
    ]
    assert [str(name.relative_to(tmp_path)) for name in names] == [
        "metrics_epoch_3.json",
        "eval_photos_val_generate.json",
        "predictions/a-b-c_val_forced.jsonl",
        "checkpoints/best",
    ]


def test_rows_and_json(tmp_path: Path) -> None:
    run = _run(tmp_path)
    assert run.read_jsonl(rundir.METRICS) == []
    run.append_jsonl(rundir.METRICS, {"step": 1})
    assert run.read_jsonl(rundir.METRICS) == [{"step": 1}]
    run.write_json(rundir.DATA, {"images": 3})
    assert run.read_json(rundir.DATA) == {"images": 3}
    run.release()
