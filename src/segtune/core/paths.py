"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path

from segtune.core.errors import ConfigError


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
