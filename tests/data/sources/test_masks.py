from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.external import shared_data

from segtune.core.errors import DataError
from segtune.core.records import IGNORE
from segtune.data.open import usable
from segtune.data.sources.masks import MaskFolder

VALUES = [[0, 1, 2], [9, 2, 1]]


@pytest.fixture
def folder(tmp_path, write_masked, write_classes):
    write_classes(tmp_path, ["sky", "road", "car"], ignore_index=9)
    for name in ("b", "a", "sub/c"):
        write_masked(tmp_path / "train", name, VALUES)
    return tmp_path


def _reasons(source: MaskFolder) -> dict[str, str]:
    return {item.path: item.reason for item in source.bad}


def test_images_and_labels_in_the_order_of_their_ids(folder):
    source = MaskFolder(folder, "train")
    assert (source.name, source.split, source.classes, source.ignore_index) == (
        folder.name, "train", ("sky", "road", "car"), 9,
    )  # fmt: skip
    assert [source.item_id(i) for i in range(len(source))] == ["a", "b", "sub/c"]
    item = source.item(1, epoch=4)
    np.testing.assert_array_equal(item.image, np.asarray(Image.open(folder / "train/images/b.png")))
    np.testing.assert_array_equal(item.labels, [[0, 1, 2], [IGNORE, 2, 1]])
    assert (item.id, item.labels.dtype, item.image.dtype) == ("b", np.uint8, np.uint8)
    assert (source.files, source.bad) == (3, ())
    assert len(MaskFolder(folder, "train", limit=2)) == 2


def test_without_splits(tmp_path, write_masked, write_classes):
    write_classes(tmp_path)
    write_masked(tmp_path, "a", [[0, 1]])
    assert MaskFolder(tmp_path).item(0).labels.tolist() == [[0, 1]]


def test_values_outside_the_classes_are_named(folder, write_masked):
    write_masked(folder / "train", "b", [[0, 3, 3], [9, 200, 255]])
    source = MaskFolder(folder, "train")
    with pytest.raises(DataError) as caught:
        source.item(1)
    assert caught.value.where == str(folder / "train/masks/b.png")
    assert caught.value.found == "3 (2 pixels), 200 (1 pixels), 255 (1 pixels)"
    assert caught.value.expected == "0 to 2 and 9 (ignored)"
    assert source.item(0).id == "a"


def test_two_classes_may_be_painted_in_black_and_white(tmp_path, write_masked, write_classes):
    write_classes(tmp_path)
    for name, values in (("a", [[0, 255]]), ("b", [[0, 1]]), ("c", [[255, 255]]), ("d", [[0, 1], [255, 1]])):
        write_masked(tmp_path, name, values)
    source = MaskFolder(tmp_path)
    assert [source.item(i).labels.tolist() for i in range(3)] == [[[0, 1]], [[0, 1]], [[1, 1]]]
    with pytest.raises(DataError, match="255"):
        source.item(3)


@pytest.mark.parametrize(("classes", "ignore"), [(["a", "b"], 255), (["a", "b", "c"], None)])
def test_white_is_no_class_where_it_is_ignored_or_there_are_more(
    tmp_path, write_masked, write_classes, classes, ignore
):
    write_classes(tmp_path, classes, ignore_index=ignore)
    write_masked(tmp_path, "a", [[0, 255]])
    if ignore:
        assert MaskFolder(tmp_path).item(0).labels.tolist() == [[0, IGNORE]]
    else:
        with pytest.raises(DataError, match="outside the classes"):
            MaskFolder(tmp_path).item(0)


