from __future__ import annotations

import json

import pytest

from segtune.core.errors import DataError
from segtune.data.notes import Notes
from segtune.data.sources.classes import Classes, find_classes, has_background, read_classes
from segtune.data.sources.coco_categories import read_categories
from segtune.data.sources.masks import MaskFolder
from segtune.data.sources.texts import classes_of_words


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


COMPOSED, APART = "caf\u00e9", "cafe\u0301"
COLLISIONS = [
    (["Car", "car"], "'Car' and 'car'", "case or space"),
    (["car", " car "], "'car' and ' car '", "case or space"),
    (["traffic light", "Traffic  light"], "'traffic light' and 'Traffic  light'", "case or space"),
    ([COMPOSED, APART], f"'{COMPOSED}' and '{APART}'", "how accents are stored"),
    ([COMPOSED, APART.upper()], f"'{COMPOSED}' and '{APART.upper()}'", "case or space"),
]


@pytest.mark.parametrize(("names", "pair", "how"), [*COLLISIONS, (["background", "Background "], "'Background '", "")])
def test_names_that_a_reader_takes_for_one_are_told(tmp_path, names, pair, how):
    (note,) = _read(tmp_path, ["background", "tree", *names][2 * (names[0] == "background") :]).notes
    assert pair in note
    assert f"are two classes whose names differ only in {how}" in note
    assert note.endswith("(classes.json)")


@pytest.mark.parametrize(("names", "pair", "how"), COLLISIONS)
def test_coco_and_a_recipe_tell_the_same(tmp_path, names, pair, how):
    notes = Notes()
    entries = [{"id": number, "name": name} for number, name in enumerate(["Background ", *names])]
    classes, _ = read_categories(entries, set(), tmp_path / "a.json", notes)
    assert classes == ("background", *names)
    of_recipe = classes_of_words({name: [f"word {index}"] for index, name in enumerate(names)}).notes
    for note in (*notes.lines(), *of_recipe):
        assert pair in note
        assert how in note
    assert (len(notes.lines()), len(of_recipe)) == (1, 1)


def test_collisions_reach_those_who_check_and_train(tmp_path, write_masked, write_classes):
    write_classes(tmp_path, ["background", "Car", "car"])
    write_masked(tmp_path, "a", [[0, 1], [2, 1]])
    assert any("'Car' and 'car' are two classes" in note for note in MaskFolder(tmp_path).notes)


def test_the_background_is_known_by_its_name():
    assert has_background(("Background ", "a"))
    assert not has_background(("a", "background"))
    assert not has_background(())
