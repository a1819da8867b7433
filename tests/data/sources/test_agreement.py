"""What a file says about its picture, about the others and about itself: believed, or contradicted aloud."""

from __future__ import annotations

import numpy as np
import pytest

from segtune.core.errors import DataError
from segtune.data.check import check_dataset
from segtune.data.config import DataConfig
from segtune.data.dense.config import DenseDataConfig
from segtune.data.dense.prepare import prepare_dense
from segtune.data.prepare import prepare
from segtune.data.sources.agreement import conflicting, percent_note, require_pixels, require_size
from segtune.data.sources.reasonseg import ReasonSeg

SQUARE = [[2, 2], [9, 2], [9, 9], [2, 9]]


def _target(points, label="target"):
    return [{"label": label, "points": points}]


def test_a_stated_size_must_be_that_of_the_picture(tmp_path, write_pair):
    write_pair(tmp_path, "right", imageHeight=12, imageWidth=16.0)
    write_pair(tmp_path, "silent", imageHeight=None, imageWidth=None)
    write_pair(tmp_path, "resized", imageHeight=24, imageWidth=32)
    write_pair(tmp_path, "turned", imageHeight=16, imageWidth=12)
    write_pair(tmp_path, "half", imageWidth=17)
    write_pair(tmp_path, "text", imageWidth="16")
    write_pair(tmp_path, "nan", imageHeight=float("nan"))
    source = ReasonSeg(tmp_path)
    assert [record.id for record in source.records] == ["right", "silent"]
    reasons = {item.path: item.reason for item in source.bad}
    assert "found 16 x 12 as displayed; expected 32 x 24" in reasons["resized.json"]
    assert "before the EXIF rotation" in reasons["turned.json"]
    assert "expected 17 x ?" in reasons["half.json"]
    assert "'imageWidth' is not as expected" in reasons["text.json"]
    assert "'imageHeight' is not as expected" in reasons["nan.json"]


def test_a_square_picture_is_never_called_turned():
    with pytest.raises(DataError) as caught:
        require_size((9, 9), (7, 7), "a.json", "a")
    assert "EXIF" not in str(caught.value)


def test_shares_of_the_picture_are_no_pixels(tmp_path, write_pair):
    shares = [[0.1, 0.2], [0.9, 0.2], [0.5, 1.0]]
    flag = {"label": "flag", "points": [[3, 3], [4, 4]]}
    write_pair(tmp_path, "shares", shapes=[*_target(shares), *_target(shares, "ignore"), flag])
    write_pair(tmp_path, "one_in_pixels", colour=1, shapes=[*_target(shares), *_target(SQUARE)])
    write_pair(tmp_path, "empty", colour=2, shapes=[])
    write_pair(tmp_path, "flag", colour=3, shapes=[{"label": "flag", "points": [[0, 0], [1, 1]]}])
    source = ReasonSeg(tmp_path)
    assert [record.id for record in source.records] == ["empty", "flag", "one_in_pixels"]
    assert "all coordinates lie in 0..1" in source.bad[0].reason
    require_pixels([np.array(shares)], (4, 4), "a.json")  # in a picture of four pixels this may be meant


@pytest.mark.parametrize("beyond", [-0.05, -0.002, 1.0001, 1.004, 1.05])
def test_shares_that_are_rounded_or_leave_the_picture_a_little_are_no_pixels(tmp_path, write_pair, beyond):
    shares = [[0.1, 0.2], [0.9, 0.2], [0.5, beyond]]
    write_pair(tmp_path, "a", shapes=_target(shares))
    write_pair(tmp_path, "b", colour=1, shapes=[*_target(shares), *_target([[1, 1], [3, 1], [2, 1.2]])])
    source = ReasonSeg(tmp_path)
    assert [item.path for item in source.bad] == ["a.json"]
    assert f"{beyond:.4g}" in source.bad[0].reason
    for side in (1, 2):
        require_pixels([np.array(shares)], (side, side), "a.json")
    with pytest.raises(DataError):
        require_pixels([np.array(shares)], (1, 200), "a.json")


def test_a_circle_in_shares_is_known_by_its_two_points(tmp_path, write_pair):
    circle = {"label": "target", "shape_type": "circle", "points": [[0.5, 0.5], [0.9, 0.9]]}
    write_pair(tmp_path, "shares", shapes=[circle])
    write_pair(tmp_path, "pixels", colour=1, shapes=[{**circle, "points": [[1, 1], [3, 1]]}])
    source = ReasonSeg(tmp_path)
    assert [item.path for item in source.bad] == ["shares.json"]
    assert "all coordinates lie in 0..1" in source.bad[0].reason
    percent = [{**circle, "points": [[50, 50], [99, 50]]}, {**circle, "points": [[1, 1], [60, 99]]}]
    for number, one in enumerate(percent):
        write_pair(tmp_path / "p", str(number), colour=number, size=(200, 300), shapes=[one])
    assert "are they percent" in ReasonSeg(tmp_path / "p").notes[0]


