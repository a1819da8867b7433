"""What a run directory says, read once: every report is made from this and from nothing else."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from segtune.core import rundir as names
from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.files import read_json
from segtune.core.rundir import RunDir
from segtune.core.yaml_files import load_mapping
from segtune.reports.documents import Row, is_dense, is_number
from segtune.reports.summary import BEFORE

Task = Literal["reasoning", "dense"]
"""What a run learns: masks that answer questions, or the class of every pixel."""

_FORCED_TWINS = {"val_generate_gIoU": "val_gIoU", "val_generate_cIoU": "val_cIoU"}
"""As in `engine.config`, which is not to be imported here."""

_LOSSES = ("loss", "ce", "bce", "dice", "focal", "iou", "tversky", "boundary")
"""As in `engine.config` too: keys of which less is better, with `val_` before them or without."""

_DENSE_LOSSES = ("binary_bce", "binary_dice", "binary_focal")
"""The other losses of a dense model, as in `losses.config`; its Dice score is `foreground_dice`."""

_ANSWER_PARTS = ("data", "split", "mode", "counts", "metrics", "by")
_DENSE_PARTS = ("data", "split", "mode", "counts", "metrics", "classes", "by_class", "confusion")


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a training with parameters and a schedule of its own.

    Attributes:
        number: Counted from 1.
        first: Its first epoch, from 1.
        last: Its last epoch so far.
        best_epoch: The epoch of the stage whose checkpoint was kept as the stage's best; None where no epoch has the
            key that decides.
    """

    number: int
    first: int
    last: int
    best_epoch: int | None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run as its directory tells it; a part that has not been written yet is empty.

    Attributes:
        name: Of the run.
        path: Where it is.
        config: The resolved configuration.
        train: History rows of the training epochs.
        val: History rows of the validated epochs.
        benchmarks: Peak memory and inference time.
        parameters: As in `parameters.json`.
        data: As in `data.json`.
        environment: As in `environment.json`.
        scores: The scores files of the best checkpoint, by file name.
        before: The same of the model it started from.
        best_epoch: Counted from 1; None before the first epoch has ended.
        stages: In their order; empty for a training in one piece.
        task: What the run learns.
    """

    name: str
    path: Path
    config: Row
    train: list[Row]
    val: list[Row]
    benchmarks: Row
    parameters: Row
    data: Row
    environment: Row
    scores: list[Row]
    before: list[Row]
    best_epoch: int | None
    stages: tuple[Stage, ...] = ()
    task: Task = "reasoning"

    @property
    def best_key(self) -> str:
        """The history key that decided which checkpoint is the best."""
        return str(self.setting("train.best", "-"))

    @property
    def epochs(self) -> dict[int, Row]:
        """Training and validation of each epoch together."""
        rows: dict[int, Row] = {}
        for row in [*self.train, *self.val]:
            rows.setdefault(row["epoch"], {}).update(row)
        return dict(sorted(rows.items()))

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping has ended the run, by the rule of its configuration over its history."""
        stop, train = self.setting("train.early_stopping"), self.setting("train", {})
        if not isinstance(stop, dict):
            return False
        key = str(stop.get("metric") or train.get("best"))
        sign, gain = (1 if _highest_is_best(key, train) else -1), stop.get("min_gain", 0.0)
        best, waited = -math.inf, 0
        for value in (row[key] for row in self.epochs.values() if key in row):
            better = is_number(value) and sign * value > best + gain
            best, waited = (sign * value, 0) if better else (best, waited + 1)
        return waited >= stop.get("patience", math.inf)

    def setting(self, key: str, default: Any = None) -> Any:
        """A value of the configuration by its dotted key."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return default if value is None else value


def read_run(path: str | Path) -> RunFacts:
    """Reads a run directory, finished or not.

    Args:
        path: The directory.

    Raises:
        CheckpointError: It is no run, or a file in it is damaged.
        ConfigError: Its configuration is damaged.
    """
    run = RunDir.open(path)
    config = load_mapping(run.config)
    history = _part(run, names.HISTORY)
    train, val = _rows(run, history, "train"), _rows(run, history, "val")
    task = _task(run, config)
    return RunFacts(
        name=run.name,
        path=run.path,
        config=config,
        train=train,
        val=val,
        benchmarks=history.get("benchmarks") or {},
        parameters=_part(run, names.PARAMETERS),
        data=_part(run, names.DATA),
        environment=_part(run, names.ENVIRONMENT),
        scores=_scores(run.path, task),
        before=_scores(run.path / BEFORE, task),
        best_epoch=_best_epoch(run, config, [*train, *val]),
        stages=_stages(run, config, train, val),
        task=task,
    )


def _task(run: RunDir, config: Row) -> Task:
    """What the configuration says; without a word it is reasoning segmentation."""
    said = config.get("task") or "reasoning"
    for task in get_args(Task):
        if said == task:
            return task
    raise ConfigError(
        "a run of a kind that reports do not know", where=f"{run.config}: task", expected=" or ".join(get_args(Task)),
        found=repr(said),
    )  # fmt: skip


def _part(run: RunDir, name: str) -> Row:
    """A JSON file of the run; empty where it has not been written."""
    value = run.read_json(name) if (run.path / name).exists() else {}
    if not isinstance(value, dict):
        raise CheckpointError("not what a run writes", where=str(run.path / name), expected="an object of JSON")
    return value


def _rows(run: RunDir, history: Row, part: str) -> list[Row]:
    rows = history.get(part, [])
    if not isinstance(rows, list) or not all(isinstance(r, dict) and is_number(r.get("epoch")) for r in rows):
        raise CheckpointError(
            "the run's history is damaged",
            where=str(run.path / names.HISTORY),
            expected=f"a list `{part}` of rows, each with its `epoch`",
            fix="`segtune train --resume RUN` writes it again if the run is not complete",
        )
    return rows


def _stages(run: RunDir, config: Row, train: list[Row], val: list[Row]) -> tuple[Stage, ...]:
    """The stages that the training rows name; a validation row belongs to the stage of its epoch."""
    epochs: dict[int, list[int]] = {}
    for row in train:
        if is_number(row.get("stage")):
            epochs.setdefault(int(row["stage"]), []).append(row["epoch"])
    return tuple(
        Stage(
            number, min(of), max(of),
            _best_epoch(run, config, [row for row in (*train, *val) if row["epoch"] in of], f"stage-{number}-best"),
        )
        for number, of in sorted(epochs.items())
    )  # fmt: skip


def _scores(folder: Path, task: Task) -> list[Row]:
    documents = []
    parts = _DENSE_PARTS if task == "dense" else _ANSWER_PARTS
    for path in sorted(folder.glob("eval_*.json")):
        document = read_json(path)
        if not isinstance(document, dict) or any(part not in document for part in parts):
            raise CheckpointError(
                "not a scores file", where=str(path), expected=f"the keys {', '.join(parts)}",
                fix="remove it, or write it again with `segtune evaluate`",
            )  # fmt: skip
        if task == "dense" and not _fits_together(document):
            raise CheckpointError(
                "a scores file contradicts itself", where=str(path),
                expected="`by_class` and a square `confusion` with as many classes as `classes`, or both empty",
                fix="remove it, or write it again with `segtune evaluate`",
            )  # fmt: skip
        documents.append(document)
    return documents


def _fits_together(document: Row) -> bool:
    """Whether scores of classes belong to the classes that the file names."""
    classes, rows, matrix = (document[part] for part in ("classes", "by_class", "confusion"))
    if not is_dense(document) or not (isinstance(rows, dict) and isinstance(matrix, list)):
        return False
    square = all(isinstance(row, list) and len(row) == len(matrix) and all(map(is_number, row)) for row in matrix)
    return square and ((not rows and not matrix) or (list(rows) == classes and len(matrix) == len(rows)))


def _best_epoch(run: RunDir, config: Row, rows: list[Row], checkpoint: str = "best") -> int | None:
    """As a checkpoint of the best says; where checkpoints were not kept, by the rule that chose it among these rows."""
    place = os.path.relpath(run.checkpoint(checkpoint), run.path)
    said = _part(run, f"{place}/checkpoint.json").get("epoch")
    if isinstance(said, int):
        return said
    train = config.get("train") or {}
    key = str(train.get("best"))
    sign, twin = (1 if _highest_is_best(key, train) else -1), _FORCED_TWINS.get(key, "")
    # of equal values in generate mode the better with the answer given, and else the first one, was kept
    ranked = [
        (sign * row[key], sign * row[twin] if is_number(row.get(twin)) else -math.inf, -row["epoch"])
        for row in rows
        if is_number(row.get(key))
    ]
    return -max(ranked)[2] if ranked else None


def _highest_is_best(key: str, train: Row) -> bool:
    """Whether more of a key is better, by the section `train` of the configuration."""
    goal = train.get("best_goal") if key == train.get("best") else None
    return (goal or ("min" if key.removeprefix("val_") in (*_LOSSES, *_DENSE_LOSSES) else "max")) == "max"
