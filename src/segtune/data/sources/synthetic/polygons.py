"""From masks to the polygons of the dataset's annotation files, such that painting them gives the masks back.

A polygon runs through the centres of a region's border pixels, so that outline and fill together cover exactly that
region. The format has no holes: a hole becomes an `ignore` polygon, which leaves the scores alone.
"""

from __future__ import annotations

import cv2
import numpy as np

from segtune.core.records import IGNORE
from segtune.data.sources.synthetic.scene import SceneObject
from segtune.ops.masks import PolygonShape, paint_target

MIN_IOU = 0.93
"""A target is written only if painting its polygons gives at least this IoU with the visible mask, outside ignore."""

_MIN_REGION = 6  # pixels; smaller specks would give polygons of one or two points
_MIN_HIDDEN = 20  # pixels that must be hidden before the border to what hides them counts as unclear
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def _regions(mask: np.ndarray, label: str) -> list[PolygonShape]:
    """The outer border of every connected region of a bool mask `[h, w]`, specks left out."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    shapes = []
    for contour in contours:
        points = contour[:, 0, :]
        if len(points) >= 3 and cv2.contourArea(contour) >= _MIN_REGION:
            shapes.append(PolygonShape(label, points.astype(np.float64)))
    return shapes


def _holes(mask: np.ndarray) -> np.ndarray:
    """The pixels that a mask encloses, bool `[h, w]`."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    holes: np.ndarray = (filled > 0) & ~mask
    return holes


def _unclear_border(one: SceneObject) -> np.ndarray:
    """The thin strip where an object meets what hides it, one pixel to either side: bool `[h, w]`."""
    hidden = one.full_mask & ~one.mask
    if np.count_nonzero(hidden) < _MIN_HIDDEN:
        return np.zeros_like(hidden)
    near_hidden = cv2.dilate(hidden.astype(np.uint8), _CROSS) > 0
    near_visible = cv2.dilate(one.mask.astype(np.uint8), _CROSS) > 0
    strip: np.ndarray = (near_hidden & one.mask) | (near_visible & hidden)
    return strip


def target_polygons(one: SceneObject, *, unclear_border: bool) -> list[PolygonShape] | None:
    """The polygons of an object's visible part.

    Args:
        one: The object.
        unclear_border: Whether the border to an object in front of it is to be ignored.

    Returns:
        `target` and `ignore` polygons, (x, y) in original pixels, or None where painting them by the protocol's rule
        does not give the visible mask back (IoU below `MIN_IOU`).
    """
    shapes = _regions(one.mask, "target") + _regions(_holes(one.mask), "ignore")
    if unclear_border:
        shapes += _regions(_unclear_border(one), "ignore")
    height, width = one.mask.shape
    painted = paint_target(shapes, (height, width))
    counted = painted != IGNORE
    union = np.count_nonzero(((painted == 1) | one.mask) & counted)
    both = np.count_nonzero((painted == 1) & one.mask)
    return shapes if union and both >= MIN_IOU * union else None
