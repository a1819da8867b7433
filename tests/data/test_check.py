from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tests.external import shared_data

from segtune.core.errors import ConfigError, DataError
from segtune.data.check import check_dataset
from segtune.data.dense.open import open_dense_source
from segtune.data.spec import DataSpec


def test_counts(tmp_path, write_pair):
    ignore = {"label": "Ignore area", "points": [[0, 0], [15, 0], [15, 0]]}  # one row of 16 of 192 pixels
    flag = {"label": "flag", "points": [[0, 0], [1, 1]]}
    target = {"label": "target", "points": [[2, 2], [5, 2], [5, 5], [2, 5]]}
    write_pair(tmp_path / "train", "a", text=["x", "y"], shapes=[target, ignore, flag], kind="colour")
    write_pair(tmp_path / "train", "b", is_sentence=True, shapes=[], size=(10, 30))
    report = check_dataset(tmp_path)
    (train,) = report.splits
    assert (train.files, train.records, train.images, train.queries, train.short, train.long) == (2, 2, 2, 3, 2, 1)
    assert train.kinds == {"colour": 2}
    assert train.shapes == {"target": 1, "ignore": 1, "flag": 1}
    assert train.empty_targets == 1
    assert (train.height, train.width) == ((10, 12), (16, 30))
    assert train.mean_target_fraction == pytest.approx(2 * 16 / (192 - 16) / 3)
    assert report.bad == ()
    assert json.loads(json.dumps(report.to_dict()))["splits"][0]["queries"] == 3
    assert "no bad items" in report.text()


def test_damage_in_the_middle_of_an_image_is_found(tmp_path, write_pair):
    write_pair(tmp_path, "good")
    write_pair(tmp_path, "hurt")
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "hurt.png")
    content = bytearray((tmp_path / "hurt.png").read_bytes())
    content[3000:6000] = bytes(3000)
    (tmp_path / "hurt.png").write_bytes(content)
    report = check_dataset(tmp_path)
    assert [item.path for item in report.bad] == ["hurt.png"]
    assert report.splits[0].images == 1
    assert "1 bad item:\n  hurt.png: the image is damaged" in report.text()


def test_leaks_between_splits_are_warned_of(tmp_path, write_pair):
    for split in ("train", "val"):
        write_pair(tmp_path / split, f"{split}_same", colour=5, text=["The  same sentence."], is_sentence=True)
        write_pair(tmp_path / split, f"{split}_own", colour=len(split), text=["the same phrase"])
    report = check_dataset(tmp_path)
    (shared,) = report.shared
    assert (shared.splits, shared.images, shared.sentences, shared.phrases) == (("train", "val"), 1, 1, 1)
    assert shared.examples == ("val/val_same.png",)
    assert any("share 1 images (val/val_same.png)" in warning for warning in report.warnings)
    assert any("share 1 sentences" in warning for warning in report.warnings)
    assert check_dataset(f"reasonseg:{tmp_path}@val").shared == ()


def test_bad_items_extra_images_and_stray_shapes_are_listed(tmp_path, write_pair):
    write_pair(tmp_path, "a", shapes=[{"label": "target", "points": [[20, 2], [25, 2], [25, 5]]}])
    write_pair(tmp_path, "b", shapes=None)
    write_pair(tmp_path, "c").unlink()
    report = check_dataset(tmp_path)
    assert [item.path for item in report.bad] == ["b.json"]
    assert report.splits[0].images_without_annotation == ["c.png"]
    assert report.splits[0].shapes_outside == 1
    warnings = "\n".join(report.warnings)
    for words in ("1 images have no annotation: c.png", "1 shapes reach outside", "every target is empty"):
        assert words in warnings


def test_a_text_that_may_not_fit_a_model_is_told(tmp_path, write_pair):
    write_pair(tmp_path, "a", text=["the thing beside the box " * 20])
    write_pair(tmp_path, "b", colour=1, text=["the thing beside the box " * 60])
    write_pair(tmp_path, "c", colour=2, text=["左边的蓝色盒子" * 60])  # three bytes, and as many tokens, a sign
    (warning,) = check_dataset(tmp_path).warnings
    assert "may not fit the context of a model" in warning
    assert "(2: b.json, c.json)" in warning


