"""The file of COCO instances: one JSON with `images`, `categories` and `annotations`.

Everything is validated here but run lengths, which are read when they are painted. An annotation that cannot be used
makes its image a bad item: without it, the image would teach that there is nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segtune.core.errors import DataError
from segtune.core.records import IGNORE
from segtune.data.notes import Notes
from segtune.data.sources.coco_categories import Id, as_id, read_categories
from segtune.data.sources.foreign import tool_of
from segtune.data.sources.json_file import read_json, whole_number
from segtune.ops.masks import validate_polygon

_EXAMPLE = '{"images": [...], "categories": [...], "annotations": [...]}'
_SEGMENTATION = "a list of polygons [x1, y1, x2, y2, ...], or a run-length mask with size and counts"
_CROWDS = {None: False, 0: False, 1: True}
_MIN_NUMBERS = 6


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
        file_name: As the file names it.
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
        notes: What is used in a way that its author may not have meant, a sentence each.
    """

    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    refused: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_coco(path: Path) -> CocoFile:
    """Reads and validates a file of COCO instances.

    Args:
        path: The JSON file.

    Raises:
        DataError: If it cannot be read, is a file of panoptic segmentation or of something else, or its categories are
            not as expected. A wrong image or annotation is refused by itself.
    """
    content, encoding = read_json(path, _EXAMPLE)
    lists = [content.get(key) if isinstance(content, dict) else None for key in ("images", "categories", "annotations")]
    tool = tool_of(content)
    if not all(isinstance(entries, list) for entries in lists) or "panoptic" in tool:
        found = "keys " + ", ".join(list(content)[:8]) if isinstance(content, dict) else type(content).__name__
        raise DataError(
            "this is no file of COCO instances", where=str(path), expected=_EXAMPLE, found=tool or found
        )  # fmt: skip
    images, categories, annotations = (entries or [] for entries in lists)
    notes = Notes()
    if encoding:
        notes.add(encoding, path.name)
    used = {as_id(entry.get("category_id")) for entry in annotations if isinstance(entry, dict)}
    reader = _Annotations(path, *read_categories(categories, used, path, notes), notes)
    reader.read_images(images)
    for index, entry in enumerate(annotations):
        reader.add(entry, index)
    reader.tell_crowds(len(annotations))
    return CocoFile(reader.classes, tuple(reader.pictures.values()), tuple(reader.refused), notes.lines())


class _Annotations:
    """Collects pictures and what is drawn on them.

    Args:
        path: The file.
        classes: `background`, then the categories.
        labels: The label of every category id.
        notes: Takes what is told.
    """

    def __init__(self, path: Path, classes: tuple[str, ...], labels: dict[Id, int], notes: Notes) -> None:
        self.path, self.classes, self.labels, self.notes = path, classes, labels, notes
        self.pictures: dict[Id, Picture] = {}
        self.refused: list[str] = []
        self._crowds: Counter[str] = Counter()

    def read_images(self, entries: list[Any]) -> None:
        """Takes the pictures by id; entries that are none become refused."""
        for index, entry in enumerate(entries):
            known = entry if isinstance(entry, dict) else {}
            name, number = known.get("file_name"), as_id(known.get("id"))
            stated = (known.get("height"), known.get("width"))
            height, width = (whole_number(side) for side in stated)
            if not isinstance(name, str) or not name or number is None:
                self.refused.append(f'image {index} has no "id" or "file_name"')
            elif number in self.pictures:
                self.refused.append(f"two images have the id {number}; found {name}")
            elif height is None or width is None or height < 1 or width < 1:
                what = "missing" if None in stated else "no two whole numbers of pixels"
                self.pictures[number] = Picture(name, (0, 0), refused=f"its size is {what}; found {stated}"[:200])
            else:
                self.pictures[number] = Picture(name, (height, width))

    def add(self, entry: Any, index: int) -> None:
        """Adds an annotation to its picture, or the reason why it cannot be."""
        known = entry if isinstance(entry, dict) else {}
        name = f"annotation {str(known.get('id', f'number {index}'))[:40]}"
        number = as_id(known.get("image_id"))
        picture = self.pictures.get(number) if number is not None else None
        if picture is None:
            self.refused.append(f"{name} belongs to no image; found image_id {str(known.get('image_id'))[:40]}")
            return
        category = as_id(known.get("category_id"))
        try:
            if category is None or category not in self.labels:
                found = str(known.get("category_id"))[:40]
                raise DataError("no such category", found=found, expected="an id of 'categories'")
            label = self.labels[category]
            where = f"{self.path}, {name}"
            polygons, rle = self._read_segmentation(known.get("segmentation"), where, name)
            if _is_crowd(known.get("iscrowd")):
                self._crowds[self.classes[label]] += 1
                label = IGNORE
            picture.instances.append(Instance(where, label, polygons, rle))
        except DataError as error:
            found = f"; found {error.found}" if error.found else ""
            picture.refused = picture.refused or f"{name}: {error.message}{found}"

    def tell_crowds(self, annotations: int) -> None:
        """Says how many annotations are crowds, and of which category."""
        if total := self._crowds.total():
            counts = ", ".join(f"{name} {count}" for name, count in sorted(self._crowds.items()))
            self.notes.add(
                f"{total} of {annotations} annotations are crowds (iscrowd 1), whose pixels are ignored: {counts}; "
                "CVAT and Datumaro mark whatever is drawn with a brush so: set iscrowd to 0 if these are to be learned",
                self.path.name,
            )

    def _read_segmentation(
        self, value: Any, where: str, name: str
    ) -> tuple[tuple[np.ndarray, ...], Mapping[str, Any] | None]:
        """Polygons, or a run-length mask."""
        if isinstance(value, dict):
            return (), value
        if not isinstance(value, list) or not value or not all(isinstance(flat, list) for flat in value):
            found = "none (a box alone says no pixels)" if value in (None, []) else str(value)[:80]
            raise DataError("the mask cannot be read", where=where, expected=_SEGMENTATION, found=found)
        if odd := [flat for flat in value if len(flat) % 2]:
            raise DataError("a polygon has an odd number of coordinates", where=where, found=str(odd[0])[:80])
        pairs = [[list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)] for flat in value]
        thin = [index for index, flat in enumerate(value) if len(flat) < _MIN_NUMBERS]
        for index in thin if len(thin) < len(value) else ():
            validate_polygon(pairs[index], where, label="flag")  # what is left out is a part of few points, not junk
            said = "a part of fewer than three points is left out, the other parts of the annotation are used"
            self.notes.add(said, f"{self.path.name}, {name}, part {index}")
        kept = pairs if len(thin) == len(value) else [part for part in pairs if len(part) * 2 >= _MIN_NUMBERS]
        return tuple(validate_polygon(points, where) for points in kept), None


def _is_crowd(value: Any) -> bool:
    """Whether `iscrowd` marks a crowd.

    Raises:
        DataError: It is neither 0 nor 1.
    """
    number = int(value) if isinstance(value, bool) else whole_number(value)
    if (value is not None and number is None) or number not in _CROWDS:
        raise DataError("'iscrowd' is neither 0 nor 1", found=repr(value)[:40])
    return _CROWDS[number]
