"""A search runs every point once to its end, whatever happens on the way; trained by a fake that takes no time."""

from __future__ import annotations

import csv
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.sweep.driver import COMMAND
from tests.sweep.making import a_search, grid_file

from segtune.config import load_recipe
from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.files import read_jsonl
from segtune.sweep.place import StudyPlace
from segtune.sweep.results import Results
from segtune.sweep.search import prepare, search
from segtune.sweep.study import Study, sample

pytest.importorskip("optuna")

DRIVER = Path(__file__).with_name("driver.py")
TWELVE = {"optim.lr": [1e-4, 3e-4, 1e-3, 3e-3], "losses.dice": [0.5, 1.0, 2.0]}


def start(grid: Path, *more: str, seconds: float = 0.0) -> subprocess.Popen[str]:
    environment = {**os.environ, "FAKE_EPOCH_SECONDS": str(seconds)}
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(DRIVER), str(grid), *more], env=environment, **options)


def finished(process: subprocess.Popen[str]) -> str:
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return err


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def place_of(tmp_path: Path) -> StudyPlace:
    return StudyPlace(tmp_path / "searches" / "mine")


def assert_each_point_once(place: StudyPlace, count: int, epochs: int) -> None:
    """Every point is complete in exactly one trial, and none of its epochs was trained twice."""
    trials = Study(place).trials()
    assert Counter(trial.state for trial in trials) == {"complete": count}
    assert sorted(trial.point for trial in trials) == list(range(count))
    settings = [tuple(trial.settings.values()) for trial in trials]
    assert len(set(settings)) == count
    for trial in trials:
        rows = read_jsonl(place.run(trial.number).path / "epochs.jsonl")
        assert [row["epoch"] for row in rows] == list(range(1, epochs + 1)), trial
        assert sorted(trial.reported) == list(range(1, epochs + 1))
    assert len(list(place.trials.glob("trial-*/"))) == count


def run(tmp_path: Path, **changes: Any) -> Results:
    return search(a_search(tmp_path, **changes), command=COMMAND)


