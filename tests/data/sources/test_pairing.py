"""Which file is the picture: one rule for ReasonSeg, index masks and COCO."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtune.data.check import check_dataset
from segtune.data.sources.coco import CocoInstances
from segtune.data.sources.masks import MaskFolder
from segtune.data.sources.pairing import FilesByStem, StoredNames
from segtune.data.sources.reasonseg import ReasonSeg

TOGETHER, APART = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def _bad(source) -> list[str]:
    return [str(item) for item in source.bad]


def test_the_first_suffix_in_any_case_is_used():
    files = FilesByStem(["b.PNG", "b.Jpeg", "a.webp", "b.txt", "b.jpg", "b.JPG"])
    assert files.stems == ("a", "b")
    assert files.all_of("b") == ("b.JPG", "b.jpg", "b.Jpeg", "b.PNG")
    assert [item.path for item in files.unused("b", "b.JPG")] == ["b.jpg", "b.Jpeg", "b.PNG"]


def test_accents_pair_only_where_there_is_no_choice():
    files = FilesByStem([f"{TOGETHER}.jpg"])
    assert files.partners([APART]) == {APART: f"{TOGETHER}.jpg"}
    assert files.partners([APART, TOGETHER]) == {TOGETHER: f"{TOGETHER}.jpg"}
    assert f"{TOGETHER}.jpg" in files.near(APART)
    assert files.find(APART) == f"{TOGETHER}.jpg"
    both = FilesByStem([f"{TOGETHER}.jpg", f"{APART}.jpg"])
    assert both.partners([APART]) == {APART: f"{APART}.jpg"}
    assert FilesByStem(["Photo.jpg"]).partners(["photo"]) == {}
    assert "Photo.jpg" in FilesByStem(["Photo.jpg"]).near("photo")


def test_twins_are_told_in_questions_and_masks_alike(tmp_path, write_pair, write_masked, write_classes):
    write_pair(tmp_path / "asked", "x")
    Image.new("RGB", (16, 12)).save(tmp_path / "asked/x.JPG", format="JPEG")
    (tmp_path / "asked/x.JSON").write_bytes((tmp_path / "asked/x.json").read_bytes())
    write_pair(tmp_path / "asked", "x.between", colour=1)  # sorted between the two annotations of x
    source = ReasonSeg(tmp_path / "asked")
    assert [list(source.ids(i)) for i in range(len(source))] == [["x#0"], ["x.between#0"]]
    assert source.image_path(0).name == "x.JPG"
    assert _bad(source) == [
        "x.json: another annotation has the same name but for case",
        "x.png: another image has the same name and is used; found x.JPG",
    ]
    write_classes(tmp_path / "dense")
    write_masked(tmp_path / "dense", "x", np.zeros((12, 16)))
    Image.new("RGB", (16, 12)).save(tmp_path / "dense/images/x.JPG", format="JPEG")
    (tmp_path / "dense/masks/x.PNG").write_bytes((tmp_path / "dense/masks/x.png").read_bytes())
    dense = MaskFolder(tmp_path / "dense")
    assert dense.image_path(0).name == "x.JPG"
    assert _bad(dense) == [
        "images/x.png: another image has the same name and is used; found x.JPG",
        "masks/x.png: another image has the same name and is used; found x.PNG",
    ]


def test_an_index_may_name_the_twin(tmp_path, write_pair):
    write_pair(tmp_path / "train", "x")
    Image.new("RGB", (16, 12)).save(tmp_path / "train/x.jpg")
    (tmp_path / "train.json").write_text(json.dumps([{"image": "x.png", "text": "the other"}]))
    source = ReasonSeg(tmp_path, "train")
    assert source.image_path(0).name == "x.png"
    assert _bad(source) == ["train/x.jpg: another image has the same name and is used; found x.png"]


@pytest.mark.parametrize(("picture", "other"), [(TOGETHER, APART), (APART, TOGETHER)])
def test_accents_stored_otherwise_belong_together(tmp_path, write_pair, write_masked, write_classes, picture, other):
    write_pair(tmp_path / "asked", other).with_suffix(".png").rename(tmp_path / "asked" / f"{picture}.png")
    (tmp_path / "asked.json").write_text("[]")
    report = check_dataset(tmp_path / "asked")
    assert (report.bad, report.splits[0].records, report.splits[0].images_without_annotation) == ((), 1, [])
    assert any(f"{picture}.png" in warning and "accents" in warning for warning in report.warnings)

    write_classes(tmp_path / "dense")
    write_masked(tmp_path / "dense", picture, np.zeros((12, 16)))
    (tmp_path / f"dense/masks/{picture}.png").rename(tmp_path / f"dense/masks/{other}.png")
    dense = check_dataset(tmp_path / "dense")
    assert (dense.bad, dense.splits[0].images) == ((), 1)
    assert any("accents" in warning for warning in dense.warnings)

    image = {"id": 1, "file_name": f"{other}.png", "height": 12, "width": 16}
    content = {"images": [image], "categories": [{"id": 1, "name": "a"}], "annotations": []}
    (tmp_path / "asked/_annotations.coco.json").write_text(json.dumps(content))
    coco = CocoInstances(tmp_path / "asked")
    assert (len(coco), coco.bad, coco.item_id(0)) == (1, (), other)
    assert coco.image_path(0).name == f"{picture}.png"
    assert "accents" in coco.notes[0]


def test_names_that_collide_elsewhere_are_told(tmp_path, write_pair):
    for colour, name in enumerate((TOGETHER, APART, "Dog", "dog")):
        write_pair(tmp_path, name, colour=colour)
    source = ReasonSeg(tmp_path)
    assert (len(source), source.bad) == (4, ())
    assert f"{APART} and {TOGETHER}" in source.notes[0]
    assert "Dog and dog" in source.notes[0]


def test_the_near_name_is_told_where_nothing_belongs(tmp_path, write_pair):
    write_pair(tmp_path, "dog").with_suffix(".png").rename(tmp_path / "Dog.png")
    assert _bad(ReasonSeg(tmp_path))[0].endswith("there is Dog.png, which differs in case or in how accents are stored")


def test_folders_of_stored_names(tmp_path):
    (tmp_path / APART).mkdir()
    (tmp_path / APART / "a.png").write_bytes(b"x")
    names = StoredNames(tmp_path)
    assert names.find(f"{TOGETHER}/a.png") == tmp_path / APART / "a.png"
    assert names.find(f"{TOGETHER}/b.png") == tmp_path / TOGETHER / "b.png"


def test_names_that_are_not_utf8_are_bad_items(tmp_path, write_pair, write_masked, write_classes):
    write_pair(tmp_path / "asked/train", "good")
    write_pair(tmp_path / "asked/train", "odd", colour=1)
    for suffix in ("png", "json"):
        os.rename(tmp_path / f"asked/train/odd.{suffix}", _odd(tmp_path / "asked/train", suffix))
    os.mkdir(_odd(tmp_path / "asked/train", "d"))
    Path(_odd(tmp_path / "asked/train", "txt").decode("utf-8", "surrogateescape")).write_text("nobody reads it")
    report = check_dataset(tmp_path / "asked")
    json.dumps(report.to_dict(), ensure_ascii=False).encode()
    report.text().encode()
    assert report.splits[0].records == 1
    assert len(report.bad) == 3
    assert all("not UTF-8" in item.reason for item in report.bad)

    write_classes(tmp_path / "dense")
    for name in ("good", "odd"):
        write_masked(tmp_path / "dense", name, np.zeros((12, 16)))
    for folder in ("images", "masks"):
        os.rename(tmp_path / f"dense/{folder}/odd.png", _odd(tmp_path / f"dense/{folder}", "png"))
    dense = check_dataset(tmp_path / "dense")
    dense.text().encode()
    assert (dense.splits[0].images, len(dense.bad)) == (1, 2)


def _odd(folder: Path, suffix: str) -> bytes:
    return os.fsencode(folder) + b"/foto_\xe9\xff." + suffix.encode()


def test_what_is_no_regular_file_is_a_bad_item(tmp_path, write_pair, write_masked, write_classes):
    write_pair(tmp_path / "asked/train", "good")
    for name in ("x.json", "x.jpg"):
        os.mkfifo(tmp_path / "asked/train" / name)
    os.mkfifo(tmp_path / "asked/train.json")
    (tmp_path / "asked/train/folder.png").mkdir()
    (tmp_path / "asked/explanatory").mkdir()
    os.mkfifo(tmp_path / "asked/explanatory/train.json")
    report = check_dataset(tmp_path / "asked")
    assert [item.path for item in report.bad] == [
        "explanatory/train.json",
        "train.json",
        "train/folder.png",
        "train/x.jpg",
        "train/x.json",
    ]
    assert sum("FIFO" in item.reason for item in report.bad) == 4
    write_classes(tmp_path / "dense")
    write_masked(tmp_path / "dense", "good", np.zeros((12, 16)))
    os.mkfifo(tmp_path / "dense/images/x.png")
    os.mkfifo(tmp_path / "dense/masks/x.png")
    assert [item.path for item in check_dataset(tmp_path / "dense").bad] == ["images/x.png", "masks/x.png"]