def test_a_whole_split_in_percent_is_told():
    low, high = np.array([[1, 2], [99, 2], [-0.2, 100.4]]), np.array([[1, 2], [106, 2], [50, 50.0]])
    assert "percent" in percent_note([([low], (480, 640)), ([], (480, 640))])
    assert percent_note([([low], (480, 640)), ([high], (480, 640))]) == ""
    assert percent_note([([low], (104, 640))]) == ""
    assert percent_note([([], (480, 640))]) == ""


def test_check_training_and_evaluation_are_told_the_same(tmp_path, write_pair):
    write_pair(tmp_path / "train", "a", size=(200, 300), shapes=_target(SQUARE, "box"))
    name = f"reasonseg:{tmp_path}@train"
    warnings = prepare(name, DataConfig(train=name)).warnings
    assert [("0..100" in warning, "'box'" in warning) for warning in warnings] == [(False, True), (True, False)]
    assert set(warnings) <= {warning.removeprefix("train: ") for warning in check_dataset(tmp_path).warnings}
    words = DenseDataConfig(train=name, words={"background": [], "box": ["thing"]})
    assert set(warnings) <= set(prepare_dense(name, words).warnings)


def test_one_question_about_one_picture_has_one_answer(tmp_path, write_pair):
    first, second = _target(SQUARE), _target([[5, 5], [9, 5], [9, 9]])
    write_pair(tmp_path, "a", text=["The  thing", "only here"], shapes=first)
    write_pair(tmp_path, "b", text=["the thing"], shapes=second)
    write_pair(tmp_path, "c", text=["same"], shapes=[*first, *second])
    write_pair(tmp_path, "d", text=["same"], shapes=[*second, *first])
    write_pair(tmp_path, "e", colour=9, text=["the thing"], shapes=second)
    box = [{"label": "target", "points": [[2, 2], [9, 9]], "shape_type": "rectangle"}]
    write_pair(tmp_path, "f", text=["only here"], shapes=box)  # other points, the same pixels
    (note,) = ReasonSeg(tmp_path).notes
    assert note == 'one question about one picture has different targets (a.json and b.json ask "the thing")'
    assert any("different targets" in warning for warning in check_dataset(tmp_path).warnings)


def test_conflicts_are_found_by_question():
    answers = [("q", "a", 1), ("q", "b", 1), ("r", "a", 1), ("r", "b", 2)]
    assert list(conflicting(answers)) == [("r", ["a", "b"])]


def test_an_outlined_flag_and_another_label_are_told(tmp_path, write_pair):
    write_pair(tmp_path, "a", shapes=_target(SQUARE, "flag"))
    write_pair(tmp_path, "b", colour=1, shapes=[*_target(SQUARE, "flag"), *_target(SQUARE, "pole")])
    write_pair(tmp_path, "c", colour=2, shapes=[*_target([[1, 1], [2, 2]], "flag"), *_target(SQUARE)])
    write_pair(tmp_path, "d", colour=3, shapes=[*_target(SQUARE, "car"), *_target(SQUARE, "road")])
    source = ReasonSeg(tmp_path)
    flag = "a shape labelled 'flag' encloses an area but only marks a file: it is not painted"
    assert source.notes == (
        f"{flag} and the target is empty (a.json)",
        "the label 'pole' counts as the target (b.json)",
        f"{flag} (b.json)",
    )
    assert [item.path for item in source.bad] == ["d.json"]
    assert "car, road" in source.bad[0].reason


def test_an_encoding_is_told_by_file(tmp_path, write_pair):
    path = write_pair(tmp_path / "train", "a")
    path.write_bytes(path.read_text().replace("the thing a", "the man’s hat").encode("cp1252"))
    (tmp_path / "train.json").write_bytes('[{"image": "a.png", "text": "a café"}]'.encode("cp1252"))
    (tmp_path / "explanatory").mkdir()
    text = '[{"image": "a.png", "query": "x", "outputs": "a café"}]'
    (tmp_path / "explanatory" / "train.json").write_bytes(text.encode("utf-16"))
    notes = "\n".join(ReasonSeg(tmp_path, "train").notes)
    assert "not in UTF-8, and read as cp1252 (2: train.json, train/a.json)" in notes
    assert "in UTF-16, not in UTF-8, and read as such (explanatory/train.json)" in notes
