"""COCO files as tools write them: where their pictures lie, which ids they have, and what is told of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from segtune.core.errors import DataError
from segtune.core.records import IGNORE
from segtune.data.check import check_dataset
from segtune.data.dense.check import DenseCheckReport
from segtune.data.open import usable
from segtune.data.sources.coco import CocoInstances
from segtune.data.sources.coco_categories import as_id

HEIGHT, WIDTH = 12, 16
SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]


@pytest.fixture
def export(tmp_path):
    """Writes one picture and one annotation of it; `changes` go into the annotation, `image` into its image."""

    def write(picture="train/a.png", file="train/_annotations.coco.json", name="a.png", **changes):
        for path in (tmp_path / picture, tmp_path / file):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / picture)
        image = {"id": 1, "file_name": name, "height": HEIGHT, "width": WIDTH, **changes.pop("image", {})}
        categories = changes.pop("categories", [{"id": 1, "name": "box"}])
        annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [SQUARE], "iscrowd": 0, **changes}
        content = {"images": [image], "categories": categories, "annotations": [annotation]}
        (tmp_path / file).write_text(json.dumps(content))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("picture", "file", "split"),
    [
        ("images/a.png", "annotations/instances_default.json", "default"),
        ("images/default/a.png", "annotations/instances_default.json", "default"),
        ("images/train/a.png", "annotations/instances_train.json", "train"),
        ("a.png", "annotations/instances_train.json", "train"),
        ("images/a.png", "_annotations.coco.json", ""),
    ],
)
def test_pictures_lie_where_tools_put_them(export, picture, file, split):
    source = CocoInstances(export(picture, file), split)
    assert (source.bad, source.image_path(0).name, source.item(0).labels.sum()) == ((), "a.png", 16)


def test_a_missing_picture_says_where_it_was_looked_for_and_what_is_near(export):
    root = export("elsewhere/A.PNG", "annotations/instances_train.json")
    (reason,) = [item.reason for item in CocoInstances(root, "train").bad]
    assert "found no such file in train/, images/train/, images/, the dataset's directory" in reason
    assert "a file of this name is elsewhere/A.PNG" in reason
    out = export("images/a.png", "annotations/instances_train.json", "../../media/a.png")
    (reason,) = [item.reason for item in CocoInstances(out, "train").bad]
    assert "leads out of the folder of the images; a file of this name is " in reason


@pytest.mark.parametrize("name", ["b%20c.png", "b c.jpg", "B c", " b c.png ", "https://host/media/b%20c.jpeg"])
def test_a_picture_of_nearly_the_name_is_told(export, name):
    reason = CocoInstances(export("train/b c.png", name=name), "train").bad[0].reason
    assert "a file of nearly this name is train/b c.png" in reason


def test_backslashes_are_slashes_with_a_word(export):
    source = CocoInstances(export("train/images/a.png", name="images\\a.png"), "train")
    assert (source.bad, source.item_id(0)) == ((), "images/a")
    assert "backslashes" in source.notes[0]
    root = export("train/b.png", name="images\\gone.png")
    assert '"\\" was read as "/"' in CocoInstances(root, "train").bad[0].reason
    assert "leads out" in CocoInstances(export(name="..\\..\\a.png"), "train").bad[0].reason


@pytest.mark.parametrize("stated", [{"height": 12.0, "width": 16.0}, {"id": "1"}, {"id": 1.0}])
def test_numbers_may_be_written_as_floats_and_ids_as_texts(export, stated):
    source = CocoInstances(export(image=stated), "train")
    assert (source.bad, len(source)) == ((), 1)


def test_ids_that_are_words_are_matched(export):
    root = export(image={"id": "x"}, image_id="x", category_id="c", categories=[{"id": "c", "name": "box"}])
    assert CocoInstances(root, "train").item(0).labels.sum() == 16
    assert [as_id(value) for value in (7, 7.0, "7", " x ", "", True, None, 7.5, [])] == [7, 7, 7, "x", *[None] * 5]


@pytest.mark.parametrize("height", ["12", 12.5, 0, -1, True, None, float("nan")])
def test_a_size_that_is_none_is_refused(export, height):
    assert "its size is" in CocoInstances(export(image={"height": height}), "train").bad[0].reason


def test_of_equal_categories_the_unused_is_dropped_with_a_word(export):
    categories = [{"id": 0, "name": "fish"}, {"id": 1, "name": "fish"}, {"id": 2, "name": "trap"}]
    source = CocoInstances(export(categories=categories), "train")
    assert (source.classes, source.item(0).labels.max()) == (("background", "fish", "trap"), 1)
    assert source.notes == (
        "the categories 0, 1 have one name, 'fish': dropped, as no annotation has it: 0 (_annotations.coco.json)",
    )
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "fish"}, {"id": 0, "name": "fish"}]
    assert CocoInstances(export(categories=categories, category_id=2), "train").classes == ("background", "a", "fish")


def test_equal_categories_that_are_both_used_are_one_class(export):
    root = export(categories=[{"id": 0, "name": "fish"}, {"id": 5, "name": "fish"}, {"id": 2, "name": "Fish"}])
    path = root / "train" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    first = content["annotations"][0]
    second = {**first, "id": 2, "category_id": 5, "segmentation": [[8, 2, 10, 2, 10, 4, 8, 4]]}
    content["annotations"] = [{**first, "category_id": 0}, second]
    path.write_text(json.dumps(content))
    source = CocoInstances(root, "train")
    assert source.classes == ("background", "fish", "Fish")
    assert np.bincount(source.item(0).labels.ravel()).tolist() == [HEIGHT * WIDTH - 20, 20]
    assert any("they are one class" in note for note in source.notes)
    assert any("differ only in case" in note for note in source.notes)


@pytest.mark.parametrize(
    ("value", "crowd"), [(1, True), (True, True), (1.0, True), (0, False), (False, False), (None, False)]
)
def test_crowds_are_counted_and_told(export, value, crowd):
    root = export(iscrowd=value)
    source = CocoInstances(root, "train")
    assert (source.item(0).labels == IGNORE).any() == crowd
    assert any("1 of 1 annotations are crowds" in note and "box 1" in note for note in source.notes) == crowd
    report = check_dataset(root)
    assert isinstance(report, DenseCheckReport)
    assert any("crowds" in warning for warning in report.warnings) == crowd


@pytest.mark.parametrize("value", ["1", 2, 0.5, [], "no"])
def test_a_crowd_that_is_neither_is_refused(export, value):
    assert "'iscrowd' is neither 0 nor 1" in (reason := CocoInstances(export(iscrowd=value), "train").bad[0].reason)
    assert f"found {value!r}" in reason


def test_a_thin_part_costs_itself_alone(export):
    source = CocoInstances(export(segmentation=[SQUARE, [9, 9, 10, 10]]), "train")
    assert (source.bad, source.item(0).labels.sum()) == ((), 16)
    assert "a part of fewer than three points is left out" in source.notes[0]
    assert "annotation 1, part 1" in source.notes[0]
    assert "too few points" in CocoInstances(export(segmentation=[[9, 9, 10, 10]]), "train").bad[0].reason
    junk = CocoInstances(export(segmentation=[SQUARE, ["x", 9]]), "train").bad[0].reason
    assert "cannot be read" in junk


def test_shares_of_the_picture_are_refused(export):
    shares = [0.1, 0.1, 0.9, 0.1, 0.9, 0.9]
    assert "all coordinates lie in 0..1" in CocoInstances(export(segmentation=[shares]), "train").bad[0].reason


def test_panoptic_files_are_named(export):
    root = export()
    path = root / "train" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    content["annotations"] = [{"image_id": 1, "file_name": "a.png", "segments_info": []}]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="panoptic"):
        CocoInstances(root, "train")


def test_of_two_files_the_one_that_is_passed_over_is_told(export):
    export()
    source = CocoInstances(export("train/b.png", "annotations/instances_train.json", "b.png"), "train")
    assert [source.item_id(i) for i in range(len(source))] == ["b"]
    said = "this file is passed over, as annotations/instances_train.json is used (train/_annotations.coco.json)"
    assert said in source.notes


def test_a_dataset_without_its_pictures_is_not_called_another_tools(export):
    root = export("elsewhere/b.png", "annotations/instances_train.json")
    with pytest.raises(DataError, match="holds nothing that can be used") as caught:
        check_dataset(root)
    assert "found no such file in train/" in str(caught.value)
    with pytest.raises(DataError, match="holds nothing that can be used"):
        usable(CocoInstances(root, "train"))
