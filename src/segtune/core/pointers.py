"""Names that point to folders which never change: what a reader has resolved once stays whole while the name moves on.

A pointer is a relative symbolic link, replaced by a rename. Where the file system has no links it is a text file that
holds the name of the folder. Runs of older versions have real folders under these names; they are read as they are.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from segtune.core.files import sync_directory, temporary, write_text

_LONGEST = 255
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What `symlink` fails with where the file system has no links."""


def resolve(place: Path) -> Path:
    """The folder that a name means now; the name itself where it is no pointer (a real folder, or nothing).

    Args:
        place: `RUN/checkpoints/last`, or any other path.
    """
    if place.is_symlink():
        return place.parent / os.readlink(place)
    target = _written(place)
    return place if target is None else place.parent / target


def is_pointer(place: Path) -> bool:
    """Whether a name is a link or a file that points somewhere, and no folder."""
    return place.is_symlink() or _written(place) is not None


def point(place: Path, target: str) -> None:
    """Lets a name mean another folder beside it, in one step.

    Args:
        place: The name. A real folder there (of an older version) is removed once it is out of the way.
        target: The name of the folder, without a path.

    Raises:
        OSError: No space, no permission; the name then means what it meant.
    """
    aside = place.with_name(f".removing-{place.name}-{os.getpid()}")
    if place.is_dir() and not place.is_symlink():
        place.rename(aside)  # a rename cannot put a link into the place of a folder
    beside = temporary(place)
    beside.unlink(missing_ok=True)
    try:
        os.symlink(target, beside)
        os.replace(beside, place)
    except OSError as error:
        beside.unlink(missing_ok=True)
        if error.errno not in _NO_LINKS:
            raise
        write_text(place, f"{target}\n")
    sync_directory(place.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _written(place: Path) -> str | None:
    """What a pointer file says; None where there is none."""
    try:
        if not place.is_file() or place.stat().st_size > _LONGEST + 1:
            return None
        name = place.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError):
        return None
    return name if name.isprintable() and name and Path(name).name == name else None
