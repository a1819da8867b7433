from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.external import shared_data

from segtune.core.errors import DataError
from segtune.core.records import IGNORE
from segtune.data.sources.annotations import read_annotation, read_explanations
from segtune.data.sources.reasonseg import ReasonSeg
from segtune.ops.masks import canvas_of, paint_target


def test_records_are_grouped_by_the_content_of_their_images(tmp_path, write_pair):
    write_pair(tmp_path / "train", "b", colour=9, text=["second", "again"], kind="relation")
    write_pair(tmp_path / "train", "a", colour=7)
    write_pair(tmp_path / "train", "sub/c", colour=9, is_sentence=True, shapes=[])
    source = ReasonSeg(tmp_path, "train")
    assert len(source) == 2
    assert [list(source.ids(i)) for i in range(2)] == [["a#0"], ["b#0", "b#1", "sub/c#0"]]
    group = source.group(1, epoch=5)
    assert group.id == "b"
    assert group.image.shape == (12, 16, 3)
    assert (group.image == 9).all()
    assert [e.id for e in group.examples] == source.ids(1)
    assert [e.query for e in group.examples] == source.queries(1)
    assert [(e.query.text, e.query.is_sentence, e.query.kind) for e in group.examples] == [
        ("second", False, "relation"),
        ("again", False, "relation"),
        ("the thing sub/c", True, ""),
    ]
    expected = np.zeros((12, 16), np.uint8)
    expected[2:6, 2:6] = 1
    for example in group.examples[:2]:
        np.testing.assert_array_equal(example.target, expected)
    assert not group.examples[2].target.any()


def test_first_query_only_and_limit(tmp_path, write_pair):
    for index, name in enumerate("abc"):
        write_pair(tmp_path, name, colour=index, text=["one", "two"])
    source = ReasonSeg(tmp_path, first_query_only=True, limit=2)
    assert [list(source.ids(i)) for i in range(len(source))] == [["a#0"], ["b#0"]]
    assert len(source.group(0).examples) == 1
    assert [record.id for record in source.records] == ["a", "b"]


def test_polygons_are_in_displayed_coordinates(tmp_path):
    stored = np.zeros((20, 40, 3), np.uint8)
    stored[:10, 30:] = 255  # displayed after a quarter turn clockwise: bottom right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "a.JPG", format="JPEG", quality=95, exif=exif)
    points = [[10, 30], [19, 30], [19, 39], [10, 39]]
    (tmp_path / "a.json").write_text(
        json.dumps({"text": "the bright square", "shapes": [{"label": "target", "points": points}]})
    )
    group = ReasonSeg(tmp_path).group(0)
    assert group.image.shape == (40, 20, 3)
    np.testing.assert_array_equal(group.examples[0].target == 1, group.image[..., 0] > 128)


def test_one_bad_file_of_twenty_costs_only_itself(tmp_path, write_pair):
    for index in range(20):
        write_pair(tmp_path / "train", f"{index:02d}", colour=index)
    (tmp_path / "train" / "07.json").write_text('{"text": ["a"]}')
    source = ReasonSeg(tmp_path, "train")
    assert len(source) == 19
    assert source.files == 20
    assert [item.path for item in source.bad] == ["train/07.json"]
    assert "'shapes'" in source.bad[0].reason
    assert source.images_without_annotation == ()


def test_bad_images_are_listed_and_left_out(tmp_path, write_pair):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    for name in ("cut", "empty", "good", "html", "none", "same"):
        write_pair(tmp_path, name)
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "html.png").write_text("<html>not found</html>")
    (tmp_path / "none.png").rename(tmp_path / "extra.png")
    source = ReasonSeg(tmp_path)
    assert [list(source.ids(i)) for i in range(len(source))] == [["good#0", "same#0"]]
    reasons = {item.path: item.reason for item in source.bad}
    assert list(reasons) == ["cut.png", "empty.png", "html.png", "none.json"]
    for path, words in [("empty.png", "0 bytes"), ("html.png", "HTML page"), ("none.json", "none.jpg (or")]:
        assert words in reasons[path]
    assert all("\n" not in reason for reason in reasons.values())
    assert source.images_without_annotation == ("extra.png",)


