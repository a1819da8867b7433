"""Paths as people write them, and those that a run can write down."""

from __future__ import annotations

import os
from pathlib import Path

from segtune.core.errors import ConfigError, SegtuneError
from segtune.core.text import require_utf8


def expanded(path: str | Path) -> Path:
    """The path with `~` and `~name` replaced by the home directory that is meant.

    Raises:
        ConfigError: There is no such person, or this one has no home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        name = Path(path).parts[0]
        raise ConfigError(
            "there is no such home directory", where=str(path), found=name, fix=f"write the whole path, or ./{path}"
        ) from error


def require_utf8_path(path: str | Path, where: str, *, what: str, error: type[SegtuneError]) -> None:
    """Refuses a place whose whole path UTF-8 cannot hold: a run writes it down, in files that are UTF-8.

    A relative path may be good and lie below a folder that is not, and so may the place that a link leads to.

    Args:
        path: Any path, `~` replaced.
        where: What a person has named, for the message.
        what: What it is a path of, for the message.
        error: `DataError` for data, `ConfigError` for where something is written, `CheckpointError` for models.
    """
    plain = str(path).replace("\0", "")  # which no path can hold, and others refuse
    for full in (os.path.abspath(plain), os.path.realpath(plain)):
        require_utf8(
            full,
            where,
            what=f"the whole path of {what}",
            error=error,
            fix="rename the folder with that character, or move this to another one",
        )
