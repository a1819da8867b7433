"""Where the pictures of a COCO file lie: tools agree on the file and not on the folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from segtune.core.errors import DataError
from segtune.data.layouts import IMAGES
from segtune.data.sources.listing import Roots, list_files
from segtune.data.sources.pairing import StoredNames

_SHOWN = 3


class PictureFinder:
    """Finds the pictures that a file of COCO annotations names.

    They lie in the folder of the split (COCO, Roboflow), in `images/SPLIT` (CVAT, Datumaro) or `images` (CVAT, Label
    Studio), or in the dataset's directory. One of these holds for all pictures of a file: that in which most are.

    Args:
        directory: The dataset's directory, resolved.
        split: The split; empty where there is none.
        roots: Links must stay below one of these directories.
        names: What the file calls its pictures.
    """

    def __init__(self, directory: Path, split: str, roots: Roots, names: Sequence[str]) -> None:
        self._directory, self._roots = directory, roots
        self._places = [split, f"{IMAGES}/{split}", IMAGES, ""] if split else ["", IMAGES]
        counts = [sum((directory / place / spelled(name)).is_file() for name in names) for place in self._places]
        self.place = self._places[counts.index(max(counts))] if any(counts) else split
        self._stored = StoredNames(directory / self.place)

    def path(self, name: str) -> Path:
        """The file that is meant, whether it exists or not."""
        given = self._directory / self.place / name
        return given if "\\" in name and given.is_file() else self._stored.find(spelled(name))

    def missing(self, name: str) -> str:
        """Where a picture was looked for and what is near; empty where it exists.

        A name that leads out of the folder is never looked for.
        """
        plain = PurePosixPath(spelled(name))
        if plain.is_absolute() or ".." in plain.parts:
            return f"the path leads out of the folder of the images{self._near(plain.name)}"
        if self.path(name).exists() or self.path(name).is_symlink():
            return ""
        places = ", ".join(f"{place}/" if place else "the dataset's directory" for place in self._places)
        backslash = ' (its "\\" was read as "/")' if "\\" in name else ""
        return f"the image cannot be read; found no such file in {places}{backslash}{self._near(plain.name)}"

    def _near(self, name: str) -> str:
        """The files with this name anywhere in the dataset, or with one much like it, for a message."""
        found = self._by_name.get(name.casefold(), [])
        if found:
            return f"; a file of this name is {' and '.join(found[:_SHOWN])}"
        like = [path for other, paths in self._by_name.items() if _plain(other) == _plain(name) for path in paths]
        return f"; a file of nearly this name is {' and '.join(like[:_SHOWN])}" if like else ""

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """The files below the dataset's directory by name, in any case."""
        names: dict[str, list[str]] = {}
        try:
            files = list_files(self._directory, self._roots).files
        except DataError:
            return {}
        for path in files:
            names.setdefault(path.rpartition("/")[2].casefold(), []).append(path)
        return names


def _plain(name: str) -> str:
    """A file name without what exports change in it: suffix, case, spaces at its ends, signs written as %20."""
    return PurePosixPath(unquote(name).strip().casefold()).stem


def spelled(name: str) -> str:
    """A path as POSIX spells it: exports that were made on Windows have backslashes."""
    return name.replace("\\", "/")
