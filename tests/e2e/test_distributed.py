"""Two processes, started as people start them, do what one process does, write it once and fail as one."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.e2e.commands import RUNS, finish, segtune, start, wait_for
from tests.e2e.launch import FLOAT64, PYTHON, accelerate, launched, succeeded, torchrun, two
from tests.float64 import TOLERANCE

from segtune.core.files import read_json, read_jsonl

MEASURED = {
    "epoch", "iter_per_sec", "avg_iter_time", "epoch_time", "peak_memory_gb", "memory_kind", "val_avg_inference_time_s",
}  # fmt: skip
GENERATED = {"val_generate_gIoU", "val_generate_cIoU", "val_emission_rate"}
COUNTED = {"no_box", "val_no_box"}

FAILING = """
import os
import segtune.{module} as module
from segtune.cli.main import run
from segtune.core.errors import DataError

original, calls = module.{name}, []

def failing(*arguments, **settings):
    calls.append(1)
    if os.environ["RANK"] == "1" and len(calls) == {call}:
        raise DataError("cannot be read", where="photo.jpg")
    return original(*arguments, **settings)

module.{name} = failing
run()
"""


@pytest.fixture(scope="module")
def one(workplace: Path) -> Path:
    """The run of a single process with the batch of both."""
    command = [str(PYTHON), str(FLOAT64), *two("one", train__batch_size=4, train__validate_generate=True)]
    out = succeeded(command, workplace)
    assert "run directory: runs/one\n" in out
    return workplace / RUNS / "one"


def assert_same_losses(one: Path, other: Path, *, generated: bool = False) -> None:
    """Equal to rounding: the losses and gradients of each step, and every number of the history."""
    steps = [read_jsonl(run / "metrics.jsonl") for run in (one, other)]
    assert [row["step"] for row in steps[1]] == [1, 2, 3, 4]
    for ours, theirs in zip(*steps, strict=True):
        assert theirs == pytest.approx(ours, rel=TOLERANCE)
    histories = [read_json(run / "training_history.json") for run in (one, other)]
    for part in ("train", "val"):
        rows = [[_compared(row, generated) for row in history[part]] for history in histories]
        assert len(rows[0]) == 2
        for ours, theirs in zip(*rows, strict=True):
            assert theirs == pytest.approx(ours, rel=TOLERANCE, abs=1e-9)
            assert {k: theirs[k] for k in COUNTED & theirs.keys()} == {k: ours[k] for k in COUNTED & ours.keys()}


def _compared(row: dict[str, Any], generated: bool) -> dict[str, Any]:
    return {
        k: v for k, v in row.items() if k not in MEASURED and (generated or ("generate" not in k and "emis" not in k))
    }


def test_torchrun_does_what_one_process_does(one: Path, workplace: Path) -> None:
    out = succeeded(torchrun(str(FLOAT64), *two("two", train__validate_generate=True)), workplace)
    other = workplace / RUNS / "two"
    assert_same_losses(one, other, generated=True)
    for line in ("run directory: runs/two\n", "scoring 5 images\n", "epoch 2/2  loss"):
        assert out.count(line) == (2 if "directory" in line else 1), line  # at the start and at the end
    files = [
        sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.suffix != ".png") for run in (one, other)
    ]
    assert files[0] == files[1]
    for mode in ("generate", "forced"):
        name = f"eval_scenes_train_{mode}.json"
        ours, theirs = read_json(one / name), read_json(other / name)
        assert theirs["counts"] == ours["counts"]
        assert theirs["baselines"] == ours["baselines"]
        assert theirs["metrics"]["gIoU"] == pytest.approx(ours["metrics"]["gIoU"], rel=TOLERANCE)
        answers = [_ids(run / "predictions" / f"scenes_train_{mode}.jsonl") for run in (one, other)]
        assert answers[0] == answers[1]
        assert len(set(answers[1])) == len(answers[1]) == theirs["counts"]["queries"]
    assert theirs["counts"]["images"] == 5


def _ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_the_command_itself_starts_two_and_resumes_with_two(one: Path, workplace: Path) -> None:
    """Stopped after an epoch and continued; the images of a step are shared, so the step is that of one process."""
    run, shared = workplace / RUNS / "shared", {"run__num_processes": 2, "train__batch_size": 4, "eval__final": False}
    process = start(two("shared", **shared), workplace)
    wait_for((run / "checkpoints" / "last").is_dir, process)
    process.send_signal(signal.SIGINT)  # to the first one alone
    done = finish(process)
    assert done.code == 130, done.err
    assert done.err.count("segtune train --resume") == 1
    assert segtune(["train", "--resume", str(run)], workplace).code == 0
    assert_same_losses(one, run)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_ends_the_first_ends_the_others_it_started(number: signal.Signals, workplace: Path) -> None:
    name = f"ended-{number.name}"
    settings = {"run__num_processes": 2, "train__epochs": 50}
    process = start(two(name, **settings), workplace)
    wait_for((workplace / RUNS / name / "checkpoints" / "last").is_dir, process)
    others = _group(process.pid) - {process.pid}
    assert others
    process.send_signal(number)
    assert finish(process).code == (-9 if number == signal.SIGKILL else 143)
    end = time.monotonic() + 10
    while left := _group(process.pid):
        assert time.monotonic() < end, left
        time.sleep(0.1)


def _group(leader: int) -> set[int]:
    """The processes of a group that are not yet gone."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = stat.read_text().rpartition(") ")[2].split()[:3]
            if int(group) == leader and state != "Z":
                found.add(int(stat.parent.name))
    return found


