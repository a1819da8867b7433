"""The names of prediction files: an answer takes no other answer's place, and every name fits."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from segtune.engine.answer_files import answer_stem
from segtune.engine.dense_predictor import DensePrediction
from segtune.engine.predictor import Prediction

IMAGE = np.zeros((4, 5, 3), np.uint8)


def _answer(query: str) -> Prediction:
    return Prediction(query, "It is <SEG>.", np.ones((1, 4, 5), bool), (0.5,), IMAGE)


def _dense() -> DensePrediction:
    return DensePrediction(np.zeros((4, 5), np.uint8), None, ("a", "b"), np.ones((4, 5), np.float32), IMAGE)


def test_two_questions_about_one_picture_keep_both_answers(tmp_path):
    first = _answer("the dog").save(tmp_path, "photo")
    second = _answer("the cat").save(tmp_path, "photo")
    assert [path.name for path in first] == ["photo_mask.png", "photo_overlay.png", "photo.json"]
    assert not {*first} & {*second}
    assert second[2].name.startswith("photo-")
    assert _answer("the cat").save(tmp_path, "photo") == second
    assert _answer("the dog").save(tmp_path, "photo") == first
    asked = {json.loads(path.read_text())["query"] for path in tmp_path.glob("*.json")}
    assert asked == {"the dog", "the cat"}
    assert len(list(tmp_path.iterdir())) == 6


def test_classes_and_answers_do_not_replace_each_other(tmp_path):
    answer = _answer("the dog").save(tmp_path, "photo")
    dense = _dense().save(tmp_path, "photo")
    assert not {*answer} & {*dense}
    assert _dense().save(tmp_path, "photo") == dense


@pytest.mark.parametrize("content", [b'{"shapes": [], "text": ["mine"]}', b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_foreign_file_of_that_name_is_kept(tmp_path, content):
    (tmp_path / "photo.json").write_bytes(content)
    for prediction in (_answer("the dog"), _dense()):
        assert prediction.save(tmp_path, "photo")[-1].name.startswith("photo-")
    assert (tmp_path / "photo.json").read_bytes() == content


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "photo.json")
    assert answer_stem(tmp_path, "photo", "the dog").startswith("photo-")


def test_long_names_are_cut_and_stay_different(tmp_path):
    stems = ["照" * 80 + "上", "照" * 80 + "下", "a" * 250]
    paths = [path for stem in stems for path in _answer("the dog").save(tmp_path, stem)]
    assert len({*paths}) == 9
    assert all(path.is_file() and len(os.fsencode(path.name)) < 200 for path in paths)
    odd = b"foto_\xe9".decode("utf-8", "surrogateescape")
    assert all(str(path).encode() for path in _answer("the dog").save(tmp_path, odd))
