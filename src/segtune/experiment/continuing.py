"""What a run that goes on must have in common with what it was, and the few settings that may change.

A checkpoint tells the settings and the digests of the data that it was trained with. Whatever is another now is shown
as `key: was -> is` and refused, but for the settings of `MAY_CHANGE` where the command line names them. Every change
that is taken is a row of `resumes.jsonl`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from segtune.config import AnyConfig, validate_run
from segtune.core import pointers
from segtune.core import rundir as names
from segtune.core.config import diff
from segtune.core.environment import describe
from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.rundir import RunDir
from segtune.engine.checkpoint_files import ABOUT
from segtune.engine.config import DenseTrainConfig, OptimConfig, TrainConfig
from segtune.engine.schedule import Schedule
from segtune.engine.stages import plan
from segtune.engine.state import TrainerState
from segtune.experiment.witnesses import require_agreement

SETTINGS, DIGESTS = "config", "data"
"""Where a checkpoint tells the settings of its run, and the digest of each split."""

MAY_CHANGE: Mapping[str, str] = {
    "train.epochs": "upward: epochs are added behind those that are over",
    "train.log_every": "only how often a row is written",
    "train.keep": "only which checkpoints stay",
    "train.save_*": "only when a checkpoint is written, and how many stay",
    "train.max_skipped": "only when training gives up",
    "train.gradient_checkpointing": "the same activations are computed once more, or kept",
    "data.num_workers": "a batch is the same whoever prepares it",
    "data.root": "the data may have moved: their digest has to be the same",
    "data.train": "likewise",
    "data.val": "likewise",
    "eval.batch_size": "scores are sums over queries",
    "eval.overlays": "only how many pictures are written",
    "eval.final": "only whether the end is scored",
    "run.ddp_timeout": "only how long another process is waited for",
    "run.threads": "the same sums, up to rounding",
    "run.export": "only where the best model is written at the end",
}
"""The settings that a resume may change, by pattern, and why each does not make another run of it."""

_PLACES = ("data.root", "data.train", "data.val")

Row = tuple[str, Any, Any]
"""A dotted key, what it was, and what it is."""


def about(config: AnyConfig, digests: Mapping[str, str]) -> dict[str, Any]:
    """What every checkpoint of a run tells about how it was trained."""
    return {SETTINGS: config.model_dump(mode="json"), DIGESTS: dict(digests)}


def shown(rows: Iterable[Row]) -> str:
    """Differences, one a line; reads well behind `found: `."""
    return "\n    ".join(["", *(f"{key}: {_value(was)} -> {_value(now)}" for key, was, now in rows)])


def require_settings(run: RunDir, found: AnyConfig, told: Mapping[str, Any], directory: Path | None = None) -> str:
    """Makes sure that `config.yaml` still says what the checkpoint was trained with.

    Args:
        run: The run.
        found: Its `config.yaml` as it is.
        told: What the checkpoint tells.
        directory: The checkpoint; None for `last`.

    Returns:
        What could not be compared, in words, for a checkpoint from before it told its settings; else empty.

    Raises:
        ConfigError: It says something else; every difference is listed.
        CheckpointError: What the checkpoint or `resumes.jsonl` tells is no configuration of a run; or it says something
            else than the checkpoint, and so does another checkpoint of the run.
    """
    if SETTINGS not in told:
        return f"the checkpoint tells no settings, so {names.CONFIG} was not compared"
    changes, own = _recorded(run), (directory or pointers.resolve(run.checkpoint("last"))) / ABOUT
    # the newest change is recorded before it is written: a run killed between the two has not taken it yet
    rows, before = (diff(_began(own, told[SETTINGS], taken), found) for taken in (changes, changes[:-1]))
    if not rows or not before:
        return ""
    require_agreement(own.parent, ABOUT, lambda place, other: _between(place, other[SETTINGS], own, told, changes))
    raise ConfigError(
        "the settings are no longer those that this run was trained with",
        where=str(run.config),
        expected=f"those that {own} tells",
        found=shown(rows),
        fix="put them back and resume again; more epochs, workers and the like are given on the command line, as in "
        f"`segtune train --resume {run.path} train.epochs=N`; with all else begin a new run: "
        f"`segtune train {run.path} run.name=NAME`",
    )


def digests_told(told: Mapping[str, Any]) -> dict[str, str]:
    """The digests of the data that a checkpoint tells, by split; empty for one from before.

    Raises:
        CheckpointError: What stands there is something else.
    """
    digests = told.get(DIGESTS, {})
    if isinstance(digests, dict) and all(isinstance(value, str) for value in digests.values()):
        return digests
    raise CheckpointError(
        "not the digests of data",
        where=f"checkpoint.json: {DIGESTS}",
        expected='{"train": "...", "val": "..."}',
        found=str(digests)[:80],
    )


def epochs_of(told: Mapping[str, Any], found: AnyConfig) -> int:
    """The epochs that a checkpoint was trained with; those of `config.yaml` where it does not tell."""
    settings = told.get(SETTINGS)
    train = settings.get("train") if isinstance(settings, Mapping) else None
    epochs = train.get("epochs") if isinstance(train, Mapping) else None
    return epochs if isinstance(epochs, int) else found.train.epochs


def require_allowed(run: RunDir, rows: Sequence[Row], named: Iterable[str], *, digests: bool) -> None:
    """Makes sure that settings of a command differ from those of the run only where that is allowed.

    Args:
        run: The run.
        rows: Key, value in the run, wanted value.
        named: What the command line names, as `key=value`; anything else must agree.
        digests: Whether the run has digests of its data, so that a moved dataset can be known again.

    Raises:
        ConfigError: They differ elsewhere, or in a direction that is not allowed; every such difference is listed.
    """
    keys = [one.partition("=")[0].strip() for one in named]
    refused = [
        row for row in rows if not (_may_change(*row, digests=digests) and any(_within(row[0], key) for key in keys))
    ]
    if refused:
        raise ConfigError(
            "a run goes on with the settings that it began with",
            where=str(run.path),
            found=shown(refused),
            expected=f"the settings of {run.config}, or other values of {', '.join(MAY_CHANGE)} (train.epochs only "
            "upward, data only where their digest is the same) named on the command line",
            fix=f"leave these away, or begin a new run: `segtune train {run.path} run.name=NAME KEY=VALUE`",
        )


def require_same_base(checkpoint: str, told: Mapping[str, Any], fingerprint: str) -> None:
    """Makes sure that the weights that do not train are those that the checkpoint was trained on.

    Raises:
        CheckpointError: They are others.
    """
    if told.get("fingerprint") != fingerprint:
        key = f"fingerprint of {told.get('base') or 'the encoder'}"
        raise CheckpointError(
            "the base is no longer the one that this run was trained on",
            where=checkpoint,
            found=shown([(key, told.get("fingerprint"), fingerprint)]),
            fix="the frozen weights changed since; restore them",
        )


def reopen(state: TrainerState, before: int, train: TrainConfig, optim: OptimConfig, run: RunDir) -> None:
    """Lets a run whose epochs were over go on where `train.epochs` is more than it was.

    Args:
        state: Where the run stands; changed where its only stage had ended.
        before: The epochs that it had when the checkpoint was written.
        train: What it has now.
        optim: Its schedule.
        run: For the message.

    Raises:
        ConfigError: The epochs were given to a stage that is over, or what stopping and plateau had counted is gone.
    """
    if train.epochs == before:
        return
    if train.stages:
        epochs = [stage.epochs for stage in plan(train, optim)]
        was = [stage.epochs for stage in plan(train.model_copy(update={"epochs": before}), optim)]
        fits = state.stage < len(epochs) and epochs[: state.stage] == was[: state.stage]
    else:
        over = state.stage > 0
        fits = not over or (train.early_stopping is None and optim.schedule != "plateau")
        if over and fits:
            state.stage, state.stage_epoch, state.stage_step = 0, state.epoch, state.step
    if not fits:
        start = "model.start" if isinstance(train, DenseTrainConfig) else "model.base"
        raise ConfigError(
            "this run cannot be given more epochs: what its plateau, its early stopping or its stages had counted "
            "ended with them",
            where=str(run.path),
            found=shown([("train.epochs", before, train.epochs)]),
            fix=f"begin a new run from its weights: `segtune train {run.path} run.name=NAME {start}={run.path}@last`",
        )


def rates_told(state: TrainerState, before: int, train: TrainConfig, optim: OptimConfig, per_epoch: int) -> str:
    """What other epochs make of the schedule, in words; empty where the rates to come stay as they were.

    Args:
        state: Where the run stands.
        before: The epochs that it had.
        train: The epochs that it has.
        optim: The schedule.
        per_epoch: Optimiser steps of an epoch.
    """
    if state.stage >= max(1, len(train.stages)):
        return ""
    rates = []
    for epochs in (before, train.epochs):
        stage = plan(train.model_copy(update={"epochs": epochs}), optim)[state.stage]
        schedule = Schedule(stage.optim, per_epoch * stage.epochs, per_epoch)
        rates.append(stage.optim.lr * schedule.factor(state.stage_step, state.reductions))
    if rates[0] == rates[1]:
        return ""
    return (
        f"train.epochs: {before} -> {train.epochs}: the schedule {optim.schedule} spans all epochs, so the rate of "
        f"step {state.step + 1} is {rates[1]:.3g} and would have been {rates[0]:.3g}; the run will not be the one that "
        f"{train.epochs} epochs from the start would have given"
    )


def other_versions(run: RunDir) -> dict[str, list[str | None]]:
    """The packages that have another version than when the run began: name -> [was, is]."""
    path = run.path / names.ENVIRONMENT
    began = run.read_json(names.ENVIRONMENT) if path.is_file() else {}
    packages = began.get("packages") if isinstance(began, Mapping) else None
    then = {"python": began.get("python"), **packages} if isinstance(packages, Mapping) else {}
    now = {"python": platform.python_version(), **describe()["packages"]}
    return {name: [then[name], now[name]] for name in now if name in then and then[name] != now[name]}


def record(run: RunDir, state: TrainerState, rows: Sequence[Row], versions: Mapping[str, Any]) -> None:
    """Writes down that a run goes on: when, from where, with what changes and what other versions."""
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "epoch": state.epoch,
        "step": state.step,
        "changes": {key: [was, now] for key, was, now in rows},
        "versions": dict(versions),
        "processes": state.processes,
    }
    run.append_jsonl(names.RESUMES, entry)


def _may_change(key: str, was: Any, now: Any, *, digests: bool) -> bool:
    if key == "train.epochs":
        return isinstance(was, int) and isinstance(now, int) and now > was
    if key in _PLACES:
        return digests and (key == "data.root" or (was is not None and now is not None))
    return any(fnmatchcase(key, pattern) for pattern in MAY_CHANGE)


def _within(key: str, named: str) -> bool:
    """Whether a key is the one that was named, or lies below it."""
    return key == named or key.startswith(f"{named}.")


def _recorded(run: RunDir) -> list[dict[str, Any]]:
    """The changes of earlier resumes, in their order: key -> new value."""
    taken = []
    for row in run.read_jsonl(names.RESUMES):
        changes = row.get("changes") if isinstance(row, Mapping) else None
        pairs = changes.values() if isinstance(changes, Mapping) else [None]
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise CheckpointError(
                "not what a run writes",
                where=str(run.path / names.RESUMES),
                found=str(row)[:80],
                expected='rows with "changes": {"key": [was, is]}',
            )
        if changes:
            taken.append({key: pair[1] for key, pair in changes.items()})
    return taken


def _between(place: Path, other: Any, own: Path, told: Mapping[str, Any], changes: Sequence[Mapping[str, Any]]) -> str:
    """How the settings that two checkpoints tell differ, apart from the changes that were recorded."""
    rows = diff(_began(place, other, changes), _began(own, told[SETTINGS], changes))
    return shown(rows) if rows else ""


def _began(place: Path, told: Any, changes: Sequence[Mapping[str, Any]]) -> AnyConfig:
    """The settings that a checkpoint tells, with what was changed since; a change that it knows changes nothing.

    Raises:
        CheckpointError: They are no configuration of a run.
    """
    where = f"{place}: {SETTINGS}"
    if not isinstance(told, Mapping):
        raise CheckpointError("not the settings of a run", where=where, expected="a mapping", found=str(told)[:80])
    settings = dict(told)
    for change in changes:
        for key, value in change.items():
            settings = _set(settings, key.split("."), value)
    try:
        return validate_run(settings, where=where)
    except ConfigError as error:
        raise CheckpointError(f"not the settings of a run: {error.message}", where=where) from error


def _set(section: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    below = section.get(keys[0])
    rest = _set(below if isinstance(below, Mapping) else {}, keys[1:], value) if len(keys) > 1 else value
    return {**section, keys[0]: rest}


def _value(value: Any) -> str:
    return "null" if value is None else str(value)


def rows_until(run: RunDir, step: int) -> list[dict[str, Any]]:
    """The rows of the metrics up to a step; those after it are written again."""
    rows = run.read_jsonl(names.METRICS)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or type(row.get("step")) is not int:
            raise CheckpointError(
                "this row has no step", where=f"{run.path / names.METRICS}, line {number}", found=str(row)[:80],
                fix="remove the line",
            )  # fmt: skip
    return [row for row in rows if row["step"] <= step]