@pytest.mark.slow
def test_accelerate_launch_does_what_one_process_does(one: Path, workplace: Path) -> None:
    command = accelerate(str(FLOAT64), *two("accelerated", eval__final=False))
    assert succeeded(command, workplace).count("run directory: runs/accelerated\n") == 2
    assert_same_losses(one, workplace / RUNS / "accelerated")


@pytest.mark.slow
def test_a_launcher_that_starts_one_process_only_is_told(workplace: Path) -> None:
    done = finish(launched(accelerate("-m", "segtune", *two("alone"), cpu=True), workplace))
    assert done.code != 0
    assert done.err.count("error: ") == 1
    assert "has started a single one" in done.err
    assert not (workplace / RUNS / "alone").exists()


@pytest.mark.slow
def test_a_signal_to_the_launcher_saves_once_and_two_processes_resume(workplace: Path) -> None:
    straight, run = workplace / RUNS / "straight", workplace / RUNS / "stopped"
    lasting = {"train__epochs": 3, "eval__final": False}
    succeeded(torchrun("-m", "segtune", *two("straight", **lasting)), workplace)
    process = launched(torchrun("-m", "segtune", *two("stopped", **lasting)), workplace)
    wait_for(lambda: (run / "metrics.jsonl").is_file() and (run / "metrics.jsonl").stat().st_size > 0, process)
    process.send_signal(signal.SIGTERM)
    stopped = finish(process)
    assert stopped.err.count("stopping after this step") == 1
    assert stopped.err.count("error: stopped by SIGTERM") == 1
    assert 0 < read_json(run / "checkpoints" / "last" / "trainer_state.json")["step"] < 6
    # as a scheduler that requeues the job would: the same command again
    again = succeeded(torchrun("-m", "segtune", *two("stopped", **lasting), "--resume", "auto"), workplace)
    assert again.count("--resume auto: runs/stopped is there") == 1
    assert read_jsonl(run / "metrics.jsonl") == read_jsonl(straight / "metrics.jsonl")
    for file in ("trained.safetensors", "adapter_model.safetensors", "optimizer.safetensors"):
        ours, theirs = (load_file(place / "checkpoints" / "last" / file) for place in (straight, run))
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours), file


@pytest.mark.slow
def test_a_bad_setting_is_told_once(workplace: Path) -> None:
    done = finish(launched(torchrun("-m", "segtune", *two("bad"), "optim.lrr=1"), workplace))
    assert done.code != 0
    assert done.err.count("error: ") == 1
    assert "rank      : 0 (local_rank: 0)\n  exitcode  : 2 " in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "call", "told"),
    [
        ("experiment.reasoning", "build", 1, "error: process 1: photo.jpg: cannot be read"),
        ("engine.loop", "train_step", 2, "photo.jpg: cannot be read"),
    ],
)
def test_what_fails_in_one_process_ends_both(
    module: str, name: str, call: int, told: str, workplace: Path, tmp_path: Path
) -> None:
    script, run = tmp_path / "failing.py", f"failed-{name}"
    script.write_text(FAILING.format(module=module, name=name, call=call))
    done = finish(launched(torchrun(str(script), *two(run)), workplace))
    assert done.code != 0
    assert done.err.count(told) == 1
    assert "internal error" not in done.err
    assert "exitcode  : 3 " in done.err
    assert (workplace / RUNS / run).exists() == (name == "train_step")
