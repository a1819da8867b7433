"""Masks as arrays, polygons and run lengths, all in *original* pixels.

Three things live here: validation of polygons before any C code sees them, the painting of a target from its shapes by
the rule of the ReasonSeg reference (so that scores mean the same), and the compressed run-length strings of COCO.
Arrays are `[h, w]` in (y, x) order; polygon points are (x, y) pairs. Nothing here knows files, models or torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from segtune.core.errors import DataError
from segtune.core.records import IGNORE
from segtune.ops.rle import Rle, rle_area, rle_decode, rle_encode

__all__ = [
    "MAX_COORDINATE",
    "PolygonShape",
    "Rle",
    "canvas_of",
    "coco_annotation",
    "mask_area",
    "paint_target",
    "require_target",
    "rle_area",
    "rle_decode",
    "rle_encode",
    "union_masks",
    "validate_polygon",
]

MAX_COORDINATE = 1e6
"""The largest absolute coordinate that a polygon may have, in pixels. OpenCV's fixed-point edges hold up to here."""


@dataclass(frozen=True, slots=True, eq=False)
class PolygonShape:
    """One annotated polygon, or a mask in a box.

    Attributes:
        label: `target`, a word with `ignore` in it, or `flag` (which is never painted); case does not matter.
        points: float64 `[n, 2]`, (x, y) in original pixels; of a mask the first and the last pixel of its box.
        mask: bool `[h, w]` whose upper left pixel is the first of the box; None for a polygon.
        rim: float64 `[2, 2]`, the centre and a point on the rim of the circle that `points` stand for, else None.
    """

    label: str
    points: np.ndarray
    mask: np.ndarray | None = None
    rim: np.ndarray | None = None

    @property
    def is_flag(self) -> bool:
        """Whether the shape only marks the file and has no area."""
        return self.label.lower() == "flag"

    @property
    def value(self) -> int:
        """What its pixels become: `IGNORE` or 1."""
        return IGNORE if "ignore" in self.label.lower() else 1


def validate_polygon(points: object, where: str, *, label: str = "") -> np.ndarray:
    """Check a polygon that somebody else wrote.

    Args:
        points: What the file holds: it should be a list of at least three [x, y] pairs of numbers.
        where: File and shape, for the message.
        label: The label of the shape; a `flag` may have any number of points.

    Returns:
        float64 `[n, 2]`, (x, y) in original pixels, every value finite and at most `MAX_COORDINATE` from zero. Points
        may lie outside the image.

    Raises:
        DataError: For anything else.
    """
    pairs = _as_pairs(points)
    if pairs is None:
        raise DataError(
            "the points of a polygon cannot be read",
            where=where,
            expected="a list of [x, y] pairs of numbers",
            found=str(points)[:80],
            fix="correct or remove this shape",
        )
    if not label.lower() == "flag" and len(pairs) < 3:
        raise DataError(
            "a polygon has too few points",
            where=where,
            expected="at least 3 points",
            found=f"{len(pairs)}",
            fix="remove this shape, or label it 'flag' if it only marks the image",
        )
    bad = ~(np.abs(pairs) <= MAX_COORDINATE).all(axis=1)  # a comparison with NaN is False, so this finds NaN too
    if bad.any():
        index = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"point {index} of a polygon is not a place in an image",
            where=where,
            expected=f"finite coordinates of at most {MAX_COORDINATE:.0f} pixels from zero",
            found=f"[{pairs[index, 0]:g}, {pairs[index, 1]:g}]",
            fix="correct or remove this shape",
        )
    return pairs


