from __future__ import annotations

import json

import pytest

from segtune.core.errors import DataError
from segtune.data.sources.classes import Classes, find_classes, has_background, read_classes


def _read(tmp_path, content):
    path = tmp_path / "classes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_classes(path)


def test_names_and_the_ignored_value(tmp_path):
    assert _read(tmp_path, {"classes": ["sky", "road"], "ignore_index": 11, "author": "me"}) == Classes(
        ("sky", "road"), 11
    )
    assert _read(tmp_path, {"classes": ["sky", "road"], "ignore_index": None}).ignore_index is None
    assert _read(tmp_path, ["sky", "road"]) == Classes(("sky", "road"))
    said = _read(tmp_path, {"classes": ["sky", "road"], "texts": {"sky": ["what is up?"]}, "words": {"road": ["road"]}})
    assert (said.texts, said.words) == ({"sky": ("what is up?",)}, {"road": ("road",)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("7", "no description"),
        ({}, "'classes' is not as expected"),
        ({"classes": "sky"}, "'classes' is not as expected"),
        ({"classes": ["sky", " "]}, "'classes' is not as expected"),
        ({"classes": ["sky"]}, "(?s)wrong number.*found: 1"),
        ({"classes": [str(i) for i in range(256)]}, "(?s)wrong number.*found: 256"),
        ({"classes": ["sky", "road", "sky"]}, "(?s)named twice.*sky"),
        ({"classes": ["a", "b"], "ignore_index": 256}, "'ignore_index' is not as expected"),
        ({"classes": ["a", "b"], "ignore_index": True}, "'ignore_index' is not as expected"),
        ({"classes": ["a", "b"], "ignore_index": "255"}, "'ignore_index' is not as expected"),
        ({"classes": ["a", "void"], "ignore_index": 1}, "(?s)index of a class.*'void'.*data.exclude"),
        ({"classes": ["a", "b"], "texts": ["a"]}, "'texts' is not as expected"),
        ({"classes": ["a", "b"], "words": {"a": ["x", ""]}}, "'words' is not as expected"),
        ({"classes": ["a", "b"], "words": {"c": ["x"]}}, "(?s)'words' names no class.*found: c"),
    ],
)
def test_wrong_descriptions_say_what_is_wrong(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        _read(tmp_path, content)
    assert caught.value.where == str(tmp_path / "classes.json")


def test_the_description_of_a_split_comes_first(tmp_path, write_classes):
    write_classes(tmp_path, ["a", "b"])
    write_classes(tmp_path / "val", ["c", "d"])
    assert find_classes(tmp_path, "val", (tmp_path,)).names == ("c", "d")
    assert find_classes(tmp_path, "train", (tmp_path,)).names == ("a", "b")


def test_a_dataset_without_one_and_one_outside_the_root(tmp_path, write_classes):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=r"(?s)does not say what its classes are.*classes\.json"):
        find_classes(tmp_path / "data", "", (tmp_path / "data",))
    (tmp_path / "data" / "classes.json").symlink_to(write_classes(tmp_path))
    with pytest.raises(DataError, match="out of the data root"):
        find_classes(tmp_path / "data", "", (tmp_path / "data",))


def test_the_background_is_known_by_its_name():
    assert has_background(("Background", "a"))
    assert not has_background(("a", "background"))
    assert not has_background(())
