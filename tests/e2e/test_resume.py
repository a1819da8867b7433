"""A run that is stopped, killed or broken and then resumed ends as one that never was."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.e2e.commands import RUNS, SCENES, finish, segtune, start, training, wait_for
from tests.e2e.conftest import Trained
from tests.interrupting import checkpoint_names, history_without_times

from segtune.cli.main import main
from segtune.core.files import read_json, read_jsonl
from segtune.core.rundir import RunDir

TENSORS = ("trained.safetensors", "adapter_model.safetensors")


def assert_same_run(one: Path, other: Path) -> None:
    """Bit-equal weights and optimiser, equal history apart from times, and every step logged once."""
    for name, files in (("last", (*TENSORS, "optimizer.safetensors")), ("best", TENSORS)):
        for file in files:
            ours, theirs = (load_file(run / "checkpoints" / name / file) for run in (one, other))
            assert ours.keys() == theirs.keys()
            different = [key for key in ours if not np.array_equal(ours[key], theirs[key])]
            assert not different, f"{name}/{file}"
    assert history_without_times(one) == history_without_times(other)
    rows = [read_jsonl(run / "metrics.jsonl") for run in (one, other)]
    assert [row["step"] for row in rows[0]] == list(range(1, 13))
    assert rows[0] == rows[1]
    for mode in ("generate", "forced"):
        name = f"eval_scenes_val_{mode}.json"
        assert read_json(one / name) == read_json(other / name)


def _copy(trained: Trained, place: Path, *left_out: str) -> Path:
    return shutil.copytree(trained.run, place / "copy", ignore=shutil.ignore_patterns(*left_out))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_by_a_signal(
    number: signal.Signals, code: int, trained: Trained, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = workplace / RUNS / number.name
    process = start(training(number.name), workplace)
    metrics = run / "metrics.jsonl"
    wait_for(lambda: metrics.is_file() and metrics.stat().st_size > 0, process)
    process.send_signal(number)
    stopped = finish(process)
    assert stopped.code == code, stopped.err
    assert "stopping after this step" in stopped.err
    assert "Traceback" not in stopped.err
    assert "everything is saved" in stopped.err
    assert f"segtune train --resume {RUNS}/{number.name}`" in stopped.err
    state = read_json(run / "checkpoints" / "last" / "trainer_state.json")
    assert 0 < state["step"] < 12
    assert len(read_jsonl(metrics)) == state["step"]
    assert main(["train", "--resume", f"{RUNS}/{number.name}"]) == 0
    assert f"step {state['step']}\n" in capfd.readouterr().out
    assert_same_run(run, trained.run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_with_all_its_processes(number: signal.Signals, trained: Trained, workplace: Path) -> None:
    """Ctrl-C and schedulers signal the whole group: processes that prepare data must not die of it."""
    run = workplace / RUNS / f"group-{number.name}"
    process = start(training(run.name, data__num_workers=1), workplace)
    metrics = run / "metrics.jsonl"
    wait_for(lambda: metrics.is_file() and metrics.stat().st_size > 0, process)
    os.killpg(process.pid, number)
    stopped = finish(process)
    assert stopped.code == 128 + number, stopped.err
    assert "everything is saved" in stopped.err
    assert main(["train", "--resume", f"{RUNS}/{run.name}"]) == 0
    assert_same_run(run, trained.run)


def test_killed(trained: Trained, workplace: Path) -> None:
    process = start(training("killed"), workplace)
    run = workplace / RUNS / "killed"
    wait_for((run / "checkpoints" / "last" / "manifest.json").is_file, process)
    process.kill()
    assert finish(process).code == -signal.SIGKILL
    with (run / "metrics.jsonl").open("a") as file:  # what a crash may tear
        file.write('{"step": 9, "epo')
    (run / "checkpoints" / ".writing-last-1").mkdir()
    resumed = segtune(["train", "--resume", f"{RUNS}/killed"], workplace)
    assert resumed.code == 0, resumed.err
    assert_same_run(run, trained.run)
    assert checkpoint_names(run) == ["best", "last"]


def test_killed_before_the_first_checkpoint(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = _copy(trained, tmp_path, "checkpoints", "README.md", "eval_*", "training_history.json", "metrics_epoch*")
    assert main(["train", "--resume", str(run)]) == 0
    assert "from the beginning" in capfd.readouterr().out
    assert_same_run(run, trained.run)


def test_a_removed_checkpoint_is_no_reason_to_begin_again(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = _copy(trained, tmp_path, "last", "step-*", "README.md")
    assert main(["train", "--resume", str(run)]) == 3
    assert "last: this is no complete checkpoint" in capfd.readouterr().err
    assert len(read_jsonl(run / "metrics.jsonl")) == 12


def test_killed_while_the_end_was_scored(trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = _copy(trained, tmp_path, "README.md", "eval_scenes_val_forced.json")
    assert main(["train", "--resume", str(run)]) == 0
    assert "after, forced" in capfd.readouterr().out
    assert (run / "README.md").is_file()
    assert_same_run(run, trained.run)


def test_a_finished_run_says_so_and_is_left_alone(trained: Trained, capfd: pytest.CaptureFixture[str]) -> None:
    files = [path for path in trained.run.rglob("*") if path.is_file() and path.name != ".lock"]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}
    assert main(["train", "--resume", str(trained.run)]) == 0
    printed = capfd.readouterr()
    assert "is complete: 3 of 3 epochs" in printed.out
    assert "try next:" in printed.out
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files} == before


def test_a_second_writer_is_refused(trained: Trained, capfd: pytest.CaptureFixture[str]) -> None:
    with RunDir.open(trained.run):
        assert main(["train", "--resume", str(trained.run)]) == 2
    assert "another process is writing into this run" in capfd.readouterr().err


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # and not in place: a file of the next checkpoint may be a link to it
    path.write_bytes(content)


def test_training_goes_on_from_the_checkpoint_before_a_damaged_one(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained.run, tmp_path / "copy", symlinks=True, ignore=shutil.ignore_patterns("README.md"))
    steps = sorted(path.name for path in (run / "checkpoints").glob("step-*") if "weights" not in path.name)
    assert steps == ["step-00000008", "step-00000012"]
    _damage(run / "checkpoints/step-00000012/optimizer.safetensors")
    assert main(["train", "--resume", str(run)]) == 0
    told = capfd.readouterr().out
    assert (
        "step-00000012/optimizer.safetensors: this checkpoint is damaged (other content); going on from step 8" in told
    )
    assert_same_run(run, trained.run)


def test_no_whole_checkpoint_is_told_with_what_is_left(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained.run, tmp_path / "copy", symlinks=True, ignore=shutil.ignore_patterns("README.md"))
    for name in ("step-00000012/optimizer.safetensors", "step-00000008/trainer_state.json"):
        _damage(run / "checkpoints" / name)
    assert main(["train", "--resume", str(run)]) == 3
    told = capfd.readouterr().err
    assert "step-00000012/optimizer.safetensors: this checkpoint is damaged" in told
    assert "no other checkpoint of this run can be resumed" in told
    assert "from the weights of RUN@best" in told
    assert "RUN@last" not in told


def test_a_run_of_an_older_version_goes_on(trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its checkpoints are folders under the names themselves."""
    run = _copy(trained, tmp_path, "step-*", "README.md")
    for place in (run / "checkpoints").iterdir():
        assert place.is_dir()
        assert not place.is_symlink()
    assert main(["evaluate", f"{run}@last", "--data", f"{SCENES}@val", "--mode", "forced"]) == 0
    assert main(["train", "--resume", str(run)]) == 0
    assert "resuming" in capfd.readouterr().out
    assert_same_run(run, trained.run)
