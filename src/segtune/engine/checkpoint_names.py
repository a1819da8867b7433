"""From a name in a command to a checkpoint: a run, one of its checkpoints, a directory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from segtune.core.errors import CheckpointError
from segtune.core.rundir import CHECKPOINTS, nearby
from segtune.engine.checkpoint import Checkpoint, open_checkpoint
from segtune.engine.checkpoint_files import MANIFEST, Damaged
from segtune.engine.checkpoint_store import present, whole_besides
from segtune.models.weights import ASSEMBLED, EMBEDDED

T = TypeVar("T")

_TRIES = 10
"""How often a model is read anew because the run that trains it has replaced the checkpoint meanwhile."""

_PAUSE = 0.01
"""Seconds between two looks at the names of a run's checkpoints."""


def find_checkpoint(name: str) -> Checkpoint | None:
    """The checkpoint that a name means; None where it means a base without one.

    Args:
        name: `RUN`, `RUN@last`, `RUN@step-00000120`, or a directory; a base.

    Raises:
        CheckpointError: It means neither, or the checkpoint is damaged.
    """
    if name in EMBEDDED:
        return None
    path, _, which = name.partition("@")
    directory = Path(path)
    if (directory / ASSEMBLED).is_file():
        return None
    if directory.parent.name == CHECKPOINTS or (directory / MANIFEST).is_file():
        return _opened(directory)
    checkpoints = directory / CHECKPOINTS
    if checkpoints.is_dir():
        there, wanted = _listed(checkpoints, which)
        if wanted in there or (Path(wanted).name == wanted and (checkpoints / wanted / MANIFEST).is_file()):
            place = checkpoints / wanted
            return _opened(place if os.path.lexists(place) else there[wanted])
        raise CheckpointError(
            f"this run has no checkpoint {wanted!r}", where=name, expected=", ".join(there) or "any checkpoint",
            found="none" if not there else wanted, fix="train it further, or name one that is there",
        )  # fmt: skip
    raise CheckpointError(
        "this is no model", where=name,
        expected="a run directory, a checkpoint directory, a base directory, or segtune/tiny",
        found="no such file or directory" if not directory.exists() else "none of these",
        fix=nearby(directory),
    )  # fmt: skip


def _listed(checkpoints: Path, which: str) -> tuple[dict[str, Path], str]:
    """The checkpoints of a run, and the one that is wanted; `best`, or else `last`, where none is named.

    A name that is being moved may be missing from a listing though it always exists, so a reader looks again.
    """
    for _ in range(_TRIES):
        there = present(checkpoints)
        wanted = which or ("best" if "best" in there else "last")
        if wanted in there and (which or wanted == "best" or not (checkpoints / "best").is_symlink()):
            break
        time.sleep(_PAUSE)
    return there, wanted


def read_again(name: str, checkpoint: Checkpoint, read: Callable[[str, Checkpoint], T]) -> T:
    """Reads a model from a checkpoint, and from the next one where that is removed in the middle of it.

    A checkpoint never changes, but the run that trains it removes old ones: `RUN@last` then means a newer one.

    Args:
        name: What was asked for.
        checkpoint: What it means.
        read: Reads the model.

    Raises:
        CheckpointError: As `read` does, of a checkpoint that is still there.
    """
    for _ in range(_TRIES):
        try:
            return read(name, checkpoint)
        except CheckpointError:
            if checkpoint.path.exists():
                raise
            newer = find_checkpoint(name)
            if newer is None or newer.path == checkpoint.path:
                raise
            checkpoint = newer
    return read(name, checkpoint)


def _opened(place: Path) -> Checkpoint:
    """A verified checkpoint; of a damaged one it is told which others of the run are whole."""
    try:
        return open_checkpoint(place)
    except Damaged as error:
        others = ", ".join(f"RUN@{name}" for name in whole_besides(place)) if place.parent.name == CHECKPOINTS else ""
        raise CheckpointError(
            error.message, where=error.where, expected=error.expected, found=error.found,
            fix=f"use another checkpoint of the run ({others}), or copy it again" if others else "copy it again",
        ) from error  # fmt: skip