def test_a_grid_from_beginning_to_end(tmp_path: Path) -> None:
    results = run(tmp_path)
    place = results.place
    assert_each_point_once(place, 4, 2)
    assert results.best is not None
    assert results.best.settings == {"optim.lr": 1e-3, "losses.dice": 2.0}
    assert results.best.value == pytest.approx(0.85)
    assert results.best.seconds == 3.0
    best = load_recipe(str(place.path / "best.yaml"))
    assert (best.optim.lr, best.losses.dice, best.train.epochs) == (1e-3, 2.0, 2)
    assert (best.run.name, best.run.root, best.recipe) == (None, "runs", "quickstart")
    with (place.path / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert [float(row["val_generate_gIoU"]) for row in rows] == sorted([t.value for t in results.trials], reverse=True)
    assert (place.path / "axes.png").read_bytes()[:4] == b"\x89PNG"
    again = run(tmp_path)
    assert again.trials == results.trials


def test_a_search_that_is_killed_runs_each_point_once(tmp_path: Path) -> None:
    """Three times the search and its training are killed at a random moment; then it runs to its end."""
    grid, place = grid_file(tmp_path, axes=TWELVE, epochs=3), place_of(tmp_path)
    rng = random.Random(7)
    for _ in range(3):
        process = start(grid, seconds=0.15)
        wait_for(place.journal, process)
        time.sleep(rng.uniform(0.4, 2.0))
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        rng.shuffle(family)
        for one in family:
            one.kill()
        process.communicate()
    finished(start(grid))
    assert_each_point_once(place, 12, 3)


def test_a_training_that_outlives_its_search_is_waited_for(tmp_path: Path) -> None:
    grid, place = grid_file(tmp_path, axes={"optim.lr": [1e-3]}), place_of(tmp_path)
    process = start(grid, seconds=1.0)
    wait_for(place.run(0).config, process)
    process.kill()
    process.communicate()
    told = finished(start(grid))
    assert "its training still runs, its search is gone" in told
    assert_each_point_once(place, 1, 2)


def test_a_torn_journal_goes_on(tmp_path: Path) -> None:
    results = run(tmp_path, axes={"optim.lr": [1e-3, 1e-4]})
    journal = results.place.journal
    rows = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(rows[:-1]) + rows[-1][: len(rows[-1]) // 2])  # the last trial was never told complete
    assert [trial.state for trial in Study(results.place).trials()] == ["complete", "running"]
    run(tmp_path, axes={"optim.lr": [1e-3, 1e-4]})
    assert_each_point_once(results.place, 2, 2)


def test_a_damaged_journal_is_told(tmp_path: Path) -> None:
    place = run(tmp_path, axes={"optim.lr": [1e-3]}).place
    rows = place.journal.read_bytes().splitlines(keepends=True)
    place.journal.write_bytes(rows[0] + b"{damaged\n" + b"".join(rows[1:]))
    with pytest.raises(CheckpointError, match="journal of this study is damaged"):
        Study(place)


def test_a_trial_that_died_before_its_run_stood_begins_again(tmp_path: Path) -> None:
    place = run(tmp_path, axes={"optim.lr": [1e-3, 1e-4]}).place
    rows = place.journal.read_bytes().splitlines(keepends=True)
    begun = max(index for index, row in enumerate(rows) if b'"point":1' in row.replace(b" ", b""))
    place.journal.write_bytes(b"".join(rows[: begun + 1]))
    for path in place.run(1).path.iterdir():
        path.unlink()  # an empty directory, as a kill between mkdir and the first file leaves it
    run(tmp_path, axes={"optim.lr": [1e-3, 1e-4]})
    assert_each_point_once(place, 2, 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_stopped_by_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    grid, place = grid_file(tmp_path, epochs=3, axes={"optim.lr": [1e-4, 1e-3]}), place_of(tmp_path)
    process = start(grid, seconds=0.4)
    wait_for(place.run(0).epoch_metrics(1), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert "trial-0000 is not finished; 0 of 2 points are complete" in err
    assert "goes on from here" in err
    assert [trial.state for trial in Study(place).trials()] == ["running"]
    finished(start(grid))
    assert_each_point_once(place, 2, 3)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGXCPU], ids=lambda number: number.name)
def test_a_training_that_is_stopped_alone_has_not_failed(number: signal.Signals, tmp_path: Path) -> None:
    grid, place = grid_file(tmp_path, epochs=3, axes={"optim.lr": [1e-4]}), place_of(tmp_path)
    process = start(grid, seconds=0.4)
    wait_for(place.run(0).epoch_metrics(1), process)
    (training,) = psutil.Process(process.pid).children()
    training.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert f"stopped by {number.name}; trial-0000 is not finished" in err
    assert [trial.state for trial in Study(place).trials()] == ["running"]
    finished(start(grid))
    assert_each_point_once(place, 1, 3)


def test_several_processes_share_a_study(tmp_path: Path) -> None:
    grid = grid_file(tmp_path, axes={"optim.lr": [1e-4, 3e-4, 1e-3], "losses.dice": [0.5, 2.0]})
    processes = [start(grid, seconds=0.3) for _ in range(3)]
    told = [finished(process) for process in processes]
    assert_each_point_once(place_of(tmp_path), 6, 2)
    assert all("begins" in text for text in told)


BROKEN = {"optim.weight_decay": [0.1, 0.5, 0.6, 0.7]}


def test_failed_points_are_told_and_do_not_end_the_search(tmp_path: Path) -> None:
    results = run(tmp_path, axes=BROKEN)
    trials = results.trials
    assert [trial.state for trial in trials] == ["complete", "failed", "failed", "failed"]
    assert trials[1].message == "the data are gone\n  fix: bring them back"
    assert trials[2].message == "val_generate_gIoU is not finite after epoch 2"
    assert trials[3].message.startswith("ended by SIGKILL; it may have been short of memory")
    board = (results.place.path / "leaderboard.md").read_text()
    assert "trial-0001: the data are gone" in board
    assert "1 complete, 0 pruned, 0 running, 3 failed" in board
    assert run(tmp_path, axes=BROKEN).trials == trials  # not run again unless asked for


def test_failed_points_run_again_on_request(tmp_path: Path) -> None:
    fixed = tmp_path / "fixed"
    trainer = tmp_path / "trainer.py"
    trainer.write_text(
        f"import runpy, sys, pathlib\n"
        f"if not pathlib.Path({str(fixed)!r}).exists() and 'trial-0001' in sys.argv[2]:\n"
        f"    sys.exit('error: not yet')\n"
        f"runpy.run_path({COMMAND[1]!r}, run_name='__main__')\n"
    )
    command = (sys.executable, str(trainer))
    spec = a_search(tmp_path, axes={"optim.lr": [1e-4, 1e-3]})
    assert [trial.message for trial in search(spec, command=command).trials] == ["", "not yet"]
    fixed.touch()
    results = search(spec, retry_failed=True, command=command)
    assert [(t.number, t.state, t.point, t.retry_of) for t in results.standing] == [
        (0, "complete", 0, None),
        (2, "complete", 1, 1),
    ]
    assert results.count("failed") == 0
    assert "(after trial 1 failed)" in (results.place.path / "leaderboard.md").read_text()
    assert len(search(spec, retry_failed=True, command=command).trials) == 3


def test_what_still_fails_is_tried_once_a_call(tmp_path: Path) -> None:
    spec = a_search(tmp_path, axes={"optim.weight_decay": [0.5]})
    search(spec, command=COMMAND)
    results = search(spec, retry_failed=True, command=COMMAND)
    assert [trial.retry_of for trial in results.trials] == [None, 0]
    assert results.count("failed") == 1


def test_hopeless_trials_end_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.5")
    axes = {"optim.lr": [1e-3, 1e-1]}
    results = run(tmp_path, axes=axes, epochs=4, prune="median", prune_after=2, prune_startup=1)
    assert [trial.state for trial in results.trials] == ["complete", "pruned"]
    pruned = results.trials[1]
    assert pruned.pruned_at is not None
    assert 2 <= pruned.pruned_at < 4
    assert pruned.value == pruned.reported[max(pruned.reported)]
    assert results.best == results.trials[0]
    assert f"pruned after epoch {max(pruned.reported)}" in (results.place.path / "leaderboard.md").read_text()


def test_halving_ends_all_but_the_best_at_each_rung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.5")
    results = run(tmp_path, axes={"optim.lr": [1e-3, 1e-1]}, epochs=4, prune="halving", prune_after=1)
    assert [trial.state for trial in results.trials] == ["complete", "pruned"]
    assert results.trials[1].pruned_at is not None
    assert 1 <= results.trials[1].pruned_at < 4


def test_without_the_switch_nothing_ends_early(tmp_path: Path) -> None:
    results = run(tmp_path, axes={"optim.lr": [1e-3, 1e-1]}, epochs=4, prune_startup=1)
    assert results.count("complete") == 2


def test_random_points_are_those_of_the_seed_however_often_it_stops(tmp_path: Path) -> None:
    axes = {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}, "losses.dice": [0.5, 2.0]}
    whole = run(tmp_path / "a", axes=axes, sampler="random", trials=4, seed=3)
    run(tmp_path / "b", axes=axes, sampler="random", trials=2, seed=3)
    parts = run(tmp_path / "b", axes=axes, sampler="random", trials=4, seed=3)
    assert [trial.settings for trial in whole.trials] == [trial.settings for trial in parts.trials]
    assert len({trial.settings["optim.lr"] for trial in whole.trials}) == 4
    assert all(1e-5 <= trial.settings["optim.lr"] <= 1e-2 for trial in whole.trials)
    other = run(tmp_path / "c", axes=axes, sampler="random", trials=1, seed=4)
    assert other.trials[0].settings != whole.trials[0].settings


def test_no_point_is_drawn_twice(tmp_path: Path) -> None:
    results = run(tmp_path, axes={"optim.lr": [1e-4, 1e-3], "run.seed": [0, 1]}, sampler="random", trials=9)
    assert len(results.trials) == 4
    assert len({tuple(trial.settings.values()) for trial in results.trials}) == 4


def test_tpe_learns_where_to_look(tmp_path: Path) -> None:
    """Its points come nearer to the best learning rate, 1e-3, than drawn ones, which are two decades off on average."""
    optuna = pytest.importorskip("optuna")
    axes = {"optim.lr": {"low": 1e-7, "high": 10.0, "log": True}}
    study = Study(prepare(a_search(tmp_path, axes=axes, sampler="tpe", trials=40)))
    distributions = {"optim.lr": optuna.distributions.FloatDistribution(1e-7, 10.0, log=True)}
    earlier: list[Any] = []
    for index in range(40):
        params = sample(study, index, earlier)
        assert params is not None
        value = -((math.log10(params["optim.lr"]) + 3) ** 2)
        earlier.append(optuna.trial.create_trial(value=value, params=params, distributions=distributions))
    off = [abs(math.log10(trial.params["optim.lr"]) + 3) for trial in earlier]
    assert sum(off[10:]) / 30 < 1.4


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"axes": {"optim.lr": [1e-4, 1e-2], "losses.dice": [0.5, 2.0]}}, "search.axes.optim.lr: [0.0001, 0.001] in"),
        ({"epochs": 3}, "search.epochs: 2 in the study, 3 now"),
        ({"metric": "val_loss"}, "search.metric: 'val_generate_gIoU' in the study, 'val_loss' now"),
        ({"overrides": ["optim.clip=2"]}, "recipe.optim.clip: '(absent)' in the study, 2 now"),
    ],
)
def test_another_grid_in_the_same_study_is_refused(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    place = run(tmp_path).place
    before = {path: path.stat().st_mtime_ns for path in place.path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="begun with another grid") as caught:
        run(tmp_path, **changes)
    assert told in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in place.path.rglob("*") if path.is_file()} == before


