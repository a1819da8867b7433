from __future__ import annotations

import base64
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.external import shared_data

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


@pytest.mark.parametrize(("kind", "said"), [("cube", '"cube"'), (3, "3"), ([], r"\[\]")])
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


def _masked(mask, corners, mode="L"):
    file = io.BytesIO()
    Image.fromarray(np.asarray(mask, np.uint8)).convert(mode).save(file, "PNG")
    return {**_shape("mask", corners), "mask": base64.b64encode(file.getvalue()).decode()}


DOT = np.array([[0, 1, 1], [1, 0, 1]])


@pytest.mark.parametrize(("left", "top"), [(3, 4), (3.7, 4.9), (14, 11), (-2, -1), (-9, 2), (40, 40)])
def test_a_mask_is_painted_where_its_box_lies(left, top):
    shape = read_shape(_masked(DOT, [[left, top], [left + 2, top + 1]]), "a.json")
    expected = np.zeros((40 + 12 + 10, 60 + 16 + 10), np.uint8)
    x, y = 20 + int(left), 20 + int(top)
    expected[y : y + 2, x : x + 3] = DOT
    np.testing.assert_array_equal(paint_target([shape], (12, 16)), expected[20:32, 20:36])


def test_masks_and_polygons_are_painted_by_their_size():
    polygon = read_shape(_shape("polygon", [[0, 0], [9, 0], [9, 9], [0, 9]], "ignore"), "a.json")
    mask = read_shape(_masked(DOT, [[2, 2], [4, 3]]), "a.json")
    for shapes in ([polygon, mask], [mask, polygon]):
        target = paint_target(shapes, (12, 16))
        assert [(target == value).sum() for value in (0, 1, 255)] == [92, 4, 96]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (_shape("mask", [[1, 1], [3, 2]]), "PNG of a mask cannot be read"),
        ({**_shape("mask", [[1, 1], [3, 2]]), "mask": "not base 64"}, "PNG of a mask cannot be read"),
        ({**_shape("mask", [[1, 1], [3, 2]]), "mask": base64.b64encode(b"GIF89a").decode()}, "cannot be read"),
        ({**_shape("mask", [[1, 1], [3, 2]]), "mask": 5}, "PNG of a mask cannot be read"),
        (_masked(DOT, [[1, 1], [4, 2]]), "does not fill its box"),
        (_masked(DOT, [[3, 2], [1, 1]]), "does not fill its box"),
        (_masked(DOT, [[1, 1], [3, 2]], "RGB"), "does not fill its box"),
        (_masked(DOT, [[1, 1]]), "a mask has not two points"),
    ],
)
def test_masks_that_are_none_are_refused(shape, said):
    with pytest.raises(DataError, match=said):
        read_shape(shape, "a.json")


def test_no_damaged_mask_is_read():
    shape = _masked(np.random.default_rng(0).integers(0, 2, (30, 40)), [[0, 0], [39, 29]])
    raw, whole = base64.b64decode(shape["mask"]), read_shape(shape, "a.json").mask
    for place in range(8, len(raw)):
        damaged = base64.b64encode(raw[:place] + bytes([raw[place] ^ 8]) + raw[place + 1 :]).decode()
        try:
            found = read_shape({**shape, "mask": damaged}, "a.json").mask
        except DataError:
            continue
        np.testing.assert_array_equal(found, whole)


@pytest.mark.external
def test_masks_of_labelme_are_the_truth():
    """Every label of real files alone: what a file with one target and this label holds."""
    folder, seen = shared_data("exports") / "labelme-json", set()
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        size = (content["imageHeight"], content["imageWidth"])
        for label in {shape["label"] for shape in content["shapes"]}:
            own = [shape for shape in content["shapes"] if shape["label"] == label]
            found = paint_target([read_shape({**s, "label": "target"}, str(path)) for s in own], size) == 1
            truth = np.array(Image.open(folder.parent / "truth" / "mixed" / path.stem / f"{label}.png")) != 0
            kinds = {shape["shape_type"] for shape in own}
            if kinds == {"mask"}:
                np.testing.assert_array_equal(found, truth)
            near = cv2.dilate(truth.astype(np.uint8), np.ones((5, 5), np.uint8)) != 0
            inner = cv2.erode(truth.astype(np.uint8), np.ones((5, 5), np.uint8)) != 0
            if "polygon" not in kinds:  # polygons have spikes of no width, of which the protocol paints the outline
                assert not (found & ~near).any(), (path.stem, label)
            assert not (inner & ~found).any(), (path.stem, label)
            seen |= kinds
    assert seen == {"polygon", "rectangle", "circle", "mask"}
