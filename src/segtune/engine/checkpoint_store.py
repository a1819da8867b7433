"""The checkpoints of a run together: directories that never change, names that point to them, and how many stay.

    checkpoints/step-00000120/              training may continue from it
    checkpoints/step-00000120-unvalidated/  the same before the validation that follows it, until that is over
    checkpoints/step-00000120-weights/      weights alone, as they were validated
    checkpoints/last -> step-00000120       and likewise best, stage-1-best, epoch-0003

A directory is complete before a name points to it, and goes only when no name does. The newest resumable ones stay,
each with the weights that the names meant when it was written: a run that goes on from the one before finds all of it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from segtune.core import pointers
from segtune.core.errors import CheckpointError
from segtune.core.files import sync_directory
from segtune.engine.checkpoint import Checkpoint, open_checkpoint
from segtune.engine.checkpoint_files import MANIFEST, STATE, Damaged, read_about

LAST = "last"
UNVALIDATED, WEIGHTS = "-unvalidated", "-weights"
_DIRECTORY = re.compile(r"step-(\d{8,})(-unvalidated|-weights)?(?:-(\d+))?")
_RANK = {UNVALIDATED: 0, WEIGHTS: -1, "": 1}
"""Of two resumable directories of one step the higher is the later; weights alone cannot be resumed."""
_EPOCH = re.compile(r"epoch-(\d{4,})")
_REPLACED = ".replaced-"
"""What a version without pointers called a checkpoint while it put a newer one into its place."""


class CheckpointStore:
    """Writes and removes the checkpoints of a run; for whoever holds the run's lock.

    Args:
        folder: `RUN/checkpoints`.
        limit: How many steps from which training may continue are kept.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit

    def place(self, step: int, kind: str = "") -> Path:
        """A directory that is not there yet, for a checkpoint of a step.

        Args:
            step: Optimiser steps made.
            kind: Nothing, `UNVALIDATED` or `WEIGHTS`.
        """
        name = f"step-{step:08}{kind}"
        taken = (f"{name}-{count}" for count in range(2, 1 << 20))
        while (self.folder / name).exists():  # of a run that went on from an earlier one
            name = next(taken)
        return self.folder / name

    def names(self) -> dict[str, str]:
        """The directories that names point to, apart from `last`."""
        pointed = _pointers(self.folder)
        return {name: target.name for name, target in pointed.items() if name != LAST and target.is_dir()}

    def point(self, name: str, directory: Path) -> None:
        """Lets a name mean a complete checkpoint."""
        pointers.point(self.folder / name, directory.name)

    def keep_epochs(self, count: int) -> None:
        """Takes the names of the oldest epochs away, beyond so many."""
        epochs = sorted((int(found[1]), name) for name in present(self.folder) if (found := _EPOCH.fullmatch(name)))
        for _, name in epochs[:-count]:
            self._forget(name)

    def _forget(self, name: str) -> None:
        place = self.folder / name
        if place.is_dir() and not place.is_symlink():
            self._remove(place)
        else:
            place.unlink()

    def tidy(self) -> None:
        """Removes the directories that no name means, but for the newest resumable ones and their weights."""
        pointed = {target.name for target in _pointers(self.folder).values()}
        kept = set(pointed)
        for directory in self._newest():
            kept.add(directory.name)
            try:
                kept |= set((read_about(directory).names or {}).values())
            except CheckpointError:  # damaged: there is nothing to be learnt from it
                continue
        for directory in self.folder.iterdir():
            if directory.name not in kept and _order(directory) is not None and directory.is_dir():
                self._remove(directory)

    def _newest(self) -> list[Path]:
        """The newest resumable directory of each of the newest steps, none beyond that of `last`."""
        last = _order(pointers.resolve(self.folder / LAST))
        newest: dict[int, Path] = {}
        for directory in _steps(self.folder):
            order = _order(directory)
            if order is not None and (last is None or order <= last):
                newest.setdefault(order[0], directory)
        return list(newest.values())[: self.limit]

    def _remove(self, directory: Path) -> None:
        """Out of sight by a rename first: a reader must not find half a checkpoint."""
        aside = self.folder / f".removing-{directory.name}-{os.getpid()}"
        directory.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Lets the names mean what they meant when a checkpoint was written, where training continues from it.

        What was written later is written again. `last` means this checkpoint afterwards.
        """
        about = checkpoint.about
        for name, target in (about.get("names") or {}).items():
            whole = (self.folder / target / MANIFEST).is_file()
            if whole and pointers.resolve(self.folder / name).name != target:
                pointers.point(self.folder / name, target)
        for name in _pointers(self.folder):
            if (found := _EPOCH.fullmatch(name)) and int(found[1]) > about.get("epoch", 0):
                self._forget(name)
        place = self.folder / LAST
        if _order(checkpoint.path) is not None and pointers.resolve(place) != checkpoint.path:
            pointers.point(place, checkpoint.path.name)


def present(folder: Path) -> dict[str, Path]:
    """The checkpoints of a run by name, each resolved; also one that an older version has just moved aside."""
    found = {name: target for name, target in _pointers(folder).items() if (target / MANIFEST).is_file()}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        name = path.name.removeprefix(_REPLACED)
        if path.name in found or path.is_symlink() or not (path / MANIFEST).is_file():
            continue
        if not name.startswith(".") and _order(path) is None:
            found.setdefault(name, path)
    return dict(sorted(found.items()))


def open_newest(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest whole checkpoint of a run from which training may continue, and what was passed over.

    Args:
        folder: `RUN/checkpoints`.

    Returns:
        The checkpoint, and a sentence for every newer one that is damaged.

    Raises:
        CheckpointError: There is none, or none is whole; or the newest says of itself what cannot be.
    """
    passed: list[Damaged] = []
    for directory in resumable(folder):
        try:
            checkpoint = open_checkpoint(directory)
        except Damaged as error:
            passed.append(error)
            continue
        return checkpoint, [f"{error.where}: {error.message} ({error.found})" for error in passed]
    if not passed:
        open_checkpoint(folder / LAST)  # says what is missing
    first = passed[0]
    raise CheckpointError(
        first.message, where=first.where, expected=first.expected, found=first.found,
        fix="no other checkpoint of this run can be resumed; copy it again" + _weights_left(folder),
    )  # fmt: skip


