"""Boundary IoU: the IoU of what lies near the boundary of a mask, which large masks cannot buy with their inside."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from segtune.core.records import IGNORE
from segtune.metrics.dense import divide, mean_of_defined, to_value

DILATION = 0.02
"""The width of a boundary as a share of the image's diagonal, as Cheng et al. have it."""


def boundary_width(shape: tuple[int, ...]) -> int:
    """How deep the boundary of a mask of size (height, width) reaches into it: a whole number of pixels, at least 1."""
    return max(1, round(DILATION * math.hypot(*shape)))


def near_boundary(labels: np.ndarray) -> np.ndarray:
    """Which pixels are near the boundary of their own class.

    Cheng et al. (arXiv 2103.16562) take off a mask what an erosion by d pixels leaves of it, a 3 x 3 square d times,
    and count the edge of the image as a boundary. This is the same for the masks of all classes at once: a pixel is
    inside where every pixel up to d rows and columns away has its class and the edge is farther. An ignored pixel is of
    every class: where a mask runs into one, nobody knows of a boundary.

    Args:
        labels: uint8 `[h, w]`, classes below `IGNORE`, and `IGNORE`.

    Returns:
        bool `[h, w]`; what it says of ignored pixels means nothing.
    """
    width = boundary_width(labels.shape)
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    labels = np.ascontiguousarray(labels)
    lowest = cv2.erode(labels, square)  # IGNORE is the largest value: it is never the lowest beside a class
    highest = cv2.dilate(np.where(labels == IGNORE, np.uint8(0), labels), square)
    inside = (lowest == labels) & (highest == labels)
    framed = np.zeros_like(inside)
    framed[width : labels.shape[0] - width, width : labels.shape[1] - width] = True
    return ~(inside & framed)


def count_boundaries(prediction: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Intersection and union of the boundaries of each class in one image.

    Args:
        prediction: uint8 `[h, w]`, below `classes` wherever the labels are not ignored.
        labels: uint8 `[h, w]`: below `classes`, or `IGNORE`; such pixels leave the prediction too.
        classes: C.

    Returns:
        int64 `[2, C]`, pixels.
    """
    if not labels.size:
        return np.zeros((2, classes), np.int64)
    counted = labels != IGNORE
    found = np.where(counted, prediction, IGNORE).astype(np.uint8)
    of_truth, of_found = near_boundary(labels) & counted, near_boundary(found) & counted
    both = of_truth & of_found & (found == labels)
    common, truth, predicted = (
        np.bincount(values, minlength=classes) for values in (labels[both], labels[of_truth], found[of_found])
    )
    return np.stack([common, truth + predicted - common])


def boundary_scores(tables: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Boundary IoU of classes over images that count once, several times or not at all.

    Args:
        tables: `[n, 2, C]`, what `count_boundaries` gave for n images.
        weights: `[..., n]`, how often each image counts.

    Returns:
        `pooled` (summed intersection over summed union) and `images` (mean over the images in which the class has a
        boundary in truth or prediction), float64 `[..., C]`, NaN where there is none.
    """
    sums = np.tensordot(weights, tables, 1)
    each = divide(tables[:, 0], tables[:, 1])
    there = ~np.isnan(each)
    return {
        "pooled": divide(sums[..., 0, :], sums[..., 1, :]),
        "images": divide(np.tensordot(weights, np.nan_to_num(each), 1), np.tensordot(weights, there, 1)),
    }


@dataclass(slots=True, eq=False)
class BoundaryIouState:
    """Boundary IoU of C classes, pooled and as a mean over images.

    Attributes:
        classes: C.
        pixels: int64 `[2, C]`, summed intersections and unions.
        iou_sum: float64 `[C]`, sum of the boundary IoU of each image.
        images: int64 `[C]`, images in which the class has a boundary in truth or prediction.
    """

    classes: int
    pixels: np.ndarray = field(init=False)
    iou_sum: np.ndarray = field(init=False)
    images: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.pixels = np.zeros((2, self.classes), np.int64)
        self.iou_sum, self.images = np.zeros(self.classes), np.zeros(self.classes, np.int64)

    def update(self, prediction: np.ndarray, labels: np.ndarray) -> None:
        """Add one image: uint8 `[h, w]` each, below C; labels also `IGNORE`."""
        table = count_boundaries(prediction, labels, self.classes)
        iou = divide(table[0], table[1])
        self.pixels += table
        self.iou_sum += np.nan_to_num(iou)
        self.images += ~np.isnan(iou)

    def merge(self, other: BoundaryIouState) -> None:
        """Add what another state of as many classes has seen."""
        self.pixels += other.pixels
        self.iou_sum += other.iou_sum
        self.images += other.images

    def compute(self) -> dict[str, float | None]:
        """`boundary_mIoU` and `boundary_mIoU_images`: means over the classes that have one, 0 to 1; None without."""
        pooled, images = divide(*self.pixels), divide(self.iou_sum, self.images)
        return {
            "boundary_mIoU": to_value(float(mean_of_defined(pooled))),
            "boundary_mIoU_images": to_value(float(mean_of_defined(images))),
        }

    def by_class(self) -> list[dict[str, float | None]]:
        """`boundary_iou` (pooled) and `boundary_iou_images` (mean over images) of each class, None where undefined."""
        pooled, images = divide(*self.pixels).tolist(), divide(self.iou_sum, self.images).tolist()
        return [
            {"boundary_iou": to_value(a), "boundary_iou_images": to_value(b)}
            for a, b in zip(pooled, images, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """The sums as lists."""
        return {"pixels": self.pixels.tolist(), "iou_sum": self.iou_sum.tolist(), "images": self.images.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BoundaryIouState:
        """The inverse of `to_dict`."""
        state = cls(len(values["images"]))
        state.pixels += np.array(values["pixels"], np.int64).reshape(state.pixels.shape)
        state.iou_sum += values["iou_sum"]
        state.images += np.array(values["images"], np.int64)
        return state
