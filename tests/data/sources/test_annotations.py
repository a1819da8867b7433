from __future__ import annotations

import json

import pytest

from segtune.core.errors import DataError
from segtune.data.sources.annotations import read_annotation, read_explanations

TRIANGLE = {"label": "target", "points": [[1, 1], [5, 1], [3, 4]]}
GOOD = {"text": ["a thing"], "is_sentence": True, "shapes": [TRIANGLE]}


def _write(path, **changes):
    content = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_encodings(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps({**GOOD, "text": ["café – “résumé”"]}, ensure_ascii=False).encode(encoding))
    assert read_annotation(path).texts == ("café – “résumé”",)


def test_a_single_text_is_a_list_of_one_and_a_file_may_leave_open_what_it_is(tmp_path):
    open_ = read_annotation(_write(tmp_path / "a.json", text="the red box", is_sentence=None))
    assert open_.texts == ("the red box",)
    assert open_.is_sentence is None


@pytest.mark.parametrize("bad", ["half \ud83d", "\x1b[31mred", "nul \x00", "word " * 1000])
def test_what_is_no_text_is_refused_by_file(tmp_path, bad):
    for changes in ({"text": ["a", bad]}, {"kind": bad}, {"shapes": [{**TRIANGLE, "label": bad}]}):
        with pytest.raises(DataError) as caught:
            read_annotation(_write(tmp_path / "a.json", **changes))
        assert "a.json" in str(caught.value)
        assert str(caught.value).isprintable() or "\x1b" not in str(caught.value)
        str(caught.value).encode()
    explanations = tmp_path / "train.json"
    for key in ("image", "query", "outputs"):
        entry = {"image": "a.jpg", "query": "b", "outputs": "c", key: bad}
        explanations.write_text(json.dumps([entry]))
        with pytest.raises(DataError, match=r"train\.json, entry 0"):
            read_explanations(explanations)


def test_no_shapes_is_an_empty_target_and_flags_need_no_area(tmp_path):
    assert read_annotation(_write(tmp_path / "a.json", shapes=[])).shapes == ()
    flag = {"label": "flag", "points": [[1, 1], [2, 2]]}
    assert read_annotation(_write(tmp_path / "a.json", shapes=[flag])).shapes[0].is_flag


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": None}, "no 'shapes'"),
        ({"shapes": {}}, "'shapes' is not as expected"),
        ({"text": None}, "no 'text'"),
        ({"text": []}, "'text' is not as expected"),
        ({"text": ["a", " "]}, "'text' is not as expected"),
        ({"text": [3]}, "'text' is not as expected"),
        ({"is_sentence": "true"}, "'is_sentence' is not as expected"),
        ({"kind": 3}, "'kind' is not a text"),
        ({"shapes": [[1, 2]]}, "no label"),
        ({"shapes": [{"points": [[1, 1], [5, 1], [3, 4]]}]}, "no label"),
        ({"shapes": [TRIANGLE, {"label": "target", "points": [[1, 1], [2, 2]]}]}, "shape 1: a polygon has too few"),
        ({"shapes": [{"label": "target", "points": [[1, 1], [2, float("nan")], [3, 3]]}]}, "point 1 of a polygon"),
        ({"shapes": [{"label": "target", "points": [[1, 1], [2, 1e9], [3, 3]]}]}, "point 1 of a polygon"),
        ({"shapes": [{"label": "target"}]}, "points of a polygon cannot be read"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, changes, message):
    path = _write(tmp_path / "bad.json", **changes)
    with pytest.raises(DataError) as caught:
        read_annotation(path)
    assert message in str(caught.value)
    assert caught.value.where.startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe{\x00}\x00", b"[" * 100_000])
def test_what_is_no_annotation(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json"):
        read_annotation(tmp_path / "a.json")


def test_a_lost_character_is_told(tmp_path):
    (note,) = read_annotation(_write(tmp_path / "a.json", text=["the bo\ufffdte"])).notes
    assert "lost when the text was converted" in note


@pytest.mark.parametrize(
    ("named", "told"),
    [("a.png", 0), ("..\\images\\A.jpg", 0), ("/home/me/a.jpeg", 0), ("", 0), (None, 0), (7, 0), ("b.png", 1)],
)
def test_an_image_path_that_names_another_picture_is_told(tmp_path, named, told):
    notes = read_annotation(_write(tmp_path / "a.json", imagePath=named)).notes
    assert len([note for note in notes if "imagePath names another picture" in note]) == told


def test_explanations_are_found_by_image_and_text(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([{"image": "a.jpg", "query": "Why  so?", "outputs": "Because.", "json": "a.json"}]))
    assert read_explanations(path) == {("a.jpg", "why so?"): "Because."}
    path.write_text(json.dumps([{"image": "a.jpg"}]))
    with pytest.raises(DataError, match="explanations"):
        read_explanations(path)


def test_two_explanations_of_a_query_are_told(tmp_path):
    entry = {"image": "a.jpg", "query": "x", "outputs": "first"}
    other = {**entry, "query": " X ", "outputs": "second"}
    path = tmp_path / "e.json"
    path.write_text(json.dumps([entry, entry, other]))
    told = []
    assert read_explanations(path, told) == {("a.jpg", "x"): "second"}
    assert told == ["a query of a.jpg has two explanations, of which the last is used"]