def test_what_cannot_run_makes_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        run(tmp_path, axes={"optim.lrr": [1]})
    assert not (tmp_path / "searches").exists()


def test_a_drawn_point_that_contradicts_itself_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtune.sweep.points.check_points", lambda base, points: None)
    axes = {"optim.lr": [1e-3, 1e-5], "optim.min_rate": [1e-4]}
    results = run(tmp_path, axes=axes)
    assert [trial.state for trial in results.trials] == ["complete", "failed"]
    assert "min_rate=0.0001 is above lr=1e-05" in results.trials[1].message


def test_every_point_of_a_random_search_is_checked_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Any] = []
    monkeypatch.setattr("segtune.sweep.search.check_points", lambda base, points: checked.extend(points))
    axes = {"optim.lr": {"low": 1e-4, "high": 1e-3}}
    place = prepare(a_search(tmp_path, axes=axes, sampler="random", trials=6))
    assert len({point.settings["optim.lr"] for point in checked}) == 6
    claim = Study(place).claim()
    assert claim is not None
    assert claim.trial.settings == checked[0].settings


def test_a_training_does_not_go_on_unwatched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.3")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Study, "report", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, axes={"optim.lr": [1e-3]}, epochs=50)
    place = place_of(tmp_path)
    assert place.training_lock(0).take()
    monkeypatch.undo()
    assert [trial.state for trial in Study(place).trials()] == ["running"]
