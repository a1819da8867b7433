"""The categories of a COCO file as classes, and the ids by which its lists refer to each other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, TypeAlias

from segtune.core.errors import DataError
from segtune.core.records import IGNORE
from segtune.core.text import require_name
from segtune.data.notes import Notes
from segtune.data.sources.classes import BACKGROUND, is_background, nearly_one
from segtune.data.sources.json_file import whole_number

Id: TypeAlias = int | str
"""An id of an image or a category: a number, or a text that is none."""


def as_id(value: object) -> Id | None:
    """An id as it is compared: `7`, `7.0` and `"7"` are one; None where it is no id."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else text or None
    return whole_number(value)


def read_categories(
    entries: list[Any], used: set[Id | None], path: Path, notes: Notes
) -> tuple[tuple[str, ...], dict[Id, int]]:
    """The classes of a file.

    Class 0 is `background`; the categories follow in the order of their ids. A category that is itself called
    `background` is class 0 too. Of categories with one name those that no annotation has are dropped (Roboflow writes
    the name of the group as category 0), and several that are used are one class; both is told.

    Args:
        entries: The list `categories`.
        used: The category ids of the annotations.
        path: The file, for messages.
        notes: Takes what is told.

    Returns:
        The names of the classes, and the label of every category id.

    Raises:
        DataError: An entry has no id or name, two have the same id, or there are too few or too many.
    """
    named = [
        (as_id(entry.get("id")), entry.get("name")) if isinstance(entry, dict) else (None, None) for entry in entries
    ]
    known = [(key, name) for key, name in named if key is not None and isinstance(name, str) and name.strip()]
    if not known or len(known) < len(entries):
        raise DataError(
            "the categories are not as expected", where=str(path), expected='[{"id": 1, "name": "wound"}, ...]',
            found=str(entries)[:80], fix="correct the file",
        )  # fmt: skip
    if twice := sorted(str(key) for key, count in Counter(key for key, _ in known).items() if count > 1):
        raise DataError(
            "two categories have the same id", where=str(path), expected="different ids", found=", ".join(twice)[:200],
            fix="correct the file",
        )  # fmt: skip
    ordered = sorted(known, key=lambda pair: (isinstance(pair[0], str), pair[0]))
    for _, name in known:
        require_name(name, str(path), what="the name of a category")
    by_name: dict[str, list[Id]] = {}
    for key, name in ordered:
        by_name.setdefault(name, []).append(key)
    _tell_same_names(by_name, used, path, notes)
    first = {name: min(keys, key=lambda key: (key not in used, keys.index(key))) for name, keys in by_name.items()}
    names = [name for key, name in ordered if key == first[name] and not is_background(name)]
    if not 1 <= len(names) < IGNORE:
        raise DataError(
            "a wrong number of categories", where=str(path), expected=f"1 to {IGNORE - 1} beside the background",
            found=f"{len(names)}: {', '.join(names)}"[:200], fix="correct the file",
        )  # fmt: skip
    places = {name: index for index, name in enumerate(names, start=1)}
    return (BACKGROUND, *names), {key: places.get(name, 0) for key, name in ordered}


def _tell_same_names(by_name: dict[str, list[Id]], used: set[Id | None], path: Path, notes: Notes) -> None:
    """Says which categories have one name, and which names nearly are one."""
    for name, keys in by_name.items():
        unused = [key for key in keys if key not in used]
        if len(keys) > 1:
            named = ", ".join(map(str, keys))
            dropped = f"dropped, as no annotation has it: {', '.join(map(str, unused))}"
            what = dropped if 0 < len(unused) < len(keys) else "they are one class"
            notes.add(f"the categories {named} have one name, {name!r}: {what}", path.name)
    for said in nearly_one((name for name in by_name if not is_background(name)), "categories"):
        notes.add(said, path.name)
