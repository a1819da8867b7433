"""`classes.json`: what the classes of a dense dataset are called.

```json
{"classes": ["background", "wound"], "ignore_index": 255}
```

`classes` are the names; the index of a name is the value of its pixels in the masks. `ignore_index` is the value of
pixels that count neither for nor against; without it (or with null) there is none. Data with questions in place of
masks say which texts mean which class:

```json
{"classes": ["background", "car", "tree"],
 "texts": {"car": ["What could I drive away with?"]},
 "words": {"car": ["car", "van"], "tree": ["tree", "trees"]}}
```

`texts` are whole queries, `words` are words or phrases that occur in a query; white space and case are passed over.
The file lies in the dataset's directory, or in a split's where the splits differ. A bare list of names will do as well.
Other keys are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segtune.core.errors import DataError
from segtune.core.names import alike, composed
from segtune.core.records import IGNORE
from segtune.core.text import require_name, require_text
from segtune.data.sources.json_file import read_json
from segtune.data.sources.listing import Roots, require_below

FILE = "classes.json"
BACKGROUND = "background"
"""The name by which class 0 is known to be the background (in any case)."""

_EXAMPLE = '{"classes": ["background", "wound"], "ignore_index": 255}'


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a dataset.

    Attributes:
        names: At least two, all different; the index of a name is its label.
        ignore_index: The value of ignored pixels in the files; None where there is none.
        texts: Whole queries of each class, by its name.
        words: Words and phrases of each class, by its name.
        notes: What is used in a way that its author may not have meant, a sentence each.
    """

    names: tuple[str, ...]
    ignore_index: int | None = None
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def has_background(names: Sequence[str]) -> bool:
    """Whether class 0 of these is called the background."""
    return bool(names) and is_background(names[0])


def is_background(name: str) -> bool:
    """Whether a class is called the background."""
    return read_alike(name) == BACKGROUND


def read_alike(name: str) -> str:
    """Equal for names of classes that a reader takes for one: case, white space and how accents are stored aside."""
    return alike(" ".join(name.split()))


def nearly_one(names: Iterable[str], what: str = "classes") -> list[str]:
    """What is said of classes whose names a reader takes for one.

    Args:
        names: All different.
        what: What the file calls them.
    """
    first: dict[str, str] = {}
    told = []
    for name in names:
        near = first.setdefault(read_alike(name), name)
        if near != name:
            how = "how accents are stored" if composed(near) == composed(name) else "case or space"
            told.append(f"the {what} {near!r} and {name!r} are two classes whose names differ only in {how}")
    return told


def file_of_classes(directory: Path, split: str) -> Path | None:
    """The `classes.json` of a split, or else that of the dataset; None where neither is there."""
    return next((path for path in (directory / split / FILE, directory / FILE) if os.path.lexists(path)), None)


def find_classes(directory: Path, split: str, roots: Roots) -> Classes:
    """Reads the `classes.json` of a split, or else that of the dataset.

    Args:
        directory: The dataset's directory.
        split: The split; empty where there are none.
        roots: From `listing.link_roots`.

    Raises:
        DataError: If there is none, it leads out of the root, or it is not as expected.
    """
    if (path := file_of_classes(directory, split)) is not None:
        require_below(path, roots)
        return read_classes(path)
    raise DataError(
        "the dataset does not say what its classes are",
        where=str(directory),
        expected=f"a file {FILE}: {_EXAMPLE}",
        found="no such file",
        fix=f"write {directory / FILE}: the names in the order of their values in the masks",
    )


def read_classes(path: Path) -> Classes:
    """Reads and validates a `classes.json`.

    Args:
        path: The file.

    Raises:
        DataError: If it cannot be read or any part of it is not as expected.
    """
    content, note = read_json(path, _EXAMPLE)
    if isinstance(content, list):
        content = {"classes": content}
    if not isinstance(content, dict):
        raise _refusal(path, "this is no description of classes", _EXAMPLE, type(content).__name__)
    names = _names(content.get("classes"), path)
    texts, words = (_said(content.get(key, {}), key, names, path) for key in ("texts", "words"))
    notes = (f"{FILE} is {note}",) if note else ()
    told = tuple(f"{said} ({FILE})" for said in nearly_one(names))
    return Classes(names, _ignore_index(content.get("ignore_index"), names, path), texts, words, (*notes, *told))


def _names(names: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise _refusal(path, "'classes' is not as expected", "a list of names, none of them empty", str(names)[:80])
    for name in names:
        require_name(name, str(path), what="the name of a class")
    if not 2 <= len(names) <= IGNORE:
        raise _refusal(path, "a wrong number of classes", f"2 to {IGNORE} names", f"{len(names)}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _refusal(path, "a class is named twice", "different names", ", ".join(twice))
    return tuple(names)


def _ignore_index(value: Any, names: tuple[str, ...], path: Path) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= 255:
        raise _refusal(
            path, "'ignore_index' is not as expected", "a whole number of 0 to 255, or null", str(value)[:80]
        )
    if value < len(names):
        raise _refusal(
            path, "'ignore_index' is the index of a class", f"a value that none of the {len(names)} classes has",
            f"{value}, which is {names[value]!r}",
            "leave the last name out of 'classes' where it is the ignored one, or ignore a class by data.exclude",
        )  # fmt: skip
    return value


def _said(value: Any, key: str, names: tuple[str, ...], path: Path) -> dict[str, tuple[str, ...]]:
    """The texts or words of each class."""
    good = isinstance(value, dict) and all(
        isinstance(texts, list) and all(isinstance(text, str) and text.strip() for text in texts)
        for texts in value.values()
    )
    if not good:
        raise _refusal(path, f"{key!r} is not as expected", '{"car": ["a text", ...], ...}', str(value)[:80])
    if unknown := [name for name in value if name not in names]:
        raise _refusal(path, f"{key!r} names no class", "one of " + ", ".join(names), ", ".join(unknown))
    where = f"{path}, {key}"
    return {name: tuple(require_text(text, where) for text in texts) for name, texts in value.items()}


def _refusal(path: Path, message: str, expected: str, found: str, fix: str = "correct the file") -> DataError:
    return DataError(message, where=str(path), expected=expected, found=found, fix=fix)
