"""The shapes of an annotation file: which of them enclose an area, and what their labels mean.

LabelMe writes polygons, rectangles, circles, lines, points and masks into one list, told apart by `shape_type`. What
encloses an area becomes a polygon or stays a mask; anything else is refused by its name, never filled.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from segtune.core.errors import DataError
from segtune.core.text import require_name
from segtune.data.config import USUAL_IMAGES
from segtune.data.png_sums import require_sums
from segtune.ops.masks import MAX_COORDINATE, PolygonShape, validate_polygon

POLYGON = "polygon"
_WITHOUT_AREA = ("linestrip", "line", "point", "points")  # a tuple: what a file holds need not be hashable
_READ = "polygon, rectangle, circle or mask"
_CHORD = 0.05
"""How far the polygon that stands for a circle may lie inside it, in pixels."""


def read_shape(shape: Any, where: str) -> PolygonShape:
    """Reads one shape.

    Args:
        shape: The object of the file: `label`, `points` and perhaps `shape_type` (a polygon where it is missing).
        where: File and index of the shape, for the message.

    Returns:
        The shape as a polygon, points (x, y) in original pixels. A rectangle has its four corners; a circle (centre,
        point on the rim) as many corners as it takes to be right within a twentieth of a pixel. A mask (LabelMe's AI
        mask: first and last pixel of its box, and a PNG) stays one. Of a `flag` the points stay as they are.

    Raises:
        DataError: It has no label, its points are not as they should be, or it encloses no area.
    """
    label = shape.get("label") if isinstance(shape, dict) else None
    if not isinstance(shape, dict) or not isinstance(label, str) or not label.strip():
        raise DataError(
            "a shape has no label",
            where=where,
            expected='{"label": "target" | "ignore" | "flag", "points": [[x, y], ...]}',
            found=shown(shape, "label") if isinstance(shape, dict) else type(shape).__name__,
            fix="give the shape a label, or remove it",
        )
    require_name(label, where, what="the label of a shape")
    kind = shape.get("shape_type")
    if kind is None or kind == POLYGON or label.lower() == "flag":
        return PolygonShape(label, validate_polygon(shape.get("points"), where, label=label))
    if kind == "rectangle":
        return PolygonShape(label, _rectangle(_two_points(shape.get("points"), kind, where)))
    if kind == "circle":
        rim = _two_points(shape.get("points"), kind, where)
        return PolygonShape(label, _circle(rim), rim=rim)
    if kind == "mask":
        box = _two_points(shape.get("points"), kind, where)
        return PolygonShape(label, box, _mask(shape.get("mask"), box, where))
    raise _refused_kind(kind, label, where)


def require_one_target(shapes: Iterable[PolygonShape], where: str) -> str:
    """Makes sure that the shapes of a file are of one target.

    `target` and words with `ignore` or `flag` are of the format; a file that a tool for classes wrote may call its
    target otherwise, but two names are two things, and which of them is asked for nobody can know.

    Args:
        shapes: Of one file.
        where: The file, for the message.

    Returns:
        The label that counts as the target though it is not `target`; empty where there is none.

    Raises:
        DataError: There are several labels of targets.
    """
    names: dict[str, str] = {}
    for shape in shapes:
        if not shape.is_flag and shape.value == 1:
            names.setdefault(shape.label.strip().casefold(), shape.label)
    if len(names) > 1:
        raise DataError(
            "the shapes have several labels, and one file holds one target", where=where,
            expected='"target" for what is asked, "ignore" for what counts neither way',
            found=", ".join(sorted(names.values())[:8]) + (", ..." if len(names) > 8 else ""),
            fix='label what the text asks for "target" and remove the other shapes (or write one file for each target)',
        )  # fmt: skip
    return next((name for key, name in names.items() if key != "target"), "")


def shown(content: dict[str, Any], key: str) -> str:
    """A value for the `found` line of a message, or the keys that there are instead."""
    if key in content:
        value = json.dumps(content[key], ensure_ascii=False)
        return value if len(value) <= 80 else value[:77] + "..."
    return "only the keys " + ", ".join(list(content)[:8]) if content else "an empty object"


def _two_points(points: object, kind: str, where: str) -> np.ndarray:
    """float64 `[2, 2]`: the two corners of a rectangle or of the box of a mask, or centre and rim of a circle."""
    pairs = validate_polygon(points, where, label="flag")  # any number of points, each a place in an image
    if len(pairs) != 2:
        said = "the centre and a point on the rim" if kind == "circle" else "two opposite corners"
        raise DataError(f"a {kind} has not two points", where=where, expected=said, found=f"{len(pairs)} points")
    return pairs


def _rectangle(pairs: np.ndarray) -> np.ndarray:
    (x0, y0), (x1, y1) = pairs
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _circle(pairs: np.ndarray) -> np.ndarray:
    centre, rim = pairs
    radius = min(float(np.hypot(*(rim - centre))), MAX_COORDINATE)
    sides = max(12, math.ceil(math.pi / math.acos(max(1 - _CHORD / radius, 0)))) if radius > _CHORD else 12
    angles = np.arange(sides) * (2 * math.pi / sides)
    return np.clip(
        centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1), -MAX_COORDINATE, MAX_COORDINATE
    )


def _mask(value: object, corners: np.ndarray, where: str) -> np.ndarray:
    """Bool `[h, w]` of the PNG of a mask, which must fill its box."""
    (x0, y0), (x1, y1) = np.trunc(corners).astype(np.int64).tolist()
    try:
        raw = base64.b64decode(value if isinstance(value, str) else b"", validate=True)
        with Image.open(io.BytesIO(raw), formats=("PNG",)) as image:
            size, mode = image.size, image.mode
            if (
                size == (x1 - x0 + 1, y1 - y0 + 1)
                and mode in ("1", "L")
                and size[0] * size[1] <= USUAL_IMAGES.max_pixels
            ):
                require_sums(io.BytesIO(raw), where)
                return np.array(image) != 0
    except DataError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise DataError(
            "the PNG of a mask cannot be read", where=where, expected='"mask": a PNG in base64, as LabelMe writes it',
            found=str(value)[:60] if value else "none", fix="draw the shape again, or remove it",
        ) from error  # fmt: skip
    raise DataError(
        "the PNG of a mask does not fill its box", where=where,
        expected=f"grey, {x1 - x0 + 1} x {y1 - y0 + 1} pixels (from ({x0}, {y0}) to ({x1}, {y1}))",
        found=f"{mode}, {size[0]} x {size[1]}", fix="draw the shape again, or remove it",
    )  # fmt: skip


def _refused_kind(kind: object, label: str, where: str) -> DataError:
    """The refusal of a kind of shape that is not read."""
    if kind in _WITHOUT_AREA:
        message = f'a shape of the type "{kind}" encloses no area'
        fix = "outline the thing with a polygon, or remove this shape"
    else:
        message = f"a shape has a type that is not known: {json.dumps(kind, ensure_ascii=False)[:40]}"
        fix = 'set "shape_type" to "polygon" if its points outline the thing, or remove this shape'
    return DataError(
        message, where=where, expected=_READ, found=f'shape_type {kind!r:.40}, label "{label:.40}"', fix=fix
    )
