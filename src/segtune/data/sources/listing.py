"""Listing the files of a dataset: sorted, without hidden files, and never outside the data root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from segtune.core.errors import DataError
from segtune.data.bad_items import BadItem


@dataclass(frozen=True, slots=True)
class Listing:
    """The files below a directory.

    Attributes:
        files: POSIX paths below the directory, sorted; hidden files and directories left out.
        refused: Links that lead out of the root and linked directories, none of which is among `files`.
    """

    files: tuple[str, ...]
    refused: tuple[BadItem, ...]


def list_files(directory: Path, root: Path, skip: frozenset[str] = frozenset()) -> Listing:
    """Lists all files below a directory.

    Args:
        directory: The directory, resolved.
        root: The directory that every link must stay below, resolved.
        skip: Names of sub-directories (of `directory` itself) that are passed over.

    Returns:
        The listing; the paths of refused links are relative to `directory` too.

    Raises:
        DataError: If the directory lies outside the root or cannot be listed.
    """
    require_below(directory, root)
    files: list[str] = []
    refused: list[BadItem] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            entries = list(os.scandir(directory / folder))
        except OSError as error:
            raise DataError(
                "the directory cannot be listed", where=str(directory / folder), found=str(error)
            ) from error
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or path in skip:
                continue
            reason = _refusal(entry, root)
            if reason:
                refused.append(BadItem(path, reason))
            elif entry.is_dir():
                pending.append(path)
            else:
                files.append(path)
    return Listing(tuple(sorted(files)), tuple(sorted(refused)))


def require_below(path: Path, root: Path) -> None:
    """Refuses a path that leaves the data root, after following links.

    Args:
        path: Any path.
        root: The directory it must lie in.

    Raises:
        DataError: If it does not.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(
            "the path leads out of the data root",
            where=str(path),
            expected=f"a path below {root}",
            found=str(path.resolve()),
            fix="copy the files into the dataset, or name a data root that holds both",
        )


def _refusal(entry: os.DirEntry[str], root: Path) -> str:
    """Why a directory entry is not followed; empty for everything that is no link or a file link inside the root."""
    if not entry.is_symlink():
        return ""
    target = Path(os.path.realpath(entry.path))
    if not target.is_relative_to(root):
        return f"a link that leads out of the data root; found {target}; expected a path below {root}"
    if not target.exists():
        return f"a link to something that does not exist; found {target}"
    return "a link to a directory is not followed (it would count its files twice)" if target.is_dir() else ""
