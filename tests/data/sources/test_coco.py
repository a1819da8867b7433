from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from segtune.core.errors import DataError
from segtune.core.records import IGNORE
from segtune.data.sources.coco import CocoInstances
from segtune.ops.rle import rle_encode

SIZE = (12, 16)
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


def _box(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def _annotation(number: int, segmentation: object, category: object = 3, image: object = 1, **more: object) -> dict:
    return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation, **more}


@pytest.fixture
def write(tmp_path):
    """Writes an exported split with as many images as there are lists of annotations."""

    def _write(annotations: object, *, images=None, categories=CATEGORIES, names=("a.png",), split="train"):
        folder = tmp_path / "data" / split
        folder.mkdir(parents=True, exist_ok=True)
        entries = []
        for number, name in enumerate(names, start=1):
            Image.fromarray(np.full((*SIZE, 3), number, np.uint8)).save(folder / name)
            entries.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        content = {
            "images": entries if images is None else images,
            "categories": categories,
            "annotations": annotations,
        }
        (folder / "_annotations.coco.json").write_text(json.dumps(content))
        return tmp_path / "data"

    return _write


def test_categories_follow_the_background_in_the_order_of_their_ids(write):
    source = CocoInstances(
        write([_annotation(1, [_box(2, 3, 6, 7)], 7), _annotation(2, [_box(8, 0, 9, 2)], 3)]), "train"
    )
    assert source.classes == ("background", "cat", "dog")
    item = source.item(0)
    expected = np.zeros(SIZE, np.uint8)
    expected[3:7, 2:6], expected[0:2, 8] = 2, 1
    np.testing.assert_array_equal(item.labels, expected)
    assert (item.id, source.item_id(0), item.image.shape) == ("a", "a", (*SIZE, 3))
    assert source.bad == ()


def test_a_category_called_background_is_class_0(write):
    categories = [{"id": 0, "name": "Background"}, {"id": 1, "name": "wound"}]
    source = CocoInstances(write([_annotation(1, [_box(0, 0, 2, 2)], 1)], categories=categories), "train")
    assert source.classes == ("background", "wound")
    assert source.item(0).labels.sum() == 4


def test_small_things_are_painted_on_large_ones_whatever_their_order_and_stated_area(write):
    large, small = _box(0, 0, 10, 10), _box(4, 4, 6, 6)
    for order in ((large, small), (small, large)):
        annotations = [
            _annotation(i, [points], 7 if points is small else 3, area=1 if points is large else 99)
            for i, points in enumerate(order)
        ]
        labels = CocoInstances(write(annotations), "train").item(0).labels
        assert (labels == 2).sum() == 4
        assert (labels == 1).sum() == 96
    equal = [_annotation(1, [_box(0, 0, 4, 4)], 3), _annotation(2, [_box(0, 0, 4, 4)], 7)]
    assert (CocoInstances(write(equal), "train").item(0).labels == 1).sum() == 16, "the earlier wins"


def test_run_lengths_and_crowds(write):
    mask = np.zeros(SIZE, bool)
    mask[2:5, 3:9] = True
    crowd = np.zeros(SIZE, bool)
    crowd[4:6, 4:6] = True  # smaller than the instance, which wins all the same
    counts = [int(n) for n in np.diff(np.flatnonzero(np.diff(np.r_[2, crowd.ravel(order="F"), 2])))]
    annotations = [
        _annotation(1, rle_encode(mask), 7),
        _annotation(2, {"size": list(SIZE), "counts": counts}, 3, iscrowd=1),
    ]
    labels = CocoInstances(write(annotations), "train").item(0).labels
    np.testing.assert_array_equal(labels == 2, mask)
    np.testing.assert_array_equal(labels == IGNORE, crowd & ~mask)


def test_parts_of_an_instance_are_joined(write):
    parts = [_box(0, 0, 2, 2), _box(1, 1, 3, 3)]
    assert CocoInstances(write([_annotation(1, parts)]), "train").item(0).labels.sum() == 7