def paint_target(shapes: Sequence[PolygonShape], size: tuple[int, int]) -> np.ndarray:
    """Paint a target by the reference rule.

    Coordinates are truncated toward zero. Polygons are painted one by one, each as outline (one pixel) and fill, in
    falling order of the area that they cover on this canvas, so that small ones stay visible; of equal areas the later
    shape is painted first. Shapes labelled `flag` are skipped; a label with `ignore` in it paints `IGNORE`, any other
    label 1. What lies outside the canvas is cut off by OpenCV as in the reference; its cut can move an edge by a pixel
    or so, and can leave a rim one pixel wide along the border. A mask is painted pixel by pixel.

    Args:
        shapes: The polygons of one target.
        size: (h, w) of the image in original pixels.

    Returns:
        uint8 `[h, w]` with 0, 1 and `IGNORE`.

    Raises:
        DataError: If a polygon is not one (see `validate_polygon`).
    """
    painted = [shape for shape in shapes if not shape.is_flag]
    areas = [_Area.of(shape, f"shape {index}", size) for index, shape in enumerate(painted)]
    counts = [area.pixels(size) for area in areas] if len(areas) > 1 else [0] * len(areas)
    canvas = np.zeros(size, np.uint8)
    for index in sorted(range(len(painted)), key=lambda i: (counts[i], i), reverse=True):
        areas[index].paint(canvas, painted[index].value)
    return canvas


@dataclass(frozen=True, slots=True, eq=False)
class _Area:
    """What one shape covers.

    Attributes:
        outline: int32 `[n, 2]` of a polygon, else None.
        mask: bool `[h, w]` of a mask, cut to the canvas, else None.
        place: (x, y) of its upper left pixel on the canvas.
    """

    outline: np.ndarray | None
    mask: np.ndarray | None = None
    place: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, shape: PolygonShape, where: str, size: tuple[int, int]) -> _Area:
        """The area of a shape; raises `DataError` where its polygon is none."""
        if shape.mask is None:
            points = validate_polygon(shape.points, where, label=shape.label)
            return cls(np.trunc(points).astype(np.int32))
        left, top = (int(value) for value in np.trunc(shape.points[0]))
        cut = shape.mask[max(-top, 0) : max(size[0] - top, 0), max(-left, 0) : max(size[1] - left, 0)]
        return cls(None, cut, (max(left, 0), max(top, 0)))

    def pixels(self, size: tuple[int, int]) -> int:
        """How many pixels of a canvas of (h, w) it covers."""
        if self.outline is not None:
            return _painted_area(self.outline, size)
        return 0 if self.mask is None else int(np.count_nonzero(self.mask))

    def paint(self, canvas: np.ndarray, value: int) -> None:
        """Paints it in place."""
        if self.outline is not None:
            _paint(canvas, self.outline, value)
        elif self.mask is not None and self.mask.size:
            x, y = self.place
            height, width = self.mask.shape
            canvas[y : y + height, x : x + width][self.mask] = value


def canvas_of(shapes: Iterable[PolygonShape]) -> tuple[int, int]:
    """The (h, w) of the smallest canvas from the origin that holds every point, where no image says its size.

    Raises:
        ValueError: If there is no point at all.
    """
    points = np.concatenate([shape.points.reshape(-1, 2) for shape in shapes] or [np.zeros((0, 2))])
    if not len(points):
        raise ValueError("no shape has a point, so no canvas can be derived from them")
    width, height = (max(math.ceil(value), 0) + 1 for value in points.max(axis=0))
    return height, width