def test_what_is_wrong_is_listed_and_the_rest_used(folder, write_masked):
    train = folder / "train"
    for name in ("html", "small", "deep", "cut", "rgb"):
        write_masked(train, name, VALUES)
    (train / "images/html.png").write_text("<!DOCTYPE html><html>not found</html>")
    Image.fromarray(np.zeros((3, 2), np.uint8)).save(train / "masks/small.png")
    Image.fromarray(np.zeros((2, 3), np.uint16)).save(train / "masks/deep.png")
    (train / "images/cut.png").write_bytes((train / "images/cut.png").read_bytes()[:50])
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(train / "masks/rgb.png")
    write_masked(train, "alone", VALUES)
    (train / "masks/alone.png").unlink()
    write_masked(train, "orphan", VALUES)
    (train / "images/orphan.png").unlink()
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(train / "images/a.JPG")
    source = MaskFolder(folder, "train")
    reasons = _reasons(source)
    assert [source.item_id(i) for i in range(len(source))] == ["a", "b", "sub/c"]
    assert source.files == 10
    for path, said in {
        "train/images/html.png": "really an HTML page",
        "train/masks/small.png": "image and mask differ in size; found 2 x 3; expected 3 x 2 pixels",
        "train/masks/deep.png": "not an index mask; found 16 bits",
        "train/images/cut.png": "damaged or cut short",
        "train/masks/rgb.png": "three channels (RGB)",
        "train/images/alone.png": "the image has no mask; expected masks/alone.png",
        "train/masks/orphan.png": "the mask has no image; expected images/orphan.jpg",
        "train/images/a.png": "another image has the same name and is used; found a.JPG",
    }.items():
        assert said in reasons.pop(path)
    assert not reasons
    assert source.image_path(0).name == "a.JPG"
    with pytest.raises(DataError, match=r"(?s)8 bad items among 10 images.*html\.png"):
        usable(source, 0.5)
    assert usable(source, 0.8) == source.bad


def test_orientation_of_a_photograph_is_that_of_its_mask(tmp_path, write_classes):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    write_classes(tmp_path)
    stored = np.zeros((20, 40, 3), np.uint8)
    stored[:10, 30:] = 255  # displayed after a quarter turn clockwise: bottom right
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, shape in (("turned", (40, 20)), ("stored", (20, 40))):
        Image.fromarray(stored).save(tmp_path / f"images/{name}.jpg", quality=95, exif=exif)
        mask = np.zeros(shape, np.uint8)
        mask[-10:, -10:] = 1
        Image.fromarray(mask).save(tmp_path / f"masks/{name}.png")
    source = MaskFolder(tmp_path)
    assert "differ in size; found 40 x 20; expected 20 x 40" in _reasons(source)["masks/stored.png"]
    item = source.item(0)
    assert item.image.shape == (40, 20, 3)
    assert item.image[item.labels == 1].mean() > 240
    assert item.image[item.labels == 0].mean() < 15


def test_links_out_of_the_root_are_listed_once(folder, tmp_path_factory, write_masked):
    outside = tmp_path_factory.mktemp("outside")
    write_masked(outside, "x", VALUES)
    (folder / "train/images/x.png").symlink_to(outside / "images/x.png")
    (folder / "train/masks/x.png").symlink_to(folder / "train/masks/a.png")
    source = MaskFolder(folder, "train")
    assert [item.path for item in source.bad] == ["train/images/x.png"]
    assert "out of the data root" in source.bad[0].reason
    assert len(MaskFolder(folder, "train", root="/")) == 4


def test_a_folder_that_is_missing(folder):
    with pytest.raises(DataError, match="there is no folder images/"):
        MaskFolder(folder, "val")
    (folder / "val/images").mkdir(parents=True)
    with pytest.raises(DataError, match="there is no folder masks/"):
        MaskFolder(folder, "val")


def test_files_that_change_afterwards_are_refused(folder, write_masked):
    source = MaskFolder(folder, "train")
    write_masked(folder / "other", "a", [[0]])
    (folder / "other/masks/a.png").replace(folder / "train/masks/a.png")
    with pytest.raises(DataError, match="differ in size"):
        source.item(0)


@pytest.mark.external
@pytest.mark.parametrize(
    ("name", "split", "count", "classes", "ignored"),
    [("camvid", "train", 367, 11, True), ("camvid", "val", 101, 11, True), ("foot_ulcer", "val", 100, 2, False)],
)
def test_real_photographs(name, split, count, classes, ignored):
    source = MaskFolder(shared_data(name), split)
    assert (len(source), source.files, source.bad, len(source.classes)) == (count, count, (), classes)
    for index in range(0, count, 40):
        item = source.item(index)
        with Image.open(source.directory / split / "masks" / f"{item.id}.png") as file:
            values = np.asarray(file)
        np.testing.assert_array_equal(item.labels == IGNORE, values == 11 if ignored else np.zeros_like(values))
        kept = item.labels != IGNORE
        np.testing.assert_array_equal(item.labels[kept], values[kept])
