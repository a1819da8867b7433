"""`trainer_state.json`, believed only where its values can be: their types and ranges, and that they agree.

A state that contradicts itself, the configuration or the data would be trained on without a word; it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from segtune.core.errors import CheckpointError
from segtune.core.files import jsonable
from segtune.engine.checkpoint import require_same_description
from segtune.engine.checkpoint_files import ABOUT, DESCRIBED, Count, Finite, Strict, checked
from segtune.engine.config import TrainConfig
from segtune.engine.stages import Stage
from segtune.engine.state import TrainerState
from segtune.engine.task import Task
from segtune.engine.watch import Watch
from segtune.models.described import same_settings

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Watch(Strict):
    best: Finite | None
    waited: Count


class _Scaler(Strict):
    scale: Positive
    growth_factor: Positive
    backoff_factor: Positive
    growth_interval: Annotated[int, Field(ge=1)]
    growth_tracker: Annotated[Count, Field(alias="_growth_tracker")]


class _State(Strict):
    """The keys of the file; those with a default were not written by older versions."""

    epoch: Count
    window: Count
    step: Count
    best: Finite | None
    best_epoch: Count
    skipped_in_row: Count
    skipped: Count = 0
    tracker: dict[str, Any] | None
    reductions: Count
    plateau: _Watch
    stopping: _Watch
    scaler: _Scaler | None
    processes: Annotated[int, Field(ge=1, le=1 << 20)]
    best_forced: Finite | None = None
    stage: Count = 0
    stage_epoch: Count = 0
    stage_step: Count = 0
    stage_best: _Watch | None = None


def state_from(values: dict[str, Any], where: str) -> TrainerState:
    """A trainer's state from what a checkpoint says.

    Args:
        values: From `checkpoint.load_training`.
        where: The file, for the message.

    Raises:
        CheckpointError: A key is missing or unknown, or a value has another type or range; they are named.
    """
    checked(_State, values, where)
    return TrainerState.from_dict(values)


def require_consistent(
    state: TrainerState,
    train: TrainConfig,
    stages: Sequence[Stage],
    windows: int,
    scaled: bool,
    task: Task,
    where: str,
) -> None:
    """Makes sure that a state is one of this run.

    Args:
        state: From `state_from`.
        train: The run's settings of the loop.
        stages: Its stages.
        windows: Optimiser steps of an epoch.
        scaled: Whether the run has a loss scale (fp16).
        task: Knows the metrics of an epoch and the terms of its loss.
        where: The file, for the message.

    Raises:
        CheckpointError: It contradicts itself or the run; up to four contradictions are told.
    """
    problems = [
        *_beyond(state, train, stages, windows),
        *_uneven(state, stages, windows),
        *_unasked(state, train, stages),
        *_of_tracker(state, task),
        *(["scaler is missing, and train.precision=fp16 has one"] if scaled and state.scaler is None else []),
    ]
    if problems:
        raise CheckpointError(
            "this checkpoint's state is none that this run can have", where=where, found="; ".join(problems[:4]),
            fix="it was changed, or belongs to another run; use another checkpoint",
        )  # fmt: skip


def _beyond(state: TrainerState, train: TrainConfig, stages: Sequence[Stage], windows: int) -> list[str]:
    """Values past the end of what they count."""
    highest = {
        "epoch": train.epochs, "stage": len(stages), "window": windows, "best_epoch": state.epoch,
        "skipped_in_row": state.step, "skipped": state.window, "stage_epoch": state.epoch, "stage_step": state.step,
    }  # fmt: skip
    problems = [f"{name} is {getattr(state, name)}, of {most}" for name, most in highest.items()
                if getattr(state, name) > most]  # fmt: skip
    for name in ("plateau", "stopping", "stage_best"):
        if getattr(state, name).waited > state.stage_epoch:
            problems.append(f"{name}.waited is {getattr(state, name).waited} after {state.stage_epoch} epochs")
    if state.stage < len(stages) and state.stage_epoch > stages[state.stage].epochs:
        problems.append(f"stage_epoch is {state.stage_epoch}, of {stages[state.stage].epochs}")
    return problems


def _uneven(state: TrainerState, stages: Sequence[Stage], windows: int) -> list[str]:
    """Values that do not add up."""
    problems = []
    made = state.epoch * windows + state.window
    if state.step != made:
        problems.append(f"step is {state.step}; {state.epoch} epochs and {state.window} windows are {made}")
    made = state.stage_epoch * windows + state.window
    if state.stage_step != made:
        problems.append(f"stage_step is {state.stage_step}; its epochs and windows are {made}")
    if state.stage == 0 and state.stage_epoch != state.epoch:
        problems.append(f"stage_epoch is {state.stage_epoch} in the first stage, after {state.epoch} epochs")
    if state.best_epoch == 0 and state.best is not None:
        problems.append(f"best is {state.best}, of no epoch")
    if state.stage >= len(stages) and state.window:
        problems.append(f"window is {state.window} after the last stage")
    return problems


def _unasked(state: TrainerState, train: TrainConfig, stages: Sequence[Stage]) -> list[str]:
    """What something has counted that the current stage does not have, or more often than it could."""
    optim = stages[state.stage].optim if state.stage < len(stages) else None  # after the last one all begins anew
    falls = optim is not None and optim.schedule == "plateau"
    has = {
        "plateau": falls, "stopping": optim is not None and train.early_stopping is not None,
        "stage_best": optim is not None and bool(train.stages),
    }  # fmt: skip
    problems = [f"{name} is {getattr(state, name)}, and there is none"
                for name, there in has.items() if not there and getattr(state, name) != Watch()]  # fmt: skip
    most = state.stage_epoch // optim.plateau_patience if optim is not None and falls else 0
    if state.reductions > most:
        problems.append(f"reductions is {state.reductions}, of {most} at most")
    return problems


def _of_tracker(state: TrainerState, task: Task) -> list[str]:
    """What is wrong with the sums of the current epoch."""
    if (state.tracker is None) != (state.window == 0):
        return [f"tracker is {'missing' if state.tracker is None else 'there'} after {state.window} windows"]
    if state.tracker is None:
        return []
    fresh = task.tracker().to_dict()
    try:
        made = task.tracker(state.tracker)
        again = made.to_dict()
        made.compute()
    except Exception as error:  # whatever a forged number does in a sum
        return [f"tracker: {type(error).__name__} {error}"[:120]]
    if again != state.tracker or not _alike(fresh, again):
        return ["tracker has values that sums cannot have"]
    terms = {"loss", *task.objective.weights}
    if wrong := again["loss_sums"].keys() - terms or (terms - again["loss_sums"].keys() if made.steps else set()):
        return [f"tracker has other loss terms than this run: {', '.join(sorted(wrong))[:80]}"]
    if not made.steps and state.skipped < state.window:
        return [f"tracker counts no step of {state.window}, of which {state.skipped} were skipped"]
    return [] if made.steps <= state.window else [f"tracker counts {made.steps} steps of {state.window}"]


_OF_THE_MODEL = ("task", "model", "conversation", "classes", "encoder", "blocks")
"""What a run's checkpoints say of their model; the fingerprint is compared when the weights are loaded."""