def test_preferred_suffix_and_hidden_files(tmp_path, write_pair):
    write_pair(tmp_path, "a")
    Image.new("RGB", (30, 20)).save(tmp_path / "a.JPEG", format="JPEG")
    (tmp_path / "._a.json").write_bytes(b"\x00\x05")
    source = ReasonSeg(tmp_path)
    assert source.group(0).image.shape == (20, 30, 3)
    assert [str(item) for item in source.bad] == ["a.png: another image has the same name and is used; found a.JPEG"]


def test_links_out_of_the_root_are_refused(tmp_path, write_pair):
    outside = write_pair(tmp_path / "elsewhere", "secret")
    inside = tmp_path / "photos" / "train"
    write_pair(inside, "a", colour=1)
    write_pair(inside, "b", colour=2)
    (inside / "a.png").unlink()
    (inside / "a.png").symlink_to(outside.with_suffix(".png"))
    (inside / "linked").symlink_to(outside.parent)
    source = ReasonSeg(tmp_path / "photos", "train")
    assert [list(source.ids(i)) for i in range(len(source))] == [["b#0"]]
    assert [item.path for item in source.bad] == ["train/a.json", "train/a.png", "train/linked"]
    assert "out of the data root" in source.bad[1].reason
    assert len(ReasonSeg(tmp_path / "photos", "train", root=tmp_path)) == 2
    (tmp_path / "photos" / "val").symlink_to(outside.parent)
    for split in ("val", "../elsewhere"):
        with pytest.raises(DataError, match="out of the data root"):
            ReasonSeg(tmp_path / "photos", split)


def test_explanations(tmp_path, write_pair):
    write_pair(tmp_path / "train", "a", text=["Why?", "What else?"])
    (tmp_path / "explanatory").mkdir()
    path = tmp_path / "explanatory" / "train.json"
    path.write_text(json.dumps([{"image": "a.png", "query": "Why?", "outputs": "Because."}]))
    assert [query.explanation for query in ReasonSeg(tmp_path, "train").queries(0)] == ["Because.", ""]
    path.write_text("{}")
    source = ReasonSeg(tmp_path, "train")
    assert len(source) == 1
    assert [item.path for item in source.bad] == ["explanatory/train.json"]


def test_missing_split(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        ReasonSeg(tmp_path, "train")


@pytest.mark.external
def test_real_annotations_parse_and_paint():
    files = sorted(shared_data("reasonseg_annotations").glob("*/*.json"))
    assert len(files) == 12
    for path in files:
        annotation = read_annotation(path)
        raw = json.loads(path.read_text(encoding="utf-8"))
        assert (list(annotation.texts), annotation.is_sentence) == (raw["text"], raw["is_sentence"])
        target = paint_target(annotation.shapes, canvas_of(annotation.shapes))
        plain = np.zeros_like(target)  # of one label the order of painting cannot matter
        for shape in raw["shapes"]:
            if shape["label"] == "target":
                points = np.array(shape["points"]).astype(np.int32)
                cv2.polylines(plain, [points], True, 1, 1)
                cv2.fillPoly(plain, [points], 1)
        hidden = target == IGNORE
        np.testing.assert_array_equal((target == 1)[~hidden], (plain == 1)[~hidden])
        assert hidden.any() == any(shape["label"] == "ignore" for shape in raw["shapes"])


@pytest.mark.external
def test_real_explanations_reach_their_queries(tmp_path):
    place = shared_data("reasonseg_annotations")
    name = "10619389843_339d3c9434_o"
    assert len(read_explanations(place / "explanatory_train_first6.json")) == 6
    for folder in ("train", "explanatory"):
        (tmp_path / folder).mkdir()
    shutil.copy(place / "explanatory_train_first6.json", tmp_path / "explanatory" / "train.json")
    shutil.copy(place / "train" / f"{name}.json", tmp_path / "train")
    Image.new("RGB", (64, 48)).save(tmp_path / "train" / f"{name}.jpg")
    explained = [bool(query.explanation) for query in ReasonSeg(tmp_path, "train").queries(0)]
    assert explained == [True, False, False, False, False, False]


@pytest.mark.external
def test_street_photographs():
    place = shared_data("camvid_reasonseg")
    for split, images, queries in [("train", 367, 835), ("val", 101, 101)]:
        source = ReasonSeg(place, split)
        assert (len(source), len(source.records), source.bad) == (images, images, ())
        assert sum(len(source.ids(i)) for i in range(len(source))) == queries
        group = source.group(len(source) - 1)
        assert group.image.shape == (360, 480, 3)
        assert all(example.target.shape == (360, 480) for example in group.examples)
