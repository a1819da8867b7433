"""Pixel counts of one prediction against one target: whole numbers, from which every score follows.

Pixels marked `IGNORE` in the target leave all counts, so they are in neither intersection nor union. A prediction that
lies on ignored pixels alone counts as empty, as in the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segtune.core.records import IGNORE


@dataclass(frozen=True, slots=True)
class Counts:
    """The four numbers of pixels, none of them ignored.

    Attributes:
        tp: Predicted and wanted.
        fp: Predicted, not wanted.
        fn: Wanted, not predicted.
        tn: Neither.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def intersection(self) -> int:
        """Pixels both predicted and wanted."""
        return self.tp

    @property
    def union(self) -> int:
        """Pixels predicted or wanted."""
        return self.tp + self.fp + self.fn

    @property
    def predicted(self) -> int:
        """Predicted pixels."""
        return self.tp + self.fp

    @property
    def target(self) -> int:
        """Wanted pixels."""
        return self.tp + self.fn

    @property
    def valid(self) -> int:
        """All pixels that are not ignored."""
        return self.union + self.tn

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)


def count_pixels(prediction: np.ndarray, target: np.ndarray) -> Counts:
    """Count one prediction against one target.

    Args:
        prediction: `[h, w]`, anything but 0 is predicted; original pixels.
        target: uint8 `[h, w]` with 0, 1 and `IGNORE`.

    Returns:
        Exact counts.

    Raises:
        ValueError: If the sizes differ or the target holds another value.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} differ in size")
    predicted = prediction != 0
    wanted = target == 1
    ignored = target == IGNORE
    wanted_total, ignored_total = int(np.count_nonzero(wanted)), int(np.count_nonzero(ignored))
    background_total = int(np.count_nonzero(target == 0))
    if wanted_total + ignored_total + background_total != target.size:
        raise ValueError(f"a target holds values other than 0, 1 and {IGNORE}")
    tp = int(np.count_nonzero(predicted & wanted))
    fp = int(np.count_nonzero(predicted)) - tp - int(np.count_nonzero(predicted & ignored))
    return Counts(tp=tp, fp=fp, fn=wanted_total - tp, tn=background_total - fp)


def iou(counts: Counts) -> float:
    """Intersection over union, 0 to 1.

    Nothing wanted and nothing predicted is 1; nothing wanted and any pixel predicted is 0.
    """
    return counts.intersection / counts.union if counts.union else 1.0