_PATHS = ("base", "vlm", "mask_model", "encoder", "start")
"""Settings that say where something lies, which may have moved; the fingerprint tells whether it is the same."""


def require_same_model(about: Mapping[str, Any], own: Mapping[str, Any], where: str) -> None:
    """Makes sure that a checkpoint describes the model of its run.

    Args:
        about: What the checkpoint says.
        own: What the run's checkpoints say now.
        where: The checkpoint, for the message.

    Raises:
        CheckpointError: They differ; the keys, or the parts of the base, are named.
    """
    require_same_description(about, own.get(DESCRIBED) or {}, f"{where}/{ABOUT}")
    wrong = []
    for key, value in jsonable(own).items():
        saved = about.get(key)
        if saved is None or key not in _OF_THE_MODEL:
            continue  # an older version did not write it
        if key == "model":
            wrong += [
                f"model.{name}" for name in value.keys() & saved.keys() - set(_PATHS) if value[name] != saved[name]
            ]
        elif value != saved and not (key == "encoder" and same_settings(value, saved)):
            wrong.append(key)
    if wrong:
        raise CheckpointError(
            "this checkpoint describes another model than that of its run", where=f"{where}/{ABOUT}",
            found=f"other values of {', '.join(sorted(wrong)[:8])}", fix="use another checkpoint",
        )  # fmt: skip


_SIGNED = ("generalized_sum", "complete_sum", "loss_sums")
"""Sums that may be negative."""

_FIXED = ("classes", "foreground")
"""What a tracker is made for; these are no sums."""


def _alike(fresh: Any, found: Any, name: str = "") -> bool:
    """Whether sums have the shape of fresh ones: the same keys and types, nothing negative that counts."""
    if name in _FIXED:
        return bool(fresh == found)
    if isinstance(fresh, dict):
        if not isinstance(found, dict) or (name != "loss_sums" and fresh.keys() != found.keys()):
            return False
        return all(_alike(fresh.get(key, 0.0), found[key], name if name in _SIGNED else key) for key in found)
    if isinstance(fresh, list):
        filled = isinstance(found, list) and (not fresh or len(found) == len(fresh))
        return filled and all(_alike(fresh[0] if fresh else 0, one, name) for one in found)
    if fresh is None or isinstance(fresh, bool):
        return type(found) is type(fresh)
    wanted = (int,) if isinstance(fresh, int) else (int, float)
    return type(found) in wanted and abs(found) < 2**63 and (found >= 0 or name in _SIGNED)