def resumable(folder: Path) -> list[Path]:
    """The checkpoints from which training may continue, the one that `last` means first, then the newest."""
    last = pointers.resolve(folder / LAST)
    old = [folder / LAST, folder / f"{_REPLACED}{LAST}"]
    places = [last] if last.is_dir() else []
    return list(dict.fromkeys([*places, *_steps(folder), *(path for path in old if _is_folder(path))]))


def whole_besides(path: Path) -> list[str]:
    """The names of whole checkpoints beside a damaged one."""
    names = []
    for name, directory in present(path.parent).items():
        if directory != path and directory.name != path.name:
            try:
                open_checkpoint(directory)
            except CheckpointError:
                continue
            names.append(name)
    return names


def clean_leftovers(folder: Path) -> None:
    """Removes what a killed process left half-written, and puts back what an older version had moved aside.

    Only for whoever holds the run's lock: a process that is writing would lose its work.
    """
    if not folder.is_dir():
        return
    for replaced in folder.glob(f"{_REPLACED}*"):
        place = folder / replaced.name.removeprefix(_REPLACED)
        if place.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            replaced.rename(place)
    for pattern in (".writing-*", ".removing-*"):
        for unfinished in folder.glob(pattern):
            shutil.rmtree(unfinished, ignore_errors=True)
    sync_directory(folder)


def is_of(directory: Path, step: int, kind: str) -> bool:
    """Whether a directory is a checkpoint of a step and kind (nothing or `UNVALIDATED`), by its name."""
    order = _order(directory)
    return order is not None and order[:2] == (step, _RANK[kind]) and directory.is_dir()


def _weights_left(folder: Path) -> str:
    """What may be begun from where nothing can be resumed."""
    names = whole_besides(folder / LAST)
    if not names:
        return ""
    return f", or begin a new run from the weights of RUN@{names[0]} (model.base, of a dense run model.start)"


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _steps(folder: Path) -> list[Path]:
    """The directories `step-N` that hold a trainer's state, newest first; of one step a validated one first."""
    found = [path for path in _folders(folder) if (order := _order(path)) is not None and order[1] >= 0]
    return sorted(
        (path for path in found if (path / STATE).exists()), key=lambda path: _order(path) or (), reverse=True
    )


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if _is_folder(path))


def _order(path: Path) -> tuple[int, int, int] | None:
    """Step, whether it is validated (-1 for weights alone) and count of a directory; None for what has another name."""
    found = _DIRECTORY.fullmatch(path.name)
    if found is None:
        return None
    return int(found[1]), _RANK[found[2] or ""], int(found[3] or 1)


def _pointers(folder: Path) -> dict[str, Path]:
    """The names that point somewhere, and where."""
    if not folder.is_dir():
        return {}
    paths = [path for path in folder.iterdir() if not path.name.startswith(".") and pointers.is_pointer(path)]
    return {path.name: pointers.resolve(path) for path in sorted(paths)}
