"""Boxes and their scores against the formulas of the papers, written another way, and by hand."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from segtune.core.records import IGNORE
from segtune.metrics.boxes import Box, BoxState, bounding_box, complete_iou, generalized_iou


def _drawn(generator: np.random.Generator) -> Box:
    top, left = generator.integers(0, 30, 2)
    height, width = generator.integers(1, 20, 2)
    return int(top), int(left), int(top + height), int(left + width)


def _painted(box: Box, side: int = 60) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


def _by_pixels(a: Box, b: Box) -> tuple[float, float]:
    """Both scores from painted boxes, areas counted in pixels."""
    one, other = _painted(a), _painted(b)
    hull = np.zeros_like(one)
    rows, columns = np.nonzero(one | other)
    hull[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    iou = (one & other).sum() / (one | other).sum()
    generalized = iou - (hull & ~(one | other)).sum() / hull.sum()
    centres = [np.argwhere(mask).mean(0) for mask in (one, other)]
    diagonal = hull.any(1).sum() ** 2 + hull.any(0).sum() ** 2
    angles = [np.arctan2(mask.any(0).sum(), mask.any(1).sum()) for mask in (one, other)]
    v = 4 / np.pi**2 * (angles[0] - angles[1]) ** 2
    alpha = v / ((1 - iou) + v) if v else 0.0
    return float(generalized), float(iou - ((centres[0] - centres[1]) ** 2).sum() / diagonal - alpha * v)


def test_scores_of_boxes_are_those_of_their_pixels() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        a, b = _drawn(generator), _drawn(generator)
        generalized, complete = _by_pixels(a, b)
        assert generalized_iou(a, b) == pytest.approx(generalized, abs=1e-12)
        assert complete_iou(a, b) == pytest.approx(complete, abs=1e-12)
        assert generalized_iou(a, b) == generalized_iou(b, a)
        assert complete_iou(a, b) == pytest.approx(complete_iou(b, a), abs=1e-12)
        assert -1 < generalized_iou(a, b) <= 1
        assert -1.5 < complete_iou(a, b) <= 1
        assert generalized_iou(a, a) == complete_iou(a, a) == 1


def test_scores_of_boxes_by_hand() -> None:
    # side by side: IoU 0, the hull holds nothing else; centres 10 apart, diagonal of 10 x 20, same shape
    assert generalized_iou((0, 0, 10, 10), (0, 10, 10, 20)) == 0
    assert complete_iou((0, 0, 10, 10), (0, 10, 10, 20)) == pytest.approx(-100 / 500)
    # the same area in the middle of another: IoU 1/4, half of neither
    assert generalized_iou((5, 5, 15, 15), (0, 0, 20, 20)) == pytest.approx(1 / 4)
    assert complete_iou((5, 5, 15, 15), (0, 0, 20, 20)) == pytest.approx(1 / 4)
    # far apart both near -1
    assert generalized_iou((0, 0, 1, 1), (10**6, 10**6, 10**6 + 1, 10**6 + 1)) == pytest.approx(-1)
    assert complete_iou((0, 0, 1, 1), (10**6, 10**6, 10**6 + 1, 10**6 + 1)) == pytest.approx(-1, abs=1e-5)


def test_a_bounding_box_is_that_of_opencv() -> None:
    generator = np.random.default_rng(1)
    for share in (0.001, 0.01, 0.5, 1.0):
        mask = generator.random((40, 30)) < share
        mask[generator.integers(40), generator.integers(30)] = True
        left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
        assert bounding_box(mask) == (top, left, top + height, left + width)
    assert bounding_box(np.zeros((4, 5), bool)) is None


def _target(box: Box | None, ignored: Box | None = None) -> np.ndarray:
    target = np.zeros((60, 60), np.uint8)
    if ignored is not None:
        target[_painted(ignored)] = IGNORE
    if box is not None:
        target[_painted(box)] = 1
    return target


def test_the_state_is_the_mean_and_empty_masks_have_a_rule() -> None:
    nothing, box, other = np.zeros((60, 60), bool), (3, 4, 20, 30), (10, 4, 25, 22)
    state = BoxState()
    assert state.compute() == {"generalized_iou": None, "complete_iou": None, "no_box": 0}
    state.update(_painted(box), _target(other))
    generalized, complete = _by_pixels(box, other)
    assert state.compute() == pytest.approx({"generalized_iou": generalized, "complete_iou": complete, "no_box": 0})
    state.update(nothing, _target(None))
    assert (state.both_empty, state.one_empty) == (1, 0)
    state.update(nothing, _target(box))
    state.update(_painted(box), _target(None))
    assert (state.queries, state.both_empty, state.one_empty) == (4, 1, 2)
    expected = {"generalized_iou": (generalized + 1 - 1 - 1) / 4, "complete_iou": (complete - 1) / 4, "no_box": 3}
    assert state.compute() == pytest.approx(expected)


def test_ignored_pixels_are_in_no_box() -> None:
    state = BoxState()
    box, stripe = (3, 4, 20, 30), (40, 0, 60, 60)
    state.update(_painted(box) | _painted(stripe), _target(box, ignored=stripe))
    assert state.compute() == {"generalized_iou": 1, "complete_iou": 1, "no_box": 0}
    state.update(_painted(stripe), _target(None, ignored=stripe))
    assert state.both_empty == 1, "a prediction on ignored pixels alone is empty"


def test_states_merge_and_travel_as_json() -> None:
    generator = np.random.default_rng(2)
    whole, first, second = BoxState(), BoxState(), BoxState()
    for index in range(8):
        prediction, target = _painted(_drawn(generator)), _target(_drawn(generator) if index % 3 else None)
        for state in (whole, (first, second)[index % 2]):
            state.update(prediction, target)
    first.merge(BoxState.from_dict(json.loads(json.dumps(second.to_dict()))))
    assert first.to_dict() == pytest.approx(whole.to_dict(), abs=1e-12)
    assert BoxState.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole
