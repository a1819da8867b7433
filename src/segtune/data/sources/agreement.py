"""Whether what annotations say agrees with their pictures and with each other.

Two kinds of source ask this: files of questions and COCO instances. Coordinates and sizes are in original pixels, as
displayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from segtune.core.errors import DataError

_SMALLEST = 4
"""In a picture of at most so many pixels on its longer side, coordinates in 0..1 may be meant."""

_PERCENT = 100
_MARGIN = 0.05
"""How far beyond 0 and the top shares and percent may lie: tools round, and outlines leave the picture a little."""


def require_size(stated: tuple[int | None, int | None], found: tuple[int, int], where: str, by: str) -> None:
    """Refuses a picture that has not the size that its annotations were drawn for.

    Args:
        stated: (h, w) that the file names; None for a side that it does not name.
        found: (h, w) of the picture.
        where: The file, for the message.
        by: What names the size, in words.

    Raises:
        DataError: A side differs; where height and width are exchanged, the message says so.
    """
    if all(side is None or side == real for side, real in zip(stated, found, strict=True)):
        return
    turned = found[0] != found[1] and all(
        side is None or side == real for side, real in zip(stated, found[::-1], strict=True)
    )
    height, width = ("?" if side is None else side for side in stated)
    raise DataError(
        "the image has not the size that its annotations were drawn for", where=where,
        expected=f"{width} x {height} (width x height), as stated in {by}",
        found=f"{found[1]} x {found[0]} as displayed"
        + (": height and width are exchanged, so they were drawn before the EXIF rotation" if turned else ""),
        fix="put the picture back that was labelled, or scale the annotations with it",
    )  # fmt: skip


def require_pixels(polygons: Sequence[np.ndarray], size: tuple[int, int], where: str) -> None:
    """Refuses polygons that are all in shares of the picture, as YOLO writes them.

    Args:
        polygons: float `[n, 2]` each: all of one picture that enclose an area, circles by their two points.
        size: (h, w) of the picture in original pixels.
        where: The file, for the message.

    Raises:
        DataError: Every coordinate lies in 0..1, or hardly beyond, though the picture has more than a few pixels.
    """
    if polygons and max(size) > _SMALLEST and all(_within(points, 1) for points in polygons):
        low, high = min(float(points.min()) for points in polygons), max(float(points.max()) for points in polygons)
        raise DataError(
            "all coordinates lie in 0..1: they are shares of the picture, not pixels", where=where,
            expected=f"pixels of a picture of {size[1]} x {size[0]}",
            found=f"{low:.4g} to {high:.4g}: normalised coordinates, as YOLO has them",
            fix="multiply x by the width and y by the height of the picture",
        )  # fmt: skip


def percent_note(pictures: Iterable[tuple[Sequence[np.ndarray], tuple[int, int]]]) -> str:
    """What is said of a split all of whose coordinates lie in 0..100, or hardly beyond, as Label Studio writes them.

    Args:
        pictures: Of every picture its polygons, float `[n, 2]` each, and its (h, w) in original pixels.

    Returns:
        A sentence; empty where a coordinate is larger, a picture is hardly larger than 100 pixels, or nothing is drawn.
    """
    drawn = False
    for polygons, size in pictures:
        if min(size) <= _PERCENT * (1 + _MARGIN) or not all(_within(points, _PERCENT) for points in polygons):
            return ""
        drawn |= bool(polygons)
    return (
        "all coordinates lie in 0..100 though every picture is larger: are they percent of the picture, as in Label "
        "Studio, not pixels?"
        if drawn
        else ""
    )


def conflicting(answers: Iterable[tuple[str, str, object]]) -> Iterator[tuple[str, list[str]]]:
    """Questions about one picture that have different answers.

    Args:
        answers: Of every question its words (white space and case aside), where it stands, and what its answer is
            compared by.

    Yields:
        The question, and where its answers stand.
    """
    places: dict[str, dict[str, object]] = {}
    for question, place, answer in answers:
        places.setdefault(question, {})[place] = answer
    for question, found in places.items():
        if len(set(found.values())) > 1:
            yield question, list(found)


def _within(points: np.ndarray, top: float) -> bool:
    """Whether all coordinates lie in 0..top or the margin around it."""
    return bool(((points >= -_MARGIN * top) & (points <= (1 + _MARGIN) * top)).all())
