"""A dataset of drawn files: its directory appears complete or not at all, and is drawn only once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from segtune.core.errors import ConfigError
from segtune.core.regular import read_regular

DESCRIPTION = "synth.json"
"""The file at the dataset's root that says how it was made."""

SPLITS: Mapping[str, float] = {"train": 0.7, "val": 0.15, "test": 0.15}
"""The usual shares of the splits."""

MOST_HELD_OUT = 150
"""The most scenes of val and test: more would make every scoring longer and hardly truer; the rest is for training."""

Counts = dict[str, dict[str, int]]
"""Split -> number of `scenes`, `files` and `queries`."""


def split_sizes(scenes: int, splits: Mapping[str, float] = SPLITS) -> dict[str, int]:
    """Scenes of each split, `MOST_HELD_OUT` at most of all but the first, which gets what is left over.

    Args:
        scenes: Of all splits together.
        splits: Share of each split.

    Raises:
        ConfigError: The shares are wrong, or there are too few scenes for every split to have one.
    """
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown or not splits or min(splits.values()) < 0 or abs(sum(splits.values()) - 1) > 1e-6:
        raise ConfigError(
            "the shares of the splits are wrong", where="splits", expected="shares of train, val and test, sum 1",
            found=str(dict(splits)), fix='for example {"train": 0.7, "val": 0.15, "test": 0.15}',
        )  # fmt: skip
    sizes = {split: min(round(scenes * share), MOST_HELD_OUT) for split, share in splits.items()}
    first = next(iter(sizes))
    sizes[first] += scenes - sum(sizes.values())
    if min(sizes.values()) < 1:
        raise ConfigError(
            "too few scenes for these splits", where="scenes", expected="at least one scene in every split",
            found=f"{scenes} scenes -> {sizes}", fix="ask for more scenes",
        )  # fmt: skip
    return sizes


def draw_once(
    directory: Path, description: Mapping[str, Any], files: Mapping[str, str], write: Callable[[Path], Counts]
) -> Counts:
    """Draws a dataset, or finds it already drawn.

    Args:
        directory: Where to. Written beside it first, then renamed.
        description: What decides every file; it is kept in `DESCRIPTION`.
        files: For each pattern of files below a split, the count that says how many there are.
        write: Writes all splits into a directory, which is there and empty, and counts what it wrote.

    Returns:
        The counts of each split.

    Raises:
        ConfigError: If something else lies in `directory`.
    """
    directory = directory.expanduser().resolve()
    there = _existing(directory, description, files)
    if there is not None:
        return there
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = directory.with_name(f".{directory.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        counts = write(partial)
        content = {"generator": "segtune", **description, "counts": counts}
        (partial / DESCRIPTION).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        try:
            partial.rename(directory)
        except OSError:  # perhaps another process has just drawn the same
            there = _existing(directory, description, files)
            if there is None:
                raise
            return there
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return counts


def drawn_otherwise(directory: Path, version: int) -> str | None:
    """What to tell about a drawn dataset that is there, where today's program would draw another one.

    Args:
        directory: An existing dataset; anything that was not drawn by this program is nobody's business here.
        version: Today's, of the same kind of dataset.

    Returns:
        A sentence; None where there is nothing to tell.
    """
    try:
        found = json.loads(read_regular(directory / DESCRIPTION))["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if found == version:
        return None
    return (
        f"{directory} was drawn by another segtune (dataset version {found}, now {version}): its scores compare with "
        "no others; remove it to have it drawn anew"
    )


def drawn_as(directory: Path, description: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """What a directory holds instead of a dataset that was drawn as described, in words; empty where it holds that one.

    Args:
        directory: An existing directory.
        description: What decides every file, as for `draw_once`.
        files: Likewise.
    """
    return _look(directory, description, files)[1]


def _existing(directory: Path, description: Mapping[str, Any], files: Mapping[str, str]) -> Counts | None:
    """The counts of a dataset that is already there as described; None where the directory is free.

    Raises:
        ConfigError: If something else is there.
    """
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return None
    counts, found = _look(directory, description, files)
    if not found:
        return counts
    raise ConfigError(
        "there is something else in the way", where=str(directory), found=found,
        expected=f"no such directory, an empty one, or the same dataset: {in_words(description)}",
        fix="name another directory, or remove this one",
    )  # fmt: skip


def in_words(description: Mapping[str, Any]) -> str:
    """A description in one line."""
    return ", ".join(f"{key} {value}" for key, value in description.items())


def _look(directory: Path, description: Mapping[str, Any], files: Mapping[str, str]) -> tuple[Counts, str]:
    """The counts of a dataset that is there as described, or what is there instead, in words."""
    found = "a file" if directory.is_file() else f"a directory without {DESCRIPTION}"
    try:
        made = json.loads(read_regular(directory / DESCRIPTION))
        found = in_words({key: made.get(key, "(not said)") for key in description})
        if all(made.get(key) == value for key, value in description.items()):
            counts: Counts = made["counts"]
            return counts, "; ".join(_lost(directory, counts, files))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not ours, or damaged: told as what was found so far
    return {}, found


def _lost(directory: Path, counts: Counts, files: Mapping[str, str]) -> list[str]:
    """Where there are not as many files as were written, in words."""
    lost = []
    for split, count in counts.items():
        for pattern, counted in files.items():
            number = len(list((directory / split).glob(pattern)))
            if number != count[counted]:
                lost.append(f"{number} of {count[counted]} files {split}/{pattern}")
    return lost
