"""The file of COCO instances: one JSON with `images`, `categories` and `annotations`.

Everything is validated here but run lengths, which are read when they are painted. An annotation that cannot be used
makes its image a bad item: without it, the image would teach that there is nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from segtune.core.errors import DataError
from segtune.core.records import IGNORE
from segtune.core.text import require_name, require_utf8
from segtune.data.sources.annotations import read_json
from segtune.data.sources.classes import BACKGROUND
from segtune.ops.masks import validate_polygon

_EXAMPLE = '{"images": [...], "categories": [...], "annotations": [...]}'
_SEGMENTATION = "a list of polygons [x1, y1, x2, y2, ...], or a run-length mask with size and counts"


@dataclass(frozen=True, slots=True)
class Instance:
    """One annotation.

    Attributes:
        where: File and id, for messages.
        label: The index of its class; `IGNORE` for a crowd.
        polygons: float64 `[n, 2]` each, (x, y) in original pixels; empty where `rle` holds the mask.
        rle: A run-length mask that nobody has looked into yet, or None.
    """

    where: str
    label: int
    polygons: tuple[np.ndarray, ...]
    rle: Mapping[str, Any] | None


@dataclass(slots=True)
class Picture:
    """One image of the file.

    Attributes:
        file_name: POSIX path as the file names it.
        size: (h, w) that the annotations were drawn for, in original pixels.
        instances: What is in it, in the order of the file.
        refused: Why it cannot be used; empty where it can.
    """

    file_name: str
    size: tuple[int, int]
    instances: list[Instance] = field(default_factory=list)
    refused: str = ""


@dataclass(frozen=True, slots=True)
class CocoFile:
    """What a file says.

    Attributes:
        classes: `background`, then the categories in the order of their ids.
        pictures: In the order of the file; some of them may be refused.
        refused: What belongs to no picture, each with its reason.
    """

    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    refused: tuple[str, ...]


def read_coco(path: Path) -> CocoFile:
    """Reads and validates a file of COCO instances.

    Args:
        path: The JSON file.

    Raises:
        DataError: If it cannot be read, or its categories are not as expected. A wrong image or annotation is refused
            by itself.
    """
    content = read_json(path)
    lists = [content.get(key) if isinstance(content, dict) else None for key in ("images", "categories", "annotations")]
    if not all(isinstance(entries, list) for entries in lists):
        found = "keys " + ", ".join(list(content)[:8]) if isinstance(content, dict) else type(content).__name__
        raise DataError("this is no file of COCO instances", where=str(path), expected=_EXAMPLE, found=found)
    images, categories, annotations = lists
    classes, labels = _read_categories(categories, path)
    refused: list[str] = []
    pictures = _read_images(images, refused)
    for index, entry in enumerate(annotations or []):
        _add_instance(entry, index, pictures, labels, path, refused)
    return CocoFile(classes, tuple(pictures.values()), tuple(refused))


def _read_categories(entries: Any, path: Path) -> tuple[tuple[str, ...], dict[int, int]]:
    """The classes, and the label of every category id; a category called background is class 0."""
    good = all(
        isinstance(entry, dict)
        and type(entry.get("id")) is int
        and isinstance(entry.get("name"), str)
        and entry["name"]
        for entry in entries
    )
    if not (good and entries):
        raise DataError(
            "the categories are not as expected", where=str(path), expected='[{"id": 1, "name": "wound"}, ...]',
            found=str(entries)[:80], fix="correct the file",
        )  # fmt: skip
    for entry in entries:
        require_name(entry["name"], str(path), what="the name of a category")
    ordered = sorted(entries, key=lambda entry: entry["id"])
    names = [entry["name"] for entry in ordered if entry["name"].strip().casefold() != BACKGROUND]
    ids = {entry["id"] for entry in ordered}
    if len(set(names)) < len(names) or len(ids) < len(ordered) or not 1 <= len(names) < IGNORE:
        raise DataError(
            "the categories are not as expected", where=str(path),
            expected=f"1 to {IGNORE - 1} categories with different ids and names", found=", ".join(names)[:200],
            fix="correct the file",
        )  # fmt: skip
    places = {name: index for index, name in enumerate(names, start=1)}
    return (BACKGROUND, *names), {entry["id"]: places.get(entry["name"], 0) for entry in ordered}


def _read_images(entries: Any, refused: list[str]) -> dict[int, Picture]:
    """The pictures by id; entries that are none to `refused`."""
    pictures: dict[int, Picture] = {}
    for index, entry in enumerate(entries):
        known = entry if isinstance(entry, dict) else {}
        name, number = known.get("file_name"), known.get("id")
        size = (known.get("height"), known.get("width"))
        if not isinstance(name, str) or not name or type(number) is not int:
            refused.append(f'image {index} has no "id" or "file_name"')
        elif number in pictures:
            refused.append(f"two images have the id {number}; found {name}")
        elif fault := _name_fault(name):
            refused.append(f"image {index}: {fault}")
        elif not all(type(side) is int and side > 0 for side in size):
            pictures[number] = Picture(name, (0, 0), refused=f"its size is missing; found {size}")
        else:
            pictures[number] = Picture(name, size)  # type: ignore[arg-type]
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                pictures[number].refused = "the path leads out of the folder of the images"
    return pictures


def _name_fault(name: str) -> str:
    """Why a file name cannot be the name of a file; empty where it can."""
    try:
        require_utf8(name, "", what='"file_name"')
    except DataError as error:
        return f"{error.message}; found {error.found}"
    return ""


def _add_instance(
    entry: Any, index: int, pictures: dict[int, Picture], labels: dict[int, int], path: Path, refused: list[str]
) -> None:
    """Adds an annotation to its picture, or the reason why it cannot be."""
    known = entry if isinstance(entry, dict) else {}
    name = f"annotation {known.get('id', f'number {index}')}"
    number = known.get("image_id")
    picture = pictures.get(number) if type(number) is int else None
    if picture is None:
        refused.append(f"{name} belongs to no image; found image_id {number}")
        return
    category = known.get("category_id")
    try:
        if type(category) is not int or category not in labels:
            raise DataError("no such category", found=str(category)[:40], expected="an id of 'categories'")
        label = IGNORE if known.get("iscrowd") in (1, True) else labels[category]
        where = f"{path}, {name}"
        picture.instances.append(Instance(where, label, *_read_segmentation(known.get("segmentation"), where)))
    except DataError as error:
        found = f"; found {error.found}" if error.found else ""
        picture.refused = picture.refused or f"{name}: {error.message}{found}"


def _read_segmentation(value: Any, where: str) -> tuple[tuple[np.ndarray, ...], Mapping[str, Any] | None]:
    """Polygons, or a run-length mask."""
    if isinstance(value, dict):
        return (), value
    if not isinstance(value, list) or not value or not all(isinstance(flat, list) for flat in value):
        found = "none (a box alone says no pixels)" if value in (None, []) else str(value)[:80]
        raise DataError("the mask cannot be read", where=where, expected=_SEGMENTATION, found=found)
    if odd := [flat for flat in value if len(flat) % 2]:
        raise DataError("a polygon has an odd number of coordinates", where=where, found=str(odd[0])[:80])
    pairs = [[list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)] for flat in value]
    return tuple(validate_polygon(points, where) for points in pairs), None