def union_masks(masks: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The union of several masks.

    Args:
        masks: Arrays `[h, w]`, bool or number (anything but 0 is inside); none at all give the empty mask.
        size: (h, w) in original pixels.

    Returns:
        bool `[h, w]`.

    Raises:
        DataError: If a mask has another size, or holds NaN (which, not being 0, would count as inside).
    """
    union = np.zeros(size, bool)
    for index, mask in enumerate(masks):
        if mask.shape != tuple(size):
            raise DataError(
                "a mask does not fit its image", where=f"mask {index}", expected=f"{size}", found=f"{mask.shape}"
            )
        _require_numbers(mask, f"mask {index}")
        union |= mask != 0
    return union


def require_target(target: np.ndarray, size: tuple[int, int], where: str) -> None:
    """Makes sure that an array is a target, before it is resized and compared with predictions.

    Args:
        target: What a source yields for one query.
        size: (h, w) of its image in original pixels.
        where: The sample, for the message.

    Raises:
        DataError: It holds NaN, is not uint8, or has another size.
    """
    _require_numbers(target, where)
    if target.dtype != np.uint8 or target.shape != tuple(size):
        raise DataError(
            "the target is no mask of its image", where=where, expected=f"uint8 of {size[0]} x {size[1]} pixels",
            found=f"{target.dtype} of {' x '.join(map(str, target.shape))}",
            fix=f"give 0 for background, 1 for the target and {IGNORE} for what is ignored",
        )  # fmt: skip


def _require_numbers(mask: np.ndarray, where: str) -> None:
    """Refuses NaN and infinity, which only arrays of floats can hold."""
    if mask.dtype.kind == "f" and not np.isfinite(mask).all():
        raise DataError(
            "a mask holds values that are no numbers", where=where, expected="finite values",
            found=f"{int((~np.isfinite(mask)).sum()):,} NaN or infinite pixels",
            fix="correct or remove this mask",
        )  # fmt: skip


def mask_area(mask: np.ndarray) -> int:
    """The number of pixels inside a mask `[h, w]` (anything but 0 is inside)."""
    return int(np.count_nonzero(mask))


def coco_annotation(mask: np.ndarray, score: float | None = None) -> dict[str, Any]:
    """A mask as a COCO annotation without ids.

    Args:
        mask: bool `[h, w]`.
        score: The confidence, 0 to 1; None where there is none, and then the key is absent.

    Returns:
        `segmentation` (run lengths), `area`, `bbox` (x, y, width, height; all 0 of an empty mask), `iscrowd`, `score`.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [0, 0, 0, 0]
    if len(rows):
        box = [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
    about = {"segmentation": rle_encode(mask), "area": mask_area(mask), "bbox": box, "iscrowd": 0}
    return about if score is None else {**about, "score": score}


def _as_pairs(points: object) -> np.ndarray | None:
    """float64 `[n, 2]`, or None where `points` is no list of pairs of numbers (strings and booleans are none)."""
    if isinstance(points, np.ndarray):
        if points.dtype.kind not in "iuf":
            return None
    elif not isinstance(points, list | tuple) or not all(
        isinstance(point, list | tuple | np.ndarray)
        and len(point) == 2
        and all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in point)
        for point in points
    ):
        return None
    try:
        pairs = np.array(points, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):  # a whole number beyond the range of float64
        return None
    if pairs.size == 0:
        return pairs.reshape(0, 2)
    return pairs if pairs.ndim == 2 and pairs.shape[1] == 2 else None


def _paint(canvas: np.ndarray, outline: np.ndarray, value: int) -> None:
    """Paint one polygon, int32 `[n, 2]`, in place: the outline too, because the fill alone can miss border pixels."""
    cv2.polylines(canvas, [outline], True, value, 1)
    cv2.fillPoly(canvas, [outline], value)


def _painted_area(outline: np.ndarray, size: tuple[int, int]) -> int:
    """The pixels that `_paint` would set on an empty canvas of `size` (h, w).

    Only the bounding box is painted: its sides cut the polygon exactly where the canvas would and nowhere else, so the
    count is the same, and hundreds of small polygons on a large photograph cost next to nothing.
    """
    low = np.maximum(outline.min(axis=0), 0)
    high = np.minimum(outline.max(axis=0), (size[1] - 1, size[0] - 1))
    if (high < low).any():
        return 0
    width, height = (int(v) for v in high - low + 1)
    crop = np.zeros((height, width), np.uint8)
    _paint(crop, outline - low.astype(np.int32), 1)
    return int(cv2.countNonZero(crop))
