"""What training prints to try next."""

from __future__ import annotations

import json
import os
from pathlib import Path

from PIL import Image

from segtune.cli.train import _example, _image, _root
from segtune.data.spec import DataSpec


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
