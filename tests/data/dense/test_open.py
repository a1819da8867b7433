from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from segtune.core.errors import ConfigError, DataError
from segtune.data.dense.open import open_dense_source
from segtune.data.dense.views import is_drawn
from segtune.data.sources.masks import MaskFolder
from segtune.data.sources.synthetic.dense_stream import LabelledScenes
from segtune.data.spec import DataSpec


def _open(text: object, **changes):
    return open_dense_source(DataSpec.parse(str(text)), **changes)


def test_index_masks(tmp_path, write_masked, write_classes):
    write_classes(tmp_path)
    for name in "ab":
        write_masked(tmp_path / "train", name, [[0, 1]])
    source = _open(tmp_path)
    assert (source.classes, len(source)) == (("background", "wound"), 2)
    assert len(_open(f"masks:{tmp_path}@train", limit=1)) == 1
    write_masked(tmp_path / "val", "c", [[0, 1]])
    with pytest.raises(DataError, match="several splits: name one"):
        _open(tmp_path)


def test_instances(tmp_path):
    (tmp_path / "train").mkdir()
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "train/a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 6}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [],
    }
    (tmp_path / "train/_annotations.coco.json").write_text(json.dumps(content))
    assert _open(tmp_path).item(0).labels.shape == (4, 6)


def test_questions_with_classes_beside_them_or_in_the_recipe(tmp_path, write_pair, write_classes):
    write_pair(tmp_path / "train", "a", text=["the dog"])
    with pytest.raises(DataError, match=r"classes\.json"):
        _open(tmp_path)
    assert _open(tmp_path, words={"background": [], "dog": ["dog"]}).item(0).labels.sum() == 16
    write_classes(tmp_path, ["background", "cat", "dog"], words={"dog": ["dog"], "cat": ["cat"]})
    assert _open(tmp_path).classes == ("background", "cat", "dog")
    assert _open(tmp_path).item(0).labels.sum() == 32


def test_drawn_scenes_become_classes(tmp_path):
    words = {"background": [], "disc": ["disc", "circle"], "box": ["box", "square"]}
    stream = _open("stream:attributes@train", words=words, stream_length=3)
    assert (len(stream), is_drawn(stream)) == (3, True)
    assert not np.array_equal(stream.item(0, 0).image, stream.item(0, 1).image)
    with pytest.raises(ConfigError, match=r"data\.words"):
        _open("stream:attributes@train")
    scenes = _open(f"synth:{tmp_path / 'scenes'}@val", words=words, scenes=10)
    assert not is_drawn(scenes)
    assert scenes.item(0).labels.shape == scenes.item(0).image.shape[:2]


def test_streams_of_classes():
    source = _open("stream:colours@train", seed=5, stream_length=9, limit=4)
    assert (len(source), source.name, is_drawn(source), len(source.classes)) == (4, "colours@train", True, 9)
    item, same = source.item(3, epoch=2), LabelledScenes("colours", 9, seed=5).item(3, epoch=2)
    assert (item.image.tobytes(), item.labels.tobytes()) == (same.image.tobytes(), same.labels.tobytes())
    assert not is_drawn(_open("stream:shapes@val"))
    with pytest.raises(ConfigError, match="no such split"):
        _open("stream:shapes@test")


def test_scenes_on_disk_hold_index_masks_unless_words_are_given(tmp_path, caplog):
    with caplog.at_level("INFO", logger="segtune"):
        source = _open(f"synth:{tmp_path / 'scenes'}@val", scenes=10, seed=3)
    assert isinstance(source, MaskFolder)
    assert (len(source), source.classes[1]) == (2, "disc")
    assert (tmp_path / "scenes/train/masks").is_dir()
    again = _open(f"synth:{tmp_path / 'scenes'}@val", scenes=12, seed=4)
    assert (again.item(1).labels == source.item(1).labels).all()
    assert _open(f"{tmp_path / 'scenes'}@train").item(0).labels.max() > 0
    words = {"background": [], "disc": ["disc"], "box": ["square"]}
    _open(f"synth:{tmp_path / 'asked'}@val", scenes=10, words=words)
    with pytest.raises(DataError, match=r"classes\.json"):
        _open(f"synth:{tmp_path / 'asked'}@val")
