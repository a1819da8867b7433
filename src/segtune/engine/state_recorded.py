"""What a checkpoint says of the best epochs, compared with what its run has recorded of them.

The history and the weights under a name tell the same values as the trainer's state; where they contradict each other,
a run would go on towards a best that never was, or keep other weights for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segtune.core.errors import CheckpointError
from segtune.core.rundir import HISTORY
from segtune.engine.checkpoint import Checkpoint
from segtune.engine.checkpoint_files import ABOUT, MANIFEST, STATE, read_about
from segtune.engine.config import FORCED_TWINS, TrainConfig
from segtune.engine.stages import Stage
from segtune.engine.state import History, TrainerState
from segtune.engine.watch import is_better

_NUMBER = re.compile(r"(?:epoch|stage)-(\d+)")


def require_recorded(
    state: TrainerState, train: TrainConfig, stages: Sequence[Stage], history: History, checkpoint: Checkpoint
) -> None:
    """Makes sure that a state tells of the best epochs what the run has recorded.

    What is no longer there is not compared: a history that was removed, weights that a name meant.

    Args:
        state: From `state_from`, one that `require_consistent` takes.
        train: The run's settings of the loop.
        stages: Its stages.
        history: Of the epochs that are over.
        checkpoint: Where the state comes from, with the names that it tells.

    Raises:
        CheckpointError: They contradict each other; up to four contradictions are told.
    """
    rows: dict[int, dict[str, Any]] = {}
    for row in (*history.train, *history.val):
        rows.setdefault(row["epoch"], {}).update(row)
    problems = [*_of_best(state, train, rows), *_of_watches(state, train, stages, rows)]
    if problems:
        raise _contradiction(checkpoint, STATE, problems, f"what {HISTORY} of its run tells")
    if problems := list(_of_names(state, train, rows, checkpoint)):
        raise _contradiction(checkpoint, ABOUT, problems, f"names of weights that fit {STATE} and {HISTORY}")


def _contradiction(checkpoint: Checkpoint, file: str, problems: Sequence[str], expected: str) -> CheckpointError:
    return CheckpointError(
        "this checkpoint contradicts what its run has recorded", where=str(checkpoint.path / file), expected=expected,
        found="; ".join(problems[:4]), fix="it was changed, or belongs to another run; use another checkpoint",
    )  # fmt: skip


def _of_best(state: TrainerState, train: TrainConfig, rows: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    """The best value is that of its epoch, and no epoch had a better one."""
    if (row := rows.get(state.best_epoch)) is not None:
        if not _equal(state.best, (told := row.get(train.best))):
            yield f"best is {state.best}, and {train.best} of epoch {state.best_epoch} was {told}"
        told = row.get(FORCED_TWINS.get(train.best, ""))
        if state.best_forced is not None and not _equal(state.best_forced, told):
            yield f"best_forced is {state.best_forced}, and that of epoch {state.best_epoch} was {told}"
    for epoch, row in rows.items():
        if is_better(_number(row.get(train.best)), state.best, highest=train.best_is_highest):
            yield f"best_epoch is {state.best_epoch}, and epoch {epoch} was better: {row[train.best]}"


def _of_watches(
    state: TrainerState, train: TrainConfig, stages: Sequence[Stage], rows: Mapping[int, Mapping[str, Any]]
) -> Iterator[str]:
    """What is watched has had its best value in some epoch; only where all of them are recorded."""
    if state.stage >= len(stages) or rows.keys() != set(range(1, state.epoch + 1)):
        return
    stop = train.early_stopping
    keys = {
        "plateau": stages[state.stage].optim.plateau_metric or train.best,
        "stopping": (stop and stop.metric) or train.best, "stage_best": train.best,
    }  # fmt: skip
    for name, key in keys.items():
        best = getattr(state, name).best
        if best is not None and not any(_equal(best, row.get(key)) for row in rows.values()):
            yield f"{name}.best is {best}, and {key} had that value in no epoch"


def _of_names(
    state: TrainerState, train: TrainConfig, rows: Mapping[int, Mapping[str, Any]], checkpoint: Checkpoint
) -> Iterator[str]:
    """Weights have the epoch and the value that their name promises."""
    for name, target in (checkpoint.about.get("names") or {}).items():
        directory = checkpoint.path.parent / target
        if not (directory / MANIFEST).is_file():
            continue  # nothing is pointed to it either
        try:
            about = read_about(directory)
        except CheckpointError:
            continue  # damaged: told when it is opened
        number = int(found[1]) if (found := _NUMBER.match(name)) else None
        stage = rows.get(about.epoch, {}).get("stage")
        if name.startswith("epoch-"):
            fits = about.epoch == number
        elif number is not None:
            fits = about.epoch <= state.epoch and stage in (None, number)
        else:
            fits = about.epoch == state.best_epoch and _equal(about.metrics.get(train.best, state.best), state.best)
        if not fits:
            what = f"of epoch {about.epoch} with {train.best} {about.metrics.get(train.best)}"
            yield f"names.{name} is {target}, {what}; best is {state.best} of epoch {state.best_epoch}"


def _number(value: Any) -> float | None:
    """A value of the history; what is none counts as undefined."""
    return value if isinstance(value, int | float) and not math.isnan(value) else None


def _equal(ours: Any, theirs: Any) -> bool:
    return _number(ours) == _number(theirs)