def test_a_target_that_is_drawn_and_has_no_pixel_is_told(tmp_path, write_pair):
    outside, dot = [[50, 50], [60, 50], [60, 60]], [[5, 5], [5, 5]]
    shapes = {
        "outside": [{"label": "target", "points": outside}],
        "no_area": [{"label": "target", "points": dot, "shape_type": "circle"}],
        "nothing": [],
        "ignored": [{"label": "ignore", "points": [[0, 0], [5, 0], [5, 5]]}],
    }
    for colour, (name, drawn) in enumerate(shapes.items()):
        write_pair(tmp_path, name, colour=colour, shapes=drawn)
    warnings = check_dataset(tmp_path).warnings
    assert any("a target is drawn and has no pixel" in one and "outside.json" in one for one in warnings)
    assert any(
        "all shapes are labelled to be ignored ('ignore'): the target is empty (ignored.json)" in w for w in warnings
    )
    assert not any("nothing.json" in one for one in warnings)


def test_nothing_usable_explains_the_layout(tmp_path, write_pair):
    write_pair(tmp_path, "a", text=None)
    with pytest.raises(DataError, match=r"(?s)nothing.*DIR/train/NAME\.jpg.*a\.json: the annotation has no 'text'"):
        check_dataset(tmp_path)
    with pytest.raises(ConfigError, match="no files to check"):
        check_dataset("stream:attributes")


def test_progress_counts_the_images(tmp_path, write_pair):
    for index, name in enumerate("abc"):
        write_pair(tmp_path, name, colour=index)
    seen = []
    check_dataset(tmp_path, progress=lambda *told: seen.append(told))
    assert seen == [("", 1, 3), ("", 2, 3), ("", 3, 3)]


@pytest.mark.external
def test_street_photographs():
    report = check_dataset(shared_data("camvid_reasonseg"))
    train, val = report.splits
    assert report.bad == ()
    assert (train.split, train.images, train.queries) == ("train", 367, 835)
    assert (val.split, val.images, val.queries, val.short, val.long) == ("val", 101, 101, 43, 58)
    assert val.mean_target_fraction == pytest.approx(0.103, abs=0.001)  # what painting everything scores
    assert sum(shared.images for shared in report.shared) == 0


def _questions_beside(tmp_path, write_pair, content, place="classes.json"):
    write_pair(tmp_path / "train", "a", text=["the car"])
    write_pair(tmp_path / "val", "b", colour=9)
    (tmp_path / place).write_text(content)
    return check_dataset(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (r'{"classes": ["background", "car\ud83d"], "words": {}}', "half of a character"),
        (r'{"classes": ["background", "car"], "words": {"car": ["van\ud83d"]}}', "half of a character"),
        ('{"classes": ["background"', "JSON"),
        ('{"classes": ["background", "car"], "texts": {"bus": ["a bus"]}}', "names no class"),
        ('{"classes": ["a", "b"], "texts": {"a": ["what"], "b": ["what"]}}', "a text stands for two classes"),
    ],
)
def test_classes_beside_questions_are_read_as_a_dense_training_reads_them(tmp_path, write_pair, content, reason):
    report = _questions_beside(tmp_path, write_pair, content)
    (item,) = report.bad
    assert item.path == "classes.json"
    assert reason in item.reason
    with pytest.raises((ConfigError, DataError)):
        open_dense_source(DataSpec.parse(f"{tmp_path}@train"))


def test_classes_that_nothing_is_said_of_are_told(tmp_path, write_pair):
    report = _questions_beside(tmp_path, write_pair, '["background", "car", "bus"]')
    assert report.bad == ()
    assert any("no words of car, bus" in warning for warning in report.warnings)


def test_good_classes_beside_questions_are_in_order(tmp_path, write_pair):
    report = _questions_beside(tmp_path, write_pair, '{"classes": ["background", "car"], "words": {"car": ["car"]}}')
    assert (report.bad, [warning for warning in report.warnings if "classes" in warning]) == ((), [])


def test_an_annotation_called_classes_is_none(tmp_path, write_pair):
    write_pair(tmp_path, "classes")
    assert check_dataset(tmp_path).bad == ()
