"""Polygons: validation before C code, the painting rule, and areas from crops."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtune.core.errors import DataError
from segtune.core.records import IGNORE
from segtune.ops.masks import (
    MAX_COORDINATE,
    PolygonShape,
    _painted_area,
    canvas_of,
    coco_annotation,
    mask_area,
    paint_target,
    require_target,
    union_masks,
    validate_polygon,
)
from segtune.ops.rle import rle_decode

SQUARE = [[2, 2], [7, 2], [7, 7], [2, 7]]


def shape(label: str, points: object) -> PolygonShape:
    return PolygonShape(label, np.asarray(points, dtype=np.float64))


BAD_POLYGONS = {
    "two points": [[0, 0], [5, 5]],
    "no points": [],
    "nan": [[0, 0], [math.nan, 5], [5, 0]],
    "infinity": [[0, 0], [math.inf, 5], [5, 0]],
    "minus infinity": [[0, 0], [4, -math.inf], [5, 0]],
    "1e9": [[0, 0], [1e9, 5], [5, 0]],
    "beyond floats": [[0, 0], [10**400, 5], [5, 0]],
    "three coordinates": [[0, 0, 0], [1, 1, 1], [2, 2, 2]],
    "ragged": [[0, 0], [1], [2, 2]],
    "text": [["0", "0"], ["1", "5"], ["5", "0"]],
    "booleans": [[True, False], [1, 5], [5, 0]],
    "null": None,
    "flat": [0, 0, 1, 5, 5, 0],
    "mapping": {"x": 1},
    "word": "polygon",
}


@pytest.mark.parametrize("points", BAD_POLYGONS.values(), ids=BAD_POLYGONS.keys())
def test_bad_polygons_are_refused_with_their_place(points: object) -> None:
    with pytest.raises(DataError, match=r"cat\.json shape 3"):
        validate_polygon(points, "cat.json shape 3")


@pytest.mark.parametrize("name", ["two points", "nan", "infinity", "1e9"])
def test_painting_refuses_them_too(name: str) -> None:
    with pytest.raises(DataError):
        paint_target([shape("target", SQUARE), shape("target", BAD_POLYGONS[name])], (10, 10))


def test_a_good_polygon_is_returned_as_it_is() -> None:
    points = validate_polygon([[0, 1.25], (-3, 4), [1e6, 2]], "here")
    assert points.dtype == np.float64
    assert points.tolist() == [[0, 1.25], [-3, 4], [1e6, 2]]


def test_a_flag_may_have_two_points_and_is_never_painted() -> None:
    assert validate_polygon([[1, 1], [2, 2]], "here", label="Flag").shape == (2, 2)
    assert not paint_target([shape("FLAG", [[1, 1], [8, 8]])], (10, 10)).any()


def test_no_shape_is_an_empty_target() -> None:
    target = paint_target([], (3, 4))
    assert target.shape == (3, 4)
    assert target.dtype == np.uint8
    assert not target.any()


def test_labels_decide_the_value() -> None:
    target = paint_target([shape("Ignored area", SQUARE), shape("tarrget", np.add(SQUARE, 10))], (20, 20))
    assert target[4, 4] == IGNORE
    assert target[14, 14] == 1


def test_outline_and_fill_cover_the_border_pixels() -> None:
    target = paint_target([shape("target", SQUARE)], (10, 10))
    assert target[2:8, 2:8].all()
    assert target.sum() == 36


def test_coordinates_are_truncated_toward_zero() -> None:
    target = paint_target([shape("target", [[-0.9, -0.9], [2.9, -0.9], [2.9, 2.9], [-0.9, 2.9]])], (6, 6))
    assert target[:3, :3].all()
    assert target.sum() == 9


def test_the_smaller_polygon_stays_visible_in_either_order() -> None:
    large, small = shape("target", [[0, 0], [9, 0], [9, 9], [0, 9]]), shape("ignore", SQUARE)
    for shapes in ([large, small], [small, large]):
        assert paint_target(shapes, (10, 10))[4, 4] == IGNORE


def test_of_equal_areas_the_later_is_painted_first() -> None:
    assert paint_target([shape("target", SQUARE), shape("ignore", SQUARE)], (10, 10))[4, 4] == 1
    assert paint_target([shape("ignore", SQUARE), shape("target", SQUARE)], (10, 10))[4, 4] == IGNORE


def test_area_is_what_lies_on_the_canvas() -> None:
    """A polygon that reaches far outside has a small area here, so it is painted last."""
    mostly_outside = shape("ignore", [[8, 0], [300, 0], [300, 9], [8, 9]])
    inside = shape("target", [[4, 0], [9, 0], [9, 9], [4, 9]])
    for shapes in ([mostly_outside, inside], [inside, mostly_outside]):
        assert paint_target(shapes, (10, 10))[5, 9] == IGNORE


@st.composite
def polygons(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, int]]:
    reach = draw(st.sampled_from([5, 60, 3000, int(MAX_COORDINATE)]))
    size = draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    coordinate = st.integers(-reach, min(reach + 60, int(MAX_COORDINATE)))
    points = draw(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=9))
    return np.array(points, np.int32), size


@settings(max_examples=300, deadline=None)
@given(polygons())
def test_the_area_of_the_crop_is_that_of_the_canvas(case: tuple[np.ndarray, tuple[int, int]]) -> None:
    outline, size = case
    canvas = np.zeros(size, np.uint8)
    cv2.polylines(canvas, [outline], True, 1, 1)
    cv2.fillPoly(canvas, [outline], 1)
    assert _painted_area(outline, size) == canvas.sum()


@pytest.mark.parametrize("reach", [1e4, 1e5, 1e6])
def test_far_polygons_are_cut_at_the_border(reach: float) -> None:
    around = paint_target(
        [shape("target", [[-reach, -reach], [reach, -reach], [reach, reach], [-reach, reach]])], (40, 50)
    )
    assert around.all()
    left_of_25 = paint_target(
        [shape("target", [[-reach, -reach], [25, -reach], [25, reach], [-reach, reach]])], (40, 50)
    )
    assert left_of_25[:, :26].all()
    assert not left_of_25[:, 26:].any()
    below_diagonal = paint_target([shape("target", [[-reach, -reach], [reach, reach], [-reach, reach]])], (40, 50))
    rows, columns = np.mgrid[:40, :50]
    assert below_diagonal[rows > columns + 2].all()
    assert not below_diagonal[rows < columns - 2].any()
    assert not paint_target([shape("target", [[reach, reach], [reach, 99], [99, reach]])], (40, 50)).any()


def test_canvas_holds_every_point() -> None:
    assert canvas_of([shape("target", [[0, 0], [7.2, 3]]), shape("flag", [[1, 9.0]])]) == (10, 9)
    with pytest.raises(ValueError, match="no shape has a point"):
        canvas_of([])


def test_union_and_area() -> None:
    left, right = np.eye(3, dtype=bool), np.eye(3, dtype=np.uint8)[::-1] * 255
    union = union_masks([left, right], (3, 3))
    assert union.dtype == bool
    assert mask_area(union) == 5
    assert mask_area(right) == 3
    assert not union_masks([], (3, 3)).any()
    with pytest.raises(DataError, match="does not fit"):
        union_masks([left], (3, 4))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_mask_with_nan_is_refused_and_not_taken_for_inside(value: float) -> None:
    mask = np.zeros((3, 4), np.float32)
    assert not union_masks([mask], (3, 4)).any()
    mask[1, 2] = value
    with pytest.raises(DataError, match="no numbers") as caught:
        union_masks([np.ones((3, 4)), mask], (3, 4))
    assert (caught.value.where, caught.value.found) == ("mask 1", "1 NaN or infinite pixels")


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (np.full((3, 4), np.nan), "12 NaN or infinite pixels"),
        (np.zeros((3, 4)), "float64 of 3 x 4"),
        (np.eye(3, 4) > 0, "bool of 3 x 4"),
        (np.zeros((4, 3), np.uint8), "uint8 of 4 x 3"),
        (np.zeros((3, 4, 1), np.uint8), "uint8 of 3 x 4 x 1"),
    ],
)
def test_a_target_is_uint8_of_the_size_of_its_image(wrong: np.ndarray, found: str) -> None:
    require_target(np.zeros((3, 4), np.uint8), (3, 4), "a#0")
    with pytest.raises(DataError) as caught:
        require_target(wrong, (3, 4), "a#0")
    assert (caught.value.where, caught.value.found) == ("a#0", found)


def test_a_coco_annotation_is_that_of_the_mask() -> None:
    mask = np.zeros((9, 12), bool)
    mask[3:6, 4:9] = True
    mask[7, 2] = True
    row = coco_annotation(mask, 0.25)
    assert (row["area"], row["bbox"], row["iscrowd"], row["score"]) == (16, [2, 3, 7, 5], 0, 0.25)
    assert np.array_equal(rle_decode(row["segmentation"]), mask)
    assert coco_annotation(np.zeros((2, 3), bool), 0.0)["bbox"] == [0, 0, 0, 0]
