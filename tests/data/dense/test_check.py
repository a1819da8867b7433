from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from segtune.cli.main import app
from segtune.core.errors import DataError
from segtune.data.check import check_dataset


@pytest.fixture
def photos(tmp_path, write_masked, write_classes):
    write_classes(tmp_path, ["background", "cat", "dog"], ignore_index=9)
    for split in ("train", "val"):
        for name in "ab":
            write_masked(tmp_path / split, name, [[0, 0, 1, 9]], seed=len(split))
    return tmp_path


def test_counts_and_warnings(photos, write_masked):
    write_masked(photos / "train", "c", [[2, 2], [1, 0]])
    shutil.copy(photos / "train/images/a.png", photos / "val/images/b.png")
    told: list[tuple[str, int, int]] = []
    report = check_dataset(photos, progress=lambda *done: told.append(done))
    train, val = report.splits
    assert (report.kind, train.images, train.files, train.height, train.width) == ("masks", 3, 3, (1, 2), (2, 4))
    assert train.counts.pixels.tolist() == [5, 3, 2]
    assert report.bad == ()
    assert report.warnings == (
        "val: no pixel of dog",
        "train and val share 1 images (val/images/b.png), so scores flatter the model",
    )
    assert told[-1] == ("val", 2, 2)
    assert "train: 3 of 3 images can be used, 2..4 x 1..2 pixels" in report.text()
    facts = json.loads(json.dumps(report.to_dict()))
    assert facts["splits"][1]["counts"]["classes"]["cat"] == {"pixels": 2, "images": 2}
    assert val.split == "val"
    assert check_dataset(f"{photos}@val").splits[0].images == 2


def test_bad_values_and_damage_are_found_and_the_command_exits_3(photos, write_masked):
    write_masked(photos / "train", "b", [[0, 5]])
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    write_masked(photos / "train", "hurt", np.zeros((60, 60)))
    Image.fromarray(noise).save(photos / "train/images/hurt.png")
    content = bytearray((photos / "train/images/hurt.png").read_bytes())
    content[3000:6000] = bytes(3000)
    (photos / "train/images/hurt.png").write_bytes(content)
    (photos / "val/masks/a.png").unlink()
    report = check_dataset(photos)
    assert [item.path for item in report.bad] == ["train/images/hurt.png", "train/masks/b.png", "val/images/a.png"]
    shown = CliRunner().invoke(app, ["data", "check", str(photos)])
    assert shown.exit_code == 3
    assert "train/masks/b.png: the mask holds values outside the classes; found 5 (1 pixels)" in shown.output
    shown = CliRunner().invoke(app, ["data", "check", str(photos), "--json"])
    assert (shown.exit_code, json.loads(shown.output)["bad"]) == (3, 3)


def test_different_classes_and_ignored_splits(photos, write_classes):
    write_classes(photos / "val", ["x", "y"], ignore_index=9)
    Image.fromarray(np.full((1, 4), 9, np.uint8)).save(photos / "val/masks/a.png")
    Image.fromarray(np.full((1, 4), 9, np.uint8)).save(photos / "val/masks/b.png")
    warnings = check_dataset(photos).warnings
    assert "train and val have different classes" in warnings
    assert "val: every pixel is ignored" in warnings


def test_instances(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        Image.fromarray(np.full((8, 9, 3), len(split), np.uint8)).save(tmp_path / split / "a.png")
        square = [1, 1, 4, 1, 4, 4, 1, 4]
        content = {
            "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 9}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [square]}],
        }
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(content))
    report = check_dataset(tmp_path)
    assert (report.kind, report.warnings) == ("coco", ())
    assert [split.counts.pixels.tolist() for split in report.splits] == [[63, 9], [63, 9]]


def test_nothing_that_can_be_used(photos):
    for split in ("train", "val"):
        shutil.rmtree(photos / split / "masks")
        (photos / split / "masks").mkdir()
    with pytest.raises(DataError, match=r"(?s)nothing that can be used.*4 bad items"):
        check_dataset(f"masks:{photos}")
