"""What is saved when a run is stopped, fails or is killed at any place, in this process and a second or two each."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.interrupting import checkpoint_names, interrupted
from tests.photos import write_photos
from tests.test_dense_experiment import assert_same_run
from tests.test_dense_experiment import config as dense_config

from segtune import experiment
from segtune.config import DenseExperimentConfig
from segtune.core.errors import DataError, Interrupted
from segtune.core.files import read_json
from segtune.core.signals import SIGNALS
from segtune.engine import loop
from segtune.engine.checkpoint import load_training, open_checkpoint
from segtune.engine.checkpoint_files import NotFinite
from segtune.experiment import dense
from segtune.experiment import run as course

STEPS = 2  # of an epoch: eight images, one at a time, four micro-batches


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("saving")
    write_photos(place / "photos")
    return place


@pytest.fixture(autouse=True)
def _place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(course, "write_report", lambda path: None)


def config(name: str, *settings: str) -> DenseExperimentConfig:
    """Two epochs of two steps of four micro-batches."""
    return dense_config(name, "train.batch_size=1", "train.accumulate=4", "model.encoder=segtune/tiny-vit", *settings)


@pytest.fixture(scope="module")
def straight(place: Path) -> Path:
    """A run that nothing has stopped; only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(course, "write_report", lambda path: None)
        patch.setenv("ACCELERATE_USE_CPU", "true")
        return experiment.train(config("straight")).path.absolute()


def _step(run: Path) -> int:
    return load_training(open_checkpoint(run / "checkpoints/last"))[1]["step"]


def _at(monkeypatch: pytest.MonkeyPatch, count: int, what: Callable[[], object], *, before: bool = True) -> None:
    """Lets something happen at a step, before it or in its middle: between its micro-batches."""
    own, made = loop.train_step, 0

    def step(*arguments: Any, observe: Callable, **named: Any) -> object:
        nonlocal made
        made += 1
        seen = 0

        def observed(output: object, batch: object) -> None:
            nonlocal seen
            seen += 1
            if made == count and seen == 2 and not before:
                what()
            observe(output, batch)

        if made == count and before:
            what()
        return own(*arguments, observe=observed, **named)

    monkeypatch.setattr(loop, "train_step", step)


