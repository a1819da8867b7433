from __future__ import annotations

import numpy as np
import pytest

from segtune.core.errors import DataError
from segtune.data.sources.shapes import read_shape, require_one_target
from segtune.ops.masks import paint_target


def _shape(kind, points, label="target"):
    return {"label": label, "points": points, "shape_type": kind}


@pytest.mark.parametrize("kind", ["linestrip", "line", "point", "points"])
def test_what_encloses_no_area_is_refused_by_name(kind):
    with pytest.raises(DataError, match=f'type "{kind}" encloses no area') as caught:
        read_shape(_shape(kind, [[1, 1], [9, 1], [9, 9]]), "a.json, shape 2")
    assert caught.value.where == "a.json, shape 2"


@pytest.mark.parametrize(("kind", "said"), [("mask", "AI mask"), ("cube", '"cube"'), (3, "3"), ([], r"\[\]")])
def test_what_is_not_read_is_named(kind, said):
    with pytest.raises(DataError, match=said):
        read_shape(_shape(kind, [[1, 1], [9, 9]]), "a.json")


@pytest.mark.parametrize("kind", [None, "polygon"])
def test_a_polygon_keeps_its_points(kind):
    points = [[1, 1], [9, 1], [9, 9.5]]
    assert read_shape(_shape(kind, points), "a.json").points.tolist() == points


@pytest.mark.parametrize("corners", [[[2, 3], [6, 9]], [[6, 9], [2, 3]], [[2, 9], [6, 3]]])
def test_a_rectangle_is_its_four_corners(corners):
    target = paint_target([read_shape(_shape("rectangle", corners), "a.json")], (12, 16))
    expected = np.zeros((12, 16), np.uint8)
    expected[3:10, 2:7] = 1
    np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("radius", [0.0, 0.01, 0.3, 5.0, 300.0, 9e5])
def test_a_circle_is_right_within_a_twentieth_of_a_pixel(radius):
    points = read_shape(_shape("circle", [[20, 30], [20, 30 + radius]]), "a.json").points
    middles = (points + np.roll(points, -1, axis=0)) / 2
    for places in (points, middles):
        distance = np.hypot(*(places - (20, 30)).T)
        assert np.abs(distance - radius).max() <= 0.05 + 1e-9 * radius


@pytest.mark.parametrize("kind", ["rectangle", "circle"])
@pytest.mark.parametrize(
    "points", [[[1, 1]], [[1, 1], [2, 2], [3, 3]], [], None, [[1, "2"], [3, 4]], [[1, 2], [3, 1e9]]]
)
def test_two_points_make_a_rectangle_or_a_circle(kind, points):
    with pytest.raises(DataError):
        read_shape(_shape(kind, points), "a.json")


def test_a_flag_may_have_any_type():
    assert read_shape(_shape("line", [[1, 1], [2, 2]], "Flag"), "a.json").is_flag


def test_one_file_holds_one_target():
    def shapes(*labels):
        return [read_shape(_shape("polygon", [[1, 1], [9, 1], [9, 9]], label), "a.json") for label in labels]

    assert require_one_target(shapes("target", "Target", "ignore", "flag", "__ignore__"), "a.json") == ""
    assert require_one_target(shapes("box", "Box ", "ignore"), "a.json") == "box"
    assert require_one_target([], "a.json") == ""
    for labels in (("car", "road"), ("target", "car")):
        with pytest.raises(DataError, match="several labels") as caught:
            require_one_target(shapes(*labels, "ignore"), "a.json")
        assert caught.value.found == ", ".join(sorted(labels))
