"""Filling polygons by the rule of pixel centres, for labels that other tools have drawn.

`ops.masks.paint_target` follows the ReasonSeg reference (truncated corners, an outline of one pixel), because scores
must mean what they mean there. Labels of COCO files are regions between pixel borders: a square from 10 to 20 is ten
pixels wide, not eleven.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def fill_polygons(polygons: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The union of polygons on a canvas.

    A pixel is inside a polygon when its centre is, by the even-odd rule: a ray to the right crosses the outline an odd
    number of times. Of a centre that lies exactly on an outline, the upper and left side are inside, so that polygons
    that share an edge share no pixel. The masks of pycocotools (which walks the outline at five times the resolution)
    differ by single pixels of the border.

    Args:
        polygons: float `[n, 2]` each, (x, y) in original pixels, finite; may lie outside the canvas.
        size: (h, w) in original pixels.

    Returns:
        bool `[h, w]`.
    """
    union = np.zeros(size, bool)
    for points in polygons:
        _fill(union, points)
    return union


def _fill(canvas: np.ndarray, points: np.ndarray) -> None:
    """Sets the pixels of one polygon in place."""
    height, width = canvas.shape
    x, y = points[:, 0], points[:, 1]
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    first = int(np.clip(np.floor(y.min()), 0, height))
    last = int(np.clip(np.ceil(y.max()), 0, height))
    if first >= last:
        return
    centres = np.arange(first, last) + 0.5
    crossed = (y <= centres[:, None]) != (next_y <= centres[:, None])  # [rows, edges]
    rows, edges = np.nonzero(crossed)
    share = (centres[rows] - y[edges]) / (next_y[edges] - y[edges])
    reached = x[edges] + share * (next_x[edges] - x[edges])
    columns = np.clip(np.ceil(reached - 0.5), 0, width).astype(np.int64)  # first centre at or right of the crossing
    toggles = np.bincount(rows * (width + 1) + columns, minlength=len(centres) * (width + 1))
    inside = np.cumsum(toggles.reshape(len(centres), width + 1)[:, :width], axis=1) % 2 == 1
    canvas[first:last] |= inside
