"""Bounding boxes of masks, and the two scores that compare boxes: generalised and complete IoU.

They are nothing like gIoU and cIoU, which are the mean and the cumulative IoU of masks; hence the long names.
A box is (top, left, bottom, right) in pixels, half-open, so that a single pixel has the area 1.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from segtune.core.records import IGNORE
from segtune.metrics.states import ratio

Box = tuple[int, int, int, int]

NOTHING_IN_COMMON = -1.0
"""The score of a box against no box: that of two boxes of one shape infinitely far apart, for both scores."""


def bounding_box(mask: np.ndarray) -> Box | None:
    """The smallest box around everything that is not 0 in `[h, w]`; None where nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def generalized_iou(a: Box, b: Box) -> float:
    """IoU less the share of the enclosing box that neither covers (Rezatofighi et al., arXiv 1902.09630), -1 to 1."""
    union, hull = _area(a) + _area(b) - _overlap(a, b), _area(_hull(a, b))
    return _overlap(a, b) / union - (hull - union) / hull


def complete_iou(predicted: Box, wanted: Box) -> float:
    """IoU less what the centres are apart and the aspect ratios differ (Zheng et al., arXiv 1911.08287).

    IoU - d^2 / c^2 - alpha v, with d between the centres, c the diagonal of the enclosing box,
    v = 4 / pi^2 (atan(w / h) of the one - of the other)^2 and alpha = v / (1 - IoU + v); above -1.5, at most 1.
    """
    overlap = _overlap(predicted, wanted)
    iou = overlap / (_area(predicted) + _area(wanted) - overlap)
    hull = _hull(predicted, wanted)
    apart = math.dist(_centre(predicted), _centre(wanted)) ** 2 / ((hull[2] - hull[0]) ** 2 + (hull[3] - hull[1]) ** 2)
    shape = 4 / math.pi**2 * (_angle(wanted) - _angle(predicted)) ** 2
    return iou - apart - (shape * shape / (1 - iou + shape) if shape else 0.0)


@dataclass(slots=True)
class BoxState:
    """Means over queries of the generalised and the complete IoU of the boxes around prediction and target.

    A query with neither box scores 1, as an empty target that is left empty has the IoU 1; one with a single box
    scores `NOTHING_IN_COMMON`. Both are counted, and `compute` says how many there were.

    Attributes:
        queries: All of them.
        generalized_sum: Sum of the generalised IoU.
        complete_sum: Sum of the complete IoU.
        both_empty: Queries with nothing predicted and nothing wanted.
        one_empty: Queries with nothing predicted or nothing wanted, not both.
    """

    queries: int = 0
    generalized_sum: float = 0.0
    complete_sum: float = 0.0
    both_empty: int = 0
    one_empty: int = 0

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one query.

        Args:
            prediction: bool `[h, w]`; what lies on ignored pixels is left out of its box.
            target: uint8 `[h, w]` with 0, 1 and `IGNORE`.
        """
        predicted, wanted = bounding_box(prediction & (target != IGNORE)), bounding_box(target == 1)
        self.queries += 1
        if predicted is not None and wanted is not None:
            self.generalized_sum += generalized_iou(predicted, wanted)
            self.complete_sum += complete_iou(predicted, wanted)
            return
        neither = predicted is None and wanted is None
        self.both_empty += neither
        self.one_empty += not neither
        self.generalized_sum += 1.0 if neither else NOTHING_IN_COMMON
        self.complete_sum += 1.0 if neither else NOTHING_IN_COMMON

    def merge(self, other: BoxState) -> None:
        """Add what another state has seen."""
        self.queries += other.queries
        self.generalized_sum += other.generalized_sum
        self.complete_sum += other.complete_sum
        self.both_empty += other.both_empty
        self.one_empty += other.one_empty

    def compute(self) -> dict[str, float | None]:
        """`generalized_iou` and `complete_iou` (None before the first query), and `no_box`, queries short of a box."""
        return {
            "generalized_iou": ratio(self.generalized_sum, self.queries),
            "complete_iou": ratio(self.complete_sum, self.queries),
            "no_box": self.both_empty + self.one_empty,
        }

    def to_dict(self) -> dict[str, float]:
        """The sums."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BoxState:
        """The inverse of `to_dict`."""
        return cls(**values)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(a: Box, b: Box) -> int:
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(height, 0) * max(width, 0)


def _hull(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _angle(box: Box) -> float:
    return math.atan((box[3] - box[1]) / (box[2] - box[0]))
