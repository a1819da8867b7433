"""Where the files of a dataset lie, and which splits it has: by directory listings alone.

Every kind of dataset on disk has a layout. Nothing is opened here; the sources read what these functions find.
"""

from __future__ import annotations

import os
from pathlib import Path

from segtune.core.errors import DataError
from segtune.core.names import is_utf8, shown

KNOWN_SPLITS = ("train", "val", "test")
"""Sub-directories that always are splits, in the order in which they are shown."""

TEXT_LAYOUT = """
    DIR/train/NAME.jpg  DIR/train/NAME.json      (the same for val and test; or the pairs directly in DIR)
    NAME.json: {"text": ["the dog on the left"], "is_sentence": false,
                "shapes": [{"label": "target", "points": [[10, 10], [60, 12], [55, 80]]}]}"""
MASKS_LAYOUT = """
    DIR/train/images/NAME.jpg  DIR/train/masks/NAME.png  (the same for val and test; or images and masks in DIR)
    DIR/classes.json: {"classes": ["background", "wound"], "ignore_index": 255}"""
COCO_LAYOUT = """
    DIR/train/NAME.jpg  DIR/annotations/instances_train.json      (or DIR/train/_annotations.coco.json)"""
LAYOUTS = {"reasonseg": TEXT_LAYOUT, "synth": TEXT_LAYOUT, "masks": MASKS_LAYOUT, "coco": COCO_LAYOUT}
"""The layout of every kind of dataset on disk with an example, for messages and help texts."""

IMAGES, MASKS = "images", "masks"
"""The two folders of a split of index masks."""

INSTANCES = "annotations/instances_{}.json"
EXPORTED = "_annotations.coco.json"
_NOT_SPLITS = {"explanatory"}


def find_splits(directory: str | Path, kind: str = "reasonseg") -> tuple[str, ...]:
    """The splits of a dataset directory: the known ones first, then others by name.

    Text-prompted kinds: where `train`, `val` or `test` exist, the directory has splits, and every other sub-directory
    that holds JSON files is one as well. Without them a directory with JSON files of its own has none (its
    sub-directories are folders of one dataset), and one without has its sub-directories with JSON files as splits.
    `masks`: the sub-directories that hold `images/`; none where the directory holds `images/` itself. `coco`: the
    `SPLIT` of every `annotations/instances_SPLIT.json` and the sub-directories that hold `_annotations.coco.json`; none
    where the directory holds one itself.

    Args:
        directory: An existing directory.
        kind: The kind of the dataset.

    Returns:
        The names, empty where the files lie directly in the directory or there are none.

    Raises:
        DataError: If the directory cannot be listed.
    """
    path = Path(directory)
    finder = {"masks": _mask_splits, "coco": _coco_splits}.get(kind, _text_splits)
    try:
        found = finder(path)
    except OSError as error:
        raise DataError("the directory cannot be listed", where=str(directory), found=str(error)) from error
    if odd := sorted(name for name in found if not is_utf8(name)):
        raise DataError(
            "the name of a split is not UTF-8", where=str(directory), found=shown(odd[0]), fix="rename the directory"
        )
    return tuple(sorted(found, key=lambda name: (_rank(name), name)))


def recognise(directory: str | Path) -> str:
    """The kind of a bare directory, by what lies in it; empty where it is none that is known.

    Raises:
        DataError: If the directory cannot be listed.
    """
    path = Path(directory)
    if find_splits(path, "coco") or lies_in(path, "coco"):
        return "coco"
    places = [path / split for split in find_splits(path, "masks")] or [path]
    if any((place / IMAGES).is_dir() and (place / MASKS).is_dir() for place in places):
        return "masks"
    places = [path / split for split in find_splits(path)] or [path]
    return "reasonseg" if any(_holds_json(place) for place in places) else ""


def lies_in(directory: str | Path, kind: str) -> bool:
    """Whether a dataset of index masks or COCO instances lies directly in a directory, without splits."""
    return (Path(directory) / IMAGES).is_dir() if kind == "masks" else coco_file(directory, "") is not None


def coco_file(directory: str | Path, split: str) -> Path | None:
    """The file of COCO annotations of a split (empty: of the directory itself); None where there is none."""
    path = Path(directory)
    candidates = [path / split / EXPORTED]
    if split:
        candidates.insert(0, path / INSTANCES.format(split))
    return next((file for file in candidates if file.is_file()), None)


def _rank(name: str) -> int:
    return KNOWN_SPLITS.index(name) if name in KNOWN_SPLITS else len(KNOWN_SPLITS)


def _folders(directory: Path) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def _text_splits(directory: Path) -> list[str]:
    folders = [name for name in _folders(directory) if name not in _NOT_SPLITS]
    known = [name for name in folders if name in KNOWN_SPLITS]
    if not known and _holds_json(directory):
        return []
    return known + [name for name in folders if name not in known and _holds_json(directory / name)]


def _mask_splits(directory: Path) -> list[str]:
    if (directory / IMAGES).is_dir():
        return []
    return [name for name in _folders(directory) if (directory / name / IMAGES).is_dir()]


def _coco_splits(directory: Path) -> list[str]:
    if (directory / EXPORTED).is_file():
        return []
    found = {name for name in _folders(directory) if (directory / name / EXPORTED).is_file()}
    before, after = Path(INSTANCES).name.split("{}")
    for file in directory.glob(INSTANCES.format("*")):
        found.add(file.name.removeprefix(before).removesuffix(after))
    return sorted(found)


def _holds_json(directory: Path) -> bool:
    """Whether a directory holds a JSON file directly."""
    with os.scandir(directory) as entries:
        return any(entry.name.lower().endswith(".json") and not entry.name.startswith(".") for entry in entries)
