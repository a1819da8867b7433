"""Boundary IoU against erosions by SciPy, mask by mask, as the paper's authors publish it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter

from segtune.core.records import IGNORE
from segtune.metrics.boundary import BoundaryIouState, boundary_scores, boundary_width, count_boundaries, near_boundary

C = 4


def drawn(seed: int, size: tuple[int, int] = (90, 120), *, ignore: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of smooth regions that resemble each other: prediction and labels."""
    generator = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(generator.normal(size=size), 8) for _ in range(C)])
    other = fields + 0.5 * np.stack([gaussian_filter(generator.normal(size=size), 8) for _ in range(C)])
    labels, prediction = fields.argmax(0).astype(np.uint8), other.argmax(0).astype(np.uint8)
    if ignore:
        labels[gaussian_filter(generator.normal(size=size), 6) > 0.06] = IGNORE
    return prediction, labels


def by_hand(prediction: np.ndarray, labels: np.ndarray, c: int) -> tuple[int, int]:
    """Intersection and union of the boundaries of one class.

    `mask_to_boundary` of the authors: pad by one pixel of background, erode by a 3 x 3 square as often as the width
    says, and take what is left off the mask. Ignored pixels stand in for the class during the erosion.
    """
    width = max(1, round(0.02 * math.hypot(*labels.shape)))
    ignored = labels == IGNORE

    def boundary(values: np.ndarray) -> np.ndarray:
        mask = (values == c) & ~ignored
        padded = np.pad(mask | ignored, 1)
        return mask & ~binary_erosion(padded, np.ones((3, 3)), iterations=width)[1:-1, 1:-1]

    truth, found = boundary(labels), boundary(prediction)
    return np.count_nonzero(truth & found), np.count_nonzero(truth | found)


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("size", [(90, 120), (200, 30), (300, 400), (7, 5), (1, 1), (3, 400)], ids=str)
def test_counts_are_those_of_an_erosion_of_every_mask(size, ignore) -> None:
    for seed in range(3):
        prediction, labels = drawn(seed, size, ignore=ignore)
        expected = [by_hand(prediction, labels, c) for c in range(C)]
        np.testing.assert_array_equal(count_boundaries(prediction, labels, C).T, expected)


def test_drawn_regions_have_an_inside_and_ignored_pixels() -> None:
    _, labels = drawn(0)
    assert 0.2 < near_boundary(labels)[labels != IGNORE].mean() < 0.9
    assert 0.05 < (labels == IGNORE).mean() < 0.5


def test_width_is_a_fiftieth_of_the_diagonal() -> None:
    assert [boundary_width(size) for size in [(300, 400), (1, 1), (480, 360)]] == [10, 1, 12]


def test_equal_masks_score_one_whatever_lies_on_ignored_pixels() -> None:
    prediction, labels = drawn(1)
    state = BoundaryIouState(C)
    state.update(np.where(labels == IGNORE, prediction, labels), labels)
    assert set(state.compute().values()) == {1.0}


def test_the_inside_of_a_large_mask_buys_nothing() -> None:
    labels, prediction = np.zeros((200, 200), np.uint8), np.zeros((200, 200), np.uint8)
    labels[40:160, 40:160] = 1
    prediction[46:154, 46:154] = 1
    assert boundary_width(labels.shape) == 6
    state = BoundaryIouState(2)
    state.update(prediction, labels)
    assert (state.pixels[0, 1], state.pixels[1, 1]) == (0, 120**2 - 96**2), "rings side by side, at a mask IoU of 0.81"


def test_classes_that_are_nowhere_are_undefined() -> None:
    state = BoundaryIouState(3)
    assert set(state.compute().values()) == {None}
    state.update(np.zeros((8, 8), np.uint8), np.full((8, 8), IGNORE, np.uint8))
    assert set(state.compute().values()) == {None}
    state.update(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))
    assert state.compute() == {"boundary_mIoU": 1.0, "boundary_mIoU_images": 1.0}, "the edge of the image is a boundary"
    assert [row["boundary_iou"] for row in state.by_class()] == [1.0, None, None]


def test_pooled_and_mean_over_images() -> None:
    pairs = [drawn(0), drawn(1, (40, 40)), drawn(2, (10, 90))]
    state = BoundaryIouState(C)
    for prediction, labels in pairs:
        state.update(prediction, labels)
    counts = np.array([[by_hand(p, t, c) for c in range(C)] for p, t in pairs])
    pooled = counts[..., 0].sum(0) / counts[..., 1].sum(0)
    each = [np.mean([i / u for i, u in counts[:, c] if u]) for c in range(C)]
    rows = state.by_class()
    assert [row["boundary_iou"] for row in rows] == pytest.approx(pooled)
    assert [row["boundary_iou_images"] for row in rows] == pytest.approx(each)
    scores = {"boundary_mIoU": pooled.mean(), "boundary_mIoU_images": np.mean(each)}
    assert state.compute() == pytest.approx(scores)
    tables = np.stack([count_boundaries(p, t, C) for p, t in pairs])
    drawn_scores = boundary_scores(tables, np.array([[1.0, 1, 1], [0, 2, 1]]))
    np.testing.assert_allclose(drawn_scores["pooled"][0], pooled)
    twice = counts[[1, 1, 2]].sum(0)
    np.testing.assert_allclose(drawn_scores["pooled"][1], twice[:, 0] / twice[:, 1])


def test_states_add_up_and_travel_as_json() -> None:
    whole, a, b = BoundaryIouState(C), BoundaryIouState(C), BoundaryIouState(C)
    for seed in range(4):
        for state in (whole, a if seed % 2 else b):
            state.update(*drawn(seed))
    a = BoundaryIouState.from_dict(json.loads(json.dumps(a.to_dict())))
    a.merge(b)
    assert a.compute() == pytest.approx(whole.compute())
    np.testing.assert_array_equal(a.pixels, whole.pixels)