# --- signals


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_every_signal_saves_within_the_window_and_the_resume_is_exact(
    number: signal.Signals, straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes in the middle of the fourth step, whose gradients are dropped: a whole window can take minutes."""
    seen: list[int] = []
    with monkeypatch.context() as patch:
        _at(patch, 4, lambda: (seen.append(1), os.kill(os.getpid(), number)), before=False)
        with pytest.raises(Interrupted, match=f"stopped by {number.name} after step 3") as caught:
            experiment.train(config(f"stopped-{number.name}"))
    assert caught.value.exit_code == 128 + number
    run = Path("runs", f"stopped-{number.name}")
    assert _step(run) == 3
    experiment.resume(run)
    assert_same_run(run, straight)
    shutil.rmtree(run)


def test_a_signal_in_the_first_window_of_a_run_has_nothing_to_save(straight: Path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        _at(patch, 1, lambda: os.kill(os.getpid(), signal.SIGTERM), before=False)
        with pytest.raises(Interrupted, match="before its first step was made"):
            experiment.train(config("first-window"))
    experiment.resume("runs/first-window")
    assert_same_run(Path("runs/first-window"), straight)


def test_a_terminal_that_closes_does_not_stop_what_nohup_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        _at(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGHUP))
        run = experiment.train(config("nohup", "train.epochs=1", "data.val=null"))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert _step(run.path) == STEPS


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_ends_the_scoring_at_once(when: str, straight: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, settings = dense.score_dense, ("eval.before=true", "eval.final=true", "eval.overlays=0")

    def score(*arguments: Any, **named: Any) -> object:
        if (arguments[2].name == "before") == (when == "before"):
            os.kill(os.getpid(), signal.SIGUSR1)
            raise AssertionError("it goes on after the signal")
        return own(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(dense, "score_dense", score)
        with pytest.raises(Interrupted) as caught:
            experiment.train(config(f"scoring-{when}", *settings))
    assert caught.value.exit_code == 128 + signal.SIGUSR1
    run = Path("runs", f"scoring-{when}")
    assert (run / "checkpoints").exists() == (when == "after")
    assert when == "before" or checkpoint_names(run) == ["best", "last"]
    experiment.resume(run)
    assert (run / "eval_photos_val_dense.json").is_file()
    assert_same_run(run, straight)


# --- errors


def _fails(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize("before", [True, False], ids=["before", "within"])
@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: lost"), MemoryError(), KeyboardInterrupt(), DataError("a picture has gone")]
)
def test_an_error_saves_the_last_whole_step(
    error: BaseException, before: bool, straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, told = Path("runs/failed"), []
    shutil.rmtree(run, ignore_errors=True)
    monkeypatch.setattr(loop._log, "warning", lambda text, *values: told.append(text % values if values else text))
    with monkeypatch.context() as patch:
        _at(patch, 4, _fails(error), before=before)
        with pytest.raises(type(error)) as caught:
            experiment.train(config("failed"))
    assert caught.value is error
    assert told == [f"saved up to step 3; go on with `segtune train --resume {run}`"]
    assert _step(run) == 3
    experiment.resume(run)
    assert_same_run(run, straight)


def test_an_error_in_the_optimiser_leaves_the_checkpoint_before(straight: Path, monkeypatch) -> None:
    """Half of the weights have moved: they belong to no step."""
    own, made = torch.optim.AdamW.step, 0

    def step(optimizer: torch.optim.AdamW, *arguments: Any) -> None:
        nonlocal made
        made += 1
        own(optimizer, *arguments)
        if made == 4:
            raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(RuntimeError, match="out of memory"):
            experiment.train(config("half-moved"))
    assert _step(Path("runs/half-moved")) == STEPS
    experiment.resume("runs/half-moved")
    assert_same_run(Path("runs/half-moved"), straight)


def test_an_error_in_the_first_validation_loses_nothing(straight: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_validate", lambda trainer: _fails(MemoryError("out of memory"))())
        with pytest.raises(MemoryError):
            experiment.train(config("validation"))
    run = Path("runs/validation")
    state = read_json(run / "checkpoints/last/trainer_state.json")
    assert (state["step"], state["window"], state["epoch"]) == (STEPS, STEPS, 0)
    assert not (run / "training_history.json").exists()
    experiment.resume(run)
    assert_same_run(run, straight)


def test_weights_that_are_not_finite_are_never_saved(straight: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, made = loop.train_step, 0

    def step(model: torch.nn.Module, *arguments: Any, **named: Any) -> object:
        nonlocal made
        made += 1
        report = own(model, *arguments, **named)
        if made == 4:
            next(model.parameters()).data.view(-1)[0] = float("nan")
        return report

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step)
        with pytest.raises(NotFinite, match="NaN or infinite values are not saved") as caught:
            experiment.train(config("broken"))
    assert caught.value.found
    run = Path("runs/broken")
    assert _step(run) == STEPS
    assert [path for path in (run / "checkpoints").iterdir() if path.name.startswith(".")] == []
    experiment.resume(run)
    assert_same_run(run, straight)


# --- when


def _killed(name: str, step: int, monkeypatch: pytest.MonkeyPatch, *settings: str) -> Path:
    """A run of which nothing more is written when it comes to a step, as when it is killed there."""
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_rescue", lambda trainer, error: None)
        _at(patch, step, _fails(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            experiment.train(config(name, *settings))
    return Path("runs", name)


@pytest.mark.parametrize(
    ("settings", "saved"),
    [((), 2), (("train.save_steps=3",), 3), (("train.save_minutes=1e-9",), 3), (("train.save_minutes=60",), 2)],
)
def test_a_killed_run_has_what_was_asked_to_be_saved(
    settings: tuple[str, ...], saved: int, straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _killed(f"killed-{'-'.join(settings)}", 4, monkeypatch, *settings)
    assert _step(run) == saved
    experiment.resume(run)
    assert_same_run(run, straight)


def test_as_many_steps_as_wanted_can_be_resumed(straight: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _killed("many", 4, monkeypatch, "train.save_steps=1", "train.save_total_limit=3")
    kept = sorted(path.name for path in (run / "checkpoints").glob("step-*") if "weights" not in path.name)
    assert kept == ["step-00000001", "step-00000002", "step-00000003"]
    for name in kept[1:]:  # the two newest are damaged: the first one goes on
        (run / "checkpoints" / name / "trained.safetensors").unlink()
    experiment.resume(run)
    assert_same_run(run, straight)


def test_what_a_killed_process_was_writing_is_cleaned(straight: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _killed("littered", 4, monkeypatch)
    gone = 2**22 - 7  # above what Linux gives to a process by default
    litter = [f".metrics.jsonl.{gone}.tmp", f"checkpoints/.last.{gone}.tmp", f"predictions/.a.jsonl.{gone}.tmp"]
    (run / "predictions").mkdir()
    for name in litter:
        (run / name).write_text("half")
    mine = run / f".other.json.{os.getppid()}.tmp"
    mine.write_text("of a process that runs")
    (run / "checkpoints/.writing-step-00000004-1").mkdir()
    experiment.resume(run)
    assert [path.name for path in run.rglob(".*") if path.name != ".lock"] == [mine.name]
    mine.unlink()
    assert_same_run(run, straight)


def test_metrics_without_a_step_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from segtune.core.errors import CheckpointError

    run = interrupted(monkeypatch, config("metrics"), after=3)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 4"):
        experiment.resume(run)


def test_checkpoints_hold_finite_numbers(straight: Path) -> None:
    from safetensors.numpy import load_file

    for file in (straight / "checkpoints").rglob("*.safetensors"):
        assert all(np.isfinite(value).all() for value in load_file(file).values())
