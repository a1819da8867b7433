"""What the files of a prediction are called: one answer never takes the place of another one or of a foreign file."""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from segtune.core.names import short_name
from segtune.core.regular import open_regular, read_regular

PICTURE = "picture"
"""Under which the JSON of an answer, and a heat map, hold the digest of their picture."""

_PARTS = ("labels", "mask", "overlay")
"""Of all kinds of answers, whichever is written: where a model without masks had begun a stem beside a foreign
`STEM_mask.png`, a model with masks would take the stem for its own and replace that file."""

_MOST_BYTES = 160
"""Of a picture's name; what is added, also while a file is written, stays below the 255 of most file systems."""

_DIGITS = 8
_MARKED_WITHIN = 256  # bytes of a heat map: header and mark come first


def answer_stem(directory: Path, stem: str, query: str | None, picture: str, heat: str | None = None) -> str:
    """The start of the names of the files of one answer.

    Args:
        directory: Where they are written; need not exist.
        stem: The name of the picture without suffix; a long one is cut, and told apart by a digest.
        query: The question; None for the classes of a dense model.
        picture: The digest of the picture, `data.digests.of_pixels`.
        heat: The class of the heat map that will be written, as a part of a file name; None for an answer.

    Returns:
        The stem that has the answer to this question about this picture already; else the first under which no file of
        an answer lies: the given one, the same with a digest of question and picture, and that with a number.
    """
    name, free = short_name(stem.replace("/", "_"), _MOST_BYTES), ""
    for candidate in _candidates(name, query, picture):
        if heat is not None and not _is_own_heat(heat_path(directory, candidate, heat), picture):
            continue
        state = _state(directory, candidate, query, picture)
        if state == "own":
            return candidate
        if state == "free":
            free = free or candidate
            if candidate != name:  # the others follow each other without a gap
                break
    return free


def part_path(directory: Path, stem: str, part: str) -> Path:
    """The file of one picture of an answer.

    Args:
        directory: Where it lies.
        stem: From `answer_stem`.
        part: `labels`, `mask` or `overlay`.
    """
    assert part in _PARTS
    return directory / f"{stem}_{part}.png"


def heat_path(directory: Path, stem: str, target: str) -> Path:
    """The file of a heat map.

    Args:
        directory: Where it lies.
        stem: From `answer_stem`.
        target: The class, as a part of a file name.
    """
    return directory / f"{stem}_heat_{target}.png"


def write_heat(path: Path, pixels: np.ndarray, picture: str) -> None:
    """Writes a heat map with the digest of its picture in it: it is also written without a JSON beside it.

    Args:
        path: From `heat_path`; missing folders above it are made.
        pixels: uint8 `[h, w, 3]`.
        picture: The digest of the picture.
    """
    mark = PngInfo()
    mark.add_text(PICTURE, picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, pnginfo=mark)


def _candidates(name: str, query: str | None, picture: str) -> Iterator[str]:
    asked = picture + ("" if query is None else f" {query}")
    marked = f"{name}-{hashlib.sha256(asked.encode('utf-8', 'surrogatepass')).hexdigest()[:_DIGITS]}"
    return itertools.chain((name, marked), (f"{marked}-{number}" for number in itertools.count(2)))


def _state(directory: Path, stem: str, query: str | None, picture: str) -> Literal["own", "free", "other"]:
    """Whose files lie under a stem."""
    answer = directory / f"{stem}.json"
    if _is_own(answer, query, picture):
        return "own"
    files = (answer, *(part_path(directory, stem, part) for part in _PARTS))
    if any(map(os.path.lexists, files)):  # a broken link is somebody's, too
        return "other"
    heats = directory.glob(heat_path(Path(), glob.escape(stem), "*").name)
    return "free" if all(_is_own_heat(path, picture) for path in heats) else "other"


def _is_own(path: Path, query: str | None, picture: str) -> bool:
    """Whether a file is there and holds an answer to the same question about the same picture."""
    try:
        content: Any = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(content, dict) or content.get(PICTURE) != picture:  # absent in answers from before
        return False
    if query is None:
        return "mean_confidence" in content  # an answer of a dense model
    return "emitted" in content and content.get("query") == query


def _is_own_heat(path: Path, picture: str) -> bool:
    """Whether a file is not there or is a heat map of the same picture."""
    if not os.path.lexists(path):
        return True
    try:
        with open_regular(path) as file:
            return f"{PICTURE}\0{picture}".encode() in file.read(_MARKED_WITHIN)
    except OSError:
        return False
