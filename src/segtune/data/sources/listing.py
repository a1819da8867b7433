"""Listing the files of a dataset: sorted, without hidden files, and never outside the data root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from segtune.core.errors import DataError
from segtune.core.names import is_utf8, shown
from segtune.core.regular import other_kind
from segtune.data.bad_items import BadItem
from segtune.data.images import SUFFIXES

Roots = tuple[Path, ...]
"""The directories, resolved, below one of which every link of a dataset must stay."""

_READ = (".json", *SUFFIXES)
"""Suffixes of what is read; files of other names may be anything."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files below a directory.

    Attributes:
        files: POSIX paths below the directory, sorted; hidden files and directories left out.
        refused: Links that lead out of the root, linked directories, and what has the name of a picture or of JSON but
            is no regular file or has a name that is not UTF-8; none of it is among `files`.
    """

    files: tuple[str, ...]
    refused: tuple[BadItem, ...]


def link_roots(directory: str | Path, root: str | Path | None = None) -> Roots:
    """Where links in a dataset may lead: below its own directory, and below the root where one is named.

    Args:
        directory: The dataset's directory.
        root: `data.root` of a recipe, `--root` of a command.
    """
    named = [directory] if root is None else [directory, root]
    return tuple(dict.fromkeys(Path(place).expanduser().resolve() for place in named))


def list_files(directory: Path, roots: Roots, skip: frozenset[str] = frozenset()) -> Listing:
    """Lists all files below a directory.

    Args:
        directory: The directory.
        roots: From `link_roots`.
        skip: Names of sub-directories (of `directory` itself) that are passed over.

    Returns:
        The listing; the paths of what is refused are relative to `directory` too.

    Raises:
        DataError: If the directory lies outside the roots or cannot be listed.
    """
    require_below(directory, roots)
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
            reason = _refusal(entry, roots)
            if reason:
                refused.append(BadItem(shown(path), reason))
            elif entry.is_dir():
                pending.append(path)
            elif is_utf8(entry.name):
                files.append(path)
    return Listing(tuple(sorted(files)), tuple(sorted(refused)))


def require_below(path: Path, roots: Roots) -> None:
    """Refuses a path that leaves the data root, after following links.

    Args:
        path: Any path.
        roots: From `link_roots`.

    Raises:
        DataError: If it does not lie below one of them.
    """
    target = path.resolve()
    if not any(target.is_relative_to(root) for root in roots):
        raise DataError(
            "the path leads out of the data root",
            where=str(path),
            expected=f"a path below {' or '.join(map(str, roots))}",
            found=str(target),
            fix=_advice(target, roots),
        )


def _refusal(entry: os.DirEntry[str], roots: Roots) -> str:
    """Why a directory entry is not used; empty where it is, or where it is nothing that would be read."""
    read = entry.name.lower().endswith(_READ)
    if entry.is_symlink():
        target = Path(os.path.realpath(entry.path))
        if not any(target.is_relative_to(root) for root in roots):
            below = " or ".join(map(str, roots))
            return f"a link that leads out of the data root; found {target}; expected a path below {below}; " + _advice(
                target, roots
            )
        if not target.exists():
            return f"a link to something that does not exist; found {target}"
        if target.is_dir():
            return "a link to a directory is not followed (it would count its files twice)"
    elif entry.is_dir():
        if not is_utf8(entry.name):
            return "the name of the directory is not UTF-8, so nothing in it is read; rename it"
        return "a directory with the name of a file is not read; rename it" if read else ""
    if not read:
        return ""
    if not is_utf8(entry.name):
        return "the file name is not UTF-8 (from a ZIP of another system?); rename the file"
    kind = other_kind(entry.path)
    return f"no regular file; found {kind}" if kind else ""


def _advice(target: Path, roots: Roots) -> str:
    """What a person can do about a link that leaves the roots, in every command."""
    both = os.path.commonpath([target.parent, roots[0]])
    return (
        f"copy the files into the dataset, or name a root that holds both: --root {both} for `segtune data check` and "
        f"`segtune evaluate`, data.root={both} for `segtune train` (with full paths in data.train and data.val)"
    )
