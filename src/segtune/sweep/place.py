"""The directory of a study: which file is where, and what the study was begun with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtune.core.config import diff, validate
from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.files import write_text
from segtune.core.rundir import RunDir
from segtune.core.yaml_files import dump_mapping, load_mapping
from segtune.sweep.config import SearchConfig
from segtune.sweep.locks import FileLock
from segtune.sweep.points import Base

_PLACE = {"name", "root", "description"}
"""Keys of a search that change nothing about its points."""


@dataclass(frozen=True)
class StudyPlace:
    """Paths of one study.

    Attributes:
        path: `runs/searches/NAME`.
    """

    path: Path

    @property
    def described(self) -> Path:
        """What the study was begun with: `search` and the mapping of its `recipe`."""
        return self.path / "study.yaml"

    @property
    def journal(self) -> Path:
        """Optuna's journal."""
        return self.path / "journal.log"

    @property
    def trials(self) -> Path:
        """The folder of the trials."""
        return self.path / "trials"

    def run(self, number: int) -> RunDir:
        """The run directory of a trial; it may not exist yet."""
        return RunDir(self.trials / run_name(number), writes=False)

    def config(self, number: int) -> Path:
        """The configuration that a trial begins with."""
        return self.trials / f"{run_name(number)}.yaml"

    def log(self, number: int) -> Path:
        """All that the trainings of a trial have printed."""
        return self.trials / f"{run_name(number)}.log"

    def mutex(self) -> FileLock:
        """Held for a moment by whoever claims a point or writes results."""
        return self._lock("study")

    def journal_lock(self) -> FileLock:
        """Held while rows are appended to the journal."""
        return self._lock("journal")

    def claim_lock(self, number: int) -> FileLock:
        """Held by the search that runs a trial."""
        return self._lock(run_name(number))

    def training_lock(self, number: int) -> FileLock:
        """Held by the training of a trial, from before it starts until it has ended."""
        return self._lock(f"{run_name(number)}-training")

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.path / ".locks" / name)


def run_name(number: int) -> str:
    """The name of a trial's run, `trial-0007`."""
    return f"trial-{number:04}"


def begin(search: SearchConfig, base: Base) -> StudyPlace:
    """Makes the directory of a study, or finds it as it was begun.

    Args:
        search: Resolved, with its name.
        base: Its recipe.

    Returns:
        The place. A larger number of trials than before is noted there.

    Raises:
        ConfigError: The study was begun with something else (the message says what differs), or cannot be made.
    """
    place = StudyPlace(Path(search.root) / str(search.name))
    new = {"search": search.model_dump(mode="json", exclude=_PLACE), "recipe": base.mapping}
    try:
        place.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "a study cannot be made here", where=str(place.path), found=error.strerror or str(error),
            fix="choose a folder you can write to: `--root FOLDER`",
        ) from error  # fmt: skip
    with place.mutex():
        if not place.described.is_file():
            if place.journal.exists():
                raise ConfigError(
                    f"this study has lost its {place.described.name}", where=str(place.path),
                    fix="begin another one: `--name NAME`",
                )  # fmt: skip
            write_text(place.described, dump_mapping(new))
            return place
        old = load_mapping(place.described)
        differences = [row for row in diff(old, new) if not _is_more_trials(*row)]
        if differences:
            told = [f"    {key}: {was!r} in the study, {now!r} now" for key, was, now in differences]
            raise ConfigError(
                "this study was begun with another grid", where=str(place.path),
                found="\n".join(["", *told]),
                fix="take the grid as it was, or begin another study: `--name NAME`",
            )  # fmt: skip
        if old != new:
            write_text(place.described, dump_mapping(new))
    return place


def read_study(place: StudyPlace) -> tuple[SearchConfig, Base]:
    """What a study was begun with.

    Raises:
        CheckpointError: It is no study.
        ConfigError: Its description is damaged.
    """
    if not place.described.is_file():
        raise CheckpointError("not a study", where=str(place.path), expected=place.described.name)
    described = load_mapping(place.described)
    search = validate(SearchConfig, described.get("search") or {}, where=str(place.described))
    return search.model_copy(update={"name": place.path.name}), Base(described.get("recipe") or {})


def _is_more_trials(key: str, was: Any, now: Any) -> bool:
    return key == "search.trials" and isinstance(was, int) and isinstance(now, int) and now > was
