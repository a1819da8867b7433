"""What is no text is refused where it enters, and a check finds all of it that training would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtune.core.config import merge_overrides, validate
from segtune.core.errors import CheckpointError, ConfigError, DataError
from segtune.core.files import read_json, read_jsonl
from segtune.core.yaml_files import load_mapping
from segtune.data.check import check_dataset
from segtune.data.config import AugmentConfig, DataConfig
from segtune.data.prepare import prepare
from segtune.data.sources.classes import read_classes
from segtune.data.sources.coco_file import read_coco
from segtune.metrics.dense_predictions import parse_dense_prediction
from segtune.metrics.predictions import parse_prediction

HALF = "half \ud83d"
BAD = (HALF, "\x1b[31mred", "nul \x00", "word " * 1000)


def _printable(text: str) -> None:
    text.encode("utf-8")
    assert not {"\x1b", "\x00"} & set(text)


@pytest.mark.parametrize("bad", BAD)
def test_a_text_is_a_bad_item_for_check_and_training(tmp_path, write_pair, bad) -> None:
    for index in range(3):
        write_pair(tmp_path / "photos/train", f"a{index}", colour=index)
    write_pair(tmp_path / "photos/train", "x", colour=9, text=["a", bad])
    report = check_dataset(tmp_path / "photos")
    assert [item.path for item in report.bad] == ["train/x.json"]
    _printable(report.text())
    name = f"reasonseg:{tmp_path / 'photos'}@train"
    prepared = prepare(name, DataConfig(train=name, max_bad_fraction=0.5))
    assert prepared.bad == report.bad
    assert "train/a0#0" not in str(prepared.to_dict()["bad"])
    json.dumps(prepared.to_dict(), ensure_ascii=False).encode()


@pytest.mark.parametrize("key", ["text", "image", "outputs", "annotation"])
def test_an_entry_of_an_index_costs_only_itself(tmp_path, write_pair, key) -> None:
    write_pair(tmp_path / "photos/train", "a")
    entries = [{"image": "a.png", "text": ["another"]}, {"image": "a.png", "text": ["more"], key: HALF}]
    (tmp_path / "photos/train.json").write_text(json.dumps(entries))
    report = check_dataset(f"reasonseg:{tmp_path / 'photos'}@train")
    assert [item.path for item in report.bad] == ["train.json"]
    assert "entry 1" in report.bad[0].reason
    _printable(report.text())


@pytest.mark.parametrize("bad", [*BAD, "two\nlines", "a\ttab"])
def test_names_of_classes(tmp_path, bad) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"classes": ["background", bad]}))
    with pytest.raises(DataError, match=r"classes\.json") as caught:
        read_classes(path)
    _printable(str(caught.value))
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": bad}]}))
    with pytest.raises(DataError, match=r"coco\.json") as caught:
        read_coco(path)
    _printable(str(caught.value))


@pytest.mark.parametrize("key", ["texts", "words"])
def test_texts_of_classes(tmp_path, key) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"classes": ["background", "car"], key: {"car": [HALF]}}))
    with pytest.raises(DataError, match=rf"classes\.json, {key}: "):
        read_classes(path)


def test_a_file_name_in_coco_costs_only_its_image(tmp_path) -> None:
    sizes = {"height": 12, "width": 16}
    images = [{"id": 1, "file_name": "a.png", **sizes}, {"id": 2, "file_name": HALF + ".png", **sizes}]
    path = tmp_path / "photos/train/_annotations.coco.json"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(path.parent / "a.png")
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    path.write_text(json.dumps(content))
    report = check_dataset(f"coco:{tmp_path / 'photos'}@train")
    assert len(report.bad) == 1
    _printable(report.text())


@pytest.mark.parametrize("bad", [HALF, "\x1b[31m", "\x00"])
def test_settings(tmp_path, bad) -> None:
    for suffix in (".yaml", ".json"):  # JSON is nearly YAML: both know the escape of half a character
        path = tmp_path / f"recipe{suffix}"
        path.write_text(json.dumps({"description": "x", "data": {"words": {"car": [bad]}}}))
        with pytest.raises(ConfigError, match=r"data\.words\.car\.0") as caught:
            load_mapping(path)
        _printable(str(caught.value))
    with pytest.raises(ConfigError):
        validate(DataConfig, {"train": bad}, where="a program")
    with pytest.raises(ConfigError):
        validate(AugmentConfig, merge_overrides({}, [f"{bad}=1"]), where="the command line")


def test_predictions_of_others() -> None:
    for line in ({"id": HALF, "masks": []}, {"id": "a#0", "masks": [], "text": HALF}):
        with pytest.raises(DataError, match=r"p\.jsonl:3"):
            parse_prediction(json.dumps(line), "p.jsonl:3")
    assert parse_prediction(json.dumps({"id": "a#0", "masks": [], "text": "\x1b \x00"}), "x").text == "\x1b \x00"
    for line in ({"id": HALF}, {"id": "a", "classes": {HALF: {}}}):
        with pytest.raises(DataError, match=r"p\.jsonl:3"):
            parse_dense_prediction(json.dumps({"size": [1, 1], "classes": None, "mask": None, **line}), "p.jsonl:3")


def test_files_of_a_run(tmp_path: Path) -> None:
    for name, read in (("a.json", read_json), ("a.jsonl", read_jsonl)):
        (tmp_path / name).write_text(json.dumps({"query": HALF}) + "\n")
        with pytest.raises(CheckpointError, match="half of a character"):
            read(tmp_path / name)
        (tmp_path / name).write_text(json.dumps({"query": "\U0001f600 \x1b"}) + "\n")
        read(tmp_path / name)