def test_the_layout_of_coco_itself(write, tmp_path):
    root = write([], names=("x/b.png", "a.png")) if (tmp_path / "data/train/x").mkdir(parents=True) is None else None
    (root / "annotations").mkdir()
    (root / "train/_annotations.coco.json").rename(root / "annotations/instances_train.json")
    source = CocoInstances(root, "train", limit=1)
    assert (source.item_id(0), source.files, len(source)) == ("x/b", 2, 1)
    assert not source.item(0).labels.any(), "without annotations all is background"
    with pytest.raises(DataError, match="no file of COCO annotations"):
        CocoInstances(root, "val")


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (_annotation(5, []), "annotation 5: the mask cannot be read; found none"),
        (_annotation(5, None), "annotation 5: the mask cannot be read; found none"),
        (_annotation(5, "abc"), "annotation 5: the mask cannot be read; found abc"),
        (_annotation(5, [[1, 2, 3, 4, 5]]), "annotation 5: a polygon has an odd number of coordinates"),
        (_annotation(5, [[1, 2, 3, 4]]), "annotation 5: a polygon has too few points"),
        (_annotation(5, [[1, 2, 3, 4, "x", 6]]), "annotation 5: the points of a polygon cannot be read"),
        (_annotation(5, [[1, 2, 3, 4, float("nan"), 6]]), "is not a place in an image"),
        (_annotation(5, [_box(0, 0, 2, 2)], 99), "annotation 5: no such category; found 99"),
        (_annotation(5, [_box(0, 0, 2, 2)], "cat"), "annotation 5: no such category; found cat"),
    ],
)
def test_an_annotation_that_cannot_be_used_costs_its_image_alone(write, annotation, reason):
    good = _annotation(6, [_box(0, 0, 2, 2)], image=2)
    source = CocoInstances(write([annotation, good], names=("a.png", "b.png")), "train")
    assert [source.item_id(i) for i in range(len(source))] == ["b"]
    (bad,) = source.bad
    assert bad.path == "train/a.png"
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("rle", "said"),
    [({"size": [3, 3], "counts": [9]}, r"found: \[3, 3\]"), ({"size": list(SIZE), "counts": [5]}, "a mask is corrupt")],
)
def test_run_lengths_are_checked_when_they_are_painted(write, rle, said):
    source = CocoInstances(write([_annotation(5, rle)]), "train")
    with pytest.raises(DataError, match=f"(?s){said}") as caught:
        source.item(0)
    assert caught.value.where.endswith("train/a.png")
    assert "annotation 5" in caught.value.found


def test_images_that_cannot_be_used_are_listed(write, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"x")
    size = {"height": 12, "width": 16}
    images = [
        {"id": 1, "file_name": "a.png", **size},
        {"id": 1, "file_name": "again.png", **size},
        {"id": 2, "file_name": "gone.png", **size},
        {"id": 3, "file_name": "b.png", "height": 16, "width": 12},
        {"id": 4, "file_name": "../../secret.png", **size},
        {"id": 5, "file_name": "/etc/passwd", **size},
        {"id": 6, "file_name": "c.png"},
        {"file_name": "d.png"},
        "what",
        {"id": 9, "file_name": "a.jpg", **size},
    ]
    root = write([_annotation(1, [_box(0, 0, 2, 2)], image=77)], images=images, names=("a.png", "b.png", "a.jpg"))
    source = CocoInstances(root, "train")
    assert [source.item_id(i) for i in range(len(source))] == ["a"]
    said = "\n".join(map(str, source.bad))
    for part in (
        "two images have the id 1; found again.png", "train/gone.png: the image cannot be read; found no such file",
        "train/b.png: the image has not the size that its annotations were drawn for; found 16 x 12 as displayed",
        "secret.png: the path leads out", "passwd: the path leads out", "train/c.png: its size is missing",
        'image 7 has no "id"', 'image 8 has no "id"', "annotation 1 belongs to no image; found image_id 77",
        "train/a.jpg: another image has the same name but for its suffix",
    ):  # fmt: skip
        assert part in said
    assert len(source.bad) == 10


@pytest.mark.parametrize(
    ("categories", "said"),
    [
        ([], "not as expected"),
        ([{"id": 1}], "not as expected"),
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "two categories have the same id"),
        ([{"id": 1, "name": "a"}, {"id": "1", "name": "b"}], "two categories have the same id"),
        ([{"id": i, "name": str(i)} for i in range(255)], "1 to 254"),
        (None, "no file of COCO instances"),
    ],
)
def test_categories_that_make_no_sense(write, categories, said):
    with pytest.raises(DataError, match=said):
        CocoInstances(write([], categories=categories), "train")


def test_shares_of_the_picture_are_no_pixels_though_one_is_rounded_beyond_it(write):
    shares = _annotation(1, [_box(0.1, 0.2, 0.8, 1.0001)])
    with_pixels = [_annotation(2, [_box(0.1, 0.2, 0.8, 0.9)], image=2), _annotation(3, [_box(2, 2, 9, 9)], image=2)]
    source = CocoInstances(write([shares, *with_pixels], names=("a.png", "b.png")), "train")
    assert [item.path for item in source.bad] == ["train/a.png"]
    assert "all coordinates lie in 0..1" in source.bad[0].reason


def test_links_out_of_the_root(write, tmp_path):
    root = write([])
    outside = tmp_path / "outside.png"
    (root / "train/a.png").rename(outside)
    (root / "train/a.png").symlink_to(outside)
    assert "out of the data root" in CocoInstances(root, "train").bad[0].reason
    assert len(CocoInstances(root, "train", root=tmp_path)) == 1
