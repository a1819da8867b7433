"""Which file belongs to which: one rule for pictures beside annotations, for masks, and for names in an index or COCO.

Files belong together when their paths are equal but for the suffix. Of several suffixes the first of the list wins, in
any case; the others are told. Names whose accents are stored otherwise (composed on Linux, apart on macOS) belong
together where each has no other partner, and that is told too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from segtune.core.names import alike, composed
from segtune.data.bad_items import BadItem
from segtune.data.images import SUFFIXES

_SHOWN = 3


class FilesByStem:
    """Files by their path without suffix.

    Args:
        paths: POSIX paths; those with another suffix are passed over.
        suffixes: In lower case, the preferred first.
    """

    def __init__(self, paths: Iterable[str], suffixes: tuple[str, ...] = SUFFIXES) -> None:
        self._files: dict[str, list[str]] = {}
        found = [path for path in paths if path.lower().endswith(suffixes)]
        for path in sorted(found, key=lambda path: (suffixes.index("." + path.rpartition(".")[2].lower()), path)):
            self._files.setdefault(stem_of(path), []).append(path)
        self._composed: dict[str, list[str]] = {}
        for stem in self._files:
            self._composed.setdefault(composed(stem), []).append(stem)

    @property
    def stems(self) -> tuple[str, ...]:
        """All stems, sorted."""
        return tuple(sorted(self._files))

    def first(self, stem: str) -> str | None:
        """The file of exactly this stem that is used; None where there is none."""
        return next(iter(self._files.get(stem, ())), None)

    def all_of(self, stem: str) -> tuple[str, ...]:
        """All files of exactly this stem, the one that is used first."""
        return tuple(self._files.get(stem, ()))

    def find(self, stem: str) -> str | None:
        """The file of this stem, or of the only one that differs just in how accents are stored."""
        others = self._composed.get(composed(stem), [])
        return self.first(stem) or (self.first(others[0]) if len(others) == 1 else None)

    def partners(self, stems: Iterable[str]) -> dict[str, str]:
        """The file of each stem that has one.

        Args:
            stems: Of the other side: annotations, or pictures that want masks.

        Returns:
            Files by stem. One whose accents are stored otherwise is taken where neither side has another choice.
        """
        wanted = set(stems)
        found = {stem: self._files[stem][0] for stem in wanted if stem in self._files}
        without: dict[str, list[str]] = {}
        for stem in wanted - found.keys():
            without.setdefault(composed(stem), []).append(stem)
        for name, left in without.items():
            free = [stem for stem in self._composed.get(name, ()) if stem not in wanted]
            if len(free) == len(left) == 1:
                found[left[0]] = self._files[free[0]][0]
        return found

    def near(self, stem: str) -> str:
        """Words about files whose names look like this one, for the message that there is none; else empty."""
        names = [self._files[other][0] for other in self._files if other != stem and alike(other) == alike(stem)]
        if not names:
            return ""
        return f"; there is {', '.join(names[:_SHOWN])}, which differs in case or in how accents are stored"

    def unused(self, stem: str, used: str) -> list[BadItem]:
        """The other files of a stem, each with the one that is used in its place."""
        reason = f"another image has the same name and is used; found {used.rpartition('/')[2]}"
        return [BadItem(path, reason) for path in self.all_of(stem) if path != used]


def stem_of(path: str) -> str:
    """The path without its last suffix: the id of a record."""
    return path.rpartition(".")[0]


def accents_told(pairs: dict[str, str]) -> list[str]:
    """What to say of pairs whose accents are stored otherwise.

    Args:
        pairs: Files by stem, from `FilesByStem.partners`.

    Returns:
        One sentence, or none.
    """
    odd = sorted(path for stem, path in pairs.items() if stem_of(path) != stem)
    if not odd:
        return []
    return [
        f"{_listed(odd)}: taken for the files of the same name whose accents are stored otherwise "
        "(composed on Linux, apart on macOS)"
    ]


def collisions_told(stems: Iterable[str]) -> list[str]:
    """What to say of names that are one name on macOS or Windows.

    Args:
        stems: All different.

    Returns:
        One sentence, or none.
    """
    groups: dict[str, list[str]] = {}
    for stem in sorted(stems):
        groups.setdefault(alike(stem), []).append(stem)
    same = [" and ".join(group) for group in groups.values() if len(group) > 1]
    if not same:
        return []
    return [f"{_listed(same)}: names that differ only in case or in how accents are stored; other systems keep one"]


class StoredNames:
    """Finds files by what another file calls them, also where accents are stored otherwise.

    Args:
        folder: Where the names lie below.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str) -> Path:
        """The path of a name: as it is where it exists or nothing like it does.

        Args:
            name: POSIX path below the folder.
        """
        path = self._folder / name
        if os.path.lexists(path):
            return path
        found = self._folder
        for part in PurePosixPath(name).parts:
            same = self._in(found).get(composed(part), [])
            found = found / (same[0] if len(same) == 1 and not os.path.lexists(found / part) else part)
        return found if os.path.lexists(found) else path

    def _in(self, folder: Path) -> dict[str, list[str]]:
        """The names in a folder, by their composed form."""
        if folder not in self._names:
            names: dict[str, list[str]] = {}
            for name in os.listdir(folder) if folder.is_dir() else []:
                names.setdefault(composed(name), []).append(name)
            self._names[folder] = names
        return self._names[folder]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
