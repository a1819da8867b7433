"""One annotation file with its image, as the ReasonSeg reader hands it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segtune.core.records import Query
from segtune.ops.masks import PolygonShape, paint_target


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One annotation file and its image.

    Attributes:
        id: POSIX path below the split, without suffix.
        annotation: The JSON file.
        image: The image file.
        queries: The questions, in the order of the file; all ask for the same target.
        shapes: The polygons of the target, (x, y) in original pixels.
        stated: (h, w) of the picture that the file names; None for a side that it does not name.
    """

    id: str
    annotation: Path
    image: Path
    queries: tuple[Query, ...]
    shapes: tuple[PolygonShape, ...]
    stated: tuple[int | None, int | None] = (None, None)

    def target(self, size: tuple[int, int]) -> np.ndarray:
        """Paints the target by the rule of the protocol.

        Args:
            size: `(h, w)` of the image in original pixels.

        Returns:
            uint8 `[h, w]`: 0 background, 1 target, 255 ignore.
        """
        return paint_target(self.shapes, size)

    @property
    def outlines(self) -> list[np.ndarray]:
        """The points of the polygons that are painted as the file has them, float64 `[n, 2]` each.

        A circle is its two points: a polygon around them leaves the picture where they do not. Masks are pixels anyway.
        """
        drawn = (shape for shape in self.shapes if not shape.is_flag and shape.mask is None)
        return [shape.points if shape.rim is None else shape.rim for shape in drawn]

    @property
    def answer(self) -> frozenset[tuple[int, bytes, bytes]]:
        """What the target is compared by: values, points and masks of the shapes that are painted, in any order."""
        return frozenset(
            (shape.value, shape.points.tobytes(), b"" if shape.mask is None else shape.mask.tobytes())
            for shape in self.shapes
            if not shape.is_flag
        )
