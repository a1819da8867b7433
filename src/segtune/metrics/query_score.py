"""The score of one query, and what follows from many by adding up whole numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segtune.core.errors import DataError
from segtune.core.records import Query
from segtune.metrics.counts import Counts, count_pixels, iou
from segtune.metrics.states import PRECISION_AT, PixelState, ratio


@dataclass(frozen=True, slots=True)
class QueryScore:
    """What one query contributes. All pixels are original pixels that are not ignored.

    Attributes:
        id: `"<record id>#<query index>"`.
        image_id: The image, the unit of the bootstrap.
        is_sentence: Long query (a sentence) or short (a phrase).
        kind: The kind of thought it needs, or empty.
        intersection: Pixels predicted and wanted.
        union: Pixels predicted or wanted.
        iou: 0 to 1.
        empty_target: Nothing is wanted.
        no_mask: No mask was given (scored as the empty mask).
        emitted: The model itself asked for a mask.
        predicted_pixels: Pixels predicted.
        target_pixels: Pixels wanted.
        valid_pixels: All pixels that are not ignored.
    """

    id: str
    image_id: str
    is_sentence: bool
    kind: str
    intersection: int
    union: int
    iou: float
    empty_target: bool
    no_mask: bool
    emitted: bool
    predicted_pixels: int
    target_pixels: int
    valid_pixels: int

    @property
    def counts(self) -> Counts:
        """The four pixel counts."""
        return Counts(
            tp=self.intersection,
            fp=self.predicted_pixels - self.intersection,
            fn=self.target_pixels - self.intersection,
            tn=self.valid_pixels - self.union,
        )


def score_query(
    id: str,
    prediction: np.ndarray | None,
    target: np.ndarray,
    query: Query,
    emitted: bool,
    *,
    image_id: str | None = None,
) -> QueryScore:
    """Score one query.

    Args:
        id: `"<record id>#<query index>"`.
        prediction: `[h, w]`, anything but 0 is predicted, original pixels; None where no mask was given.
        target: uint8 `[h, w]` with 0, 1 and `IGNORE`.
        query: For its length and kind.
        emitted: Whether the model itself asked for a mask.
        image_id: The image (the id of its group); the record id if None.

    Returns:
        The score.

    Raises:
        DataError: If prediction and target differ in size.
    """
    if prediction is not None and prediction.shape != target.shape:
        raise DataError(
            "a predicted mask does not fit its image",
            where=id,
            expected=f"{list(target.shape)} (height, width)",
            found=f"{list(prediction.shape)}",
            fix="write masks at the original resolution of the image, after EXIF orientation",
        )
    counts = count_pixels(np.zeros(target.shape, bool) if prediction is None else prediction, target)
    return QueryScore(
        id=id,
        image_id=id.rpartition("#")[0] or id if image_id is None else image_id,
        is_sentence=query.is_sentence,
        kind=query.kind,
        intersection=counts.intersection,
        union=counts.union,
        iou=iou(counts),
        empty_target=counts.target == 0,
        no_mask=prediction is None,
        emitted=emitted,
        predicted_pixels=counts.predicted,
        target_pixels=counts.target,
        valid_pixels=counts.valid,
    )


def summarize(scores: Sequence[QueryScore]) -> dict[str, float | None]:
    """The metrics that follow from the pixel counts alone.

    Args:
        scores: In any order: the sums are exact.

    Returns:
        `gIoU`, `cIoU`, `P@t` (share of the queries with an IoU of at least t), and over pooled pixels `accuracy`,
        `precision`, `recall` and `f1`, all 0 to 1; None where one is undefined.
    """
    pixels = PixelState()
    for score in scores:
        pixels.update(score.counts)
    return {
        "gIoU": ratio(math.fsum(s.iou for s in scores), len(scores)),
        "cIoU": ratio(sum(s.intersection for s in scores), sum(s.union for s in scores)),
        **{f"P@{t}": ratio(sum(s.iou >= t for s in scores), len(scores)) for t in PRECISION_AT},
        **pixels.compute(),
    }
