"""What training prints to try next."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from segtune.cli.train import _example, _flip, _image, _root
from segtune.cli.views import inference
from segtune.core.rundir import RunDir
from segtune.data.spec import DataSpec
from segtune.engine.dense_config import TtaConfig


def _linked(tmp_path: Path) -> DataSpec:
    """A split that is a link to another place."""
    store = tmp_path / "store/val"
    store.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(store / "a.JPG", format="JPEG")
    (store / "a.json").write_text(json.dumps({"text": ["the dog"], "shapes": []}))
    (tmp_path / "set").mkdir()
    (tmp_path / "set/val").symlink_to(store)
    return DataSpec("reasonseg", str(tmp_path / "set"), "val")


def test_the_root_is_named_where_links_need_it(tmp_path):
    spec = _linked(tmp_path)
    assert _root(spec, str(tmp_path)) == f" --root {tmp_path}"
    assert _root(spec, str(tmp_path / "set")) == _root(spec, None) == ""


def test_the_example_follows_the_rules_of_the_data(tmp_path):
    spec = _linked(tmp_path)
    os.mkfifo(tmp_path / "store/val/0.json")
    os.mkfifo(tmp_path / "store/val/0.jpg")
    assert _example(spec, str(tmp_path)) == f"{tmp_path}/set/val/a.JPG 'the dog'"
    assert _image(spec) == f"{tmp_path}/set/val/a.JPG"


@pytest.mark.parametrize(
    ("classes", "sided", "mirror", "option"),
    [
        (("background", "label"), (), "auto", " --flip"), (("background", "left_hand"), (), "auto", ""),
        (("background", "left_hand"), (), "always", " --flip"), (("background", "cup"), ("cup",), "auto", ""),
        (("left_hand", "right_hand"), (), "auto", " --flip"),
    ],
)  # fmt: skip
def test_mirror_images_are_offered_only_where_they_are_taken(classes, sided, mirror, option, tmp_path, monkeypatch):
    about = {"classes": list(classes), "sided": list(sided)}
    found = SimpleNamespace(about=about)
    monkeypatch.setattr("segtune.engine.checkpoint_names.find_checkpoint", lambda name: found)
    config = SimpleNamespace(
        eval=SimpleNamespace(tta=TtaConfig(mirror=mirror)), model=SimpleNamespace(binary_classes=())
    )
    assert _flip(RunDir(tmp_path), config) == option


def test_a_command_may_say_what_is_done_about_sides():
    assert inference(True, False, "1", None, "always").tta == TtaConfig(flip=True, mirror="always")
    assert "mirror" not in inference(True, False, "1", None).tta.model_fields_set
