"""The names of prediction files: an answer takes no other answer's place, and every name fits."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.engine.dense_toys import Toy, image, transform
from tests.factory import plain_loaded

from segtune.data.given import as_image
from segtune.engine.answer_files import answer_stem
from segtune.engine.dense_predictor import DensePrediction, DensePredictor
from segtune.engine.predictor import Prediction, Predictor

IMAGE = np.zeros((4, 5, 3), np.uint8)
OTHER = np.ones((4, 5, 3), np.uint8)
MINE = b"drawn by a person"


def _answer(query: str, picture: np.ndarray = IMAGE) -> Prediction:
    return Prediction(query, "It is <SEG>.", np.ones((1, 4, 5), bool), (0.5,), picture)


def _dense(picture: np.ndarray = IMAGE, *, mask: bool = False) -> DensePrediction:
    labels, sure = np.zeros((4, 5), np.uint8), np.ones((4, 5), np.float32)
    return DensePrediction(labels, labels > 0 if mask else None, ("a", "b"), sure, picture)


def _contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir()}


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
    assert answer_stem(tmp_path, "photo", "the dog", "0123").startswith("photo-")


def test_long_names_are_cut_and_stay_different(tmp_path):
    stems = ["照" * 80 + "上", "照" * 80 + "下", "a" * 250]
    paths = [path for stem in stems for path in _answer("the dog").save(tmp_path, stem)]
    assert len({*paths}) == 9
    assert all(path.is_file() and len(os.fsencode(path.name)) < 200 for path in paths)
    odd = b"foto_\xe9".decode("utf-8", "surrogateescape")
    assert all(str(path).encode() for path in _answer("the dog").save(tmp_path, odd))


KINDS = {"question": _answer("the dog"), "classes": _dense(), "both": _dense(mask=True)}


@pytest.mark.parametrize("prediction", KINDS.values(), ids=KINDS)
def test_no_file_of_an_answer_takes_the_place_of_a_foreign_one(tmp_path, prediction):
    """Only the JSON was looked at: a folder of photographs and masks `photo_mask.png` lost its masks."""
    names = {path.name for one in KINDS.values() for path in one.save(tmp_path / "names", "photo")}
    names = {name for name in names if not name.startswith("photo-")} | {"photo_labels.png"}
    assert names >= {"photo.json", "photo_mask.png", "photo_overlay.png", "photo_labels.png"}
    for name in names:
        place = tmp_path / f"beside {name}"
        place.mkdir()
        (place / name).write_bytes(MINE)
        first = prediction.save(place, "photo")
        assert all(path.name.startswith("photo-") for path in first)
        assert prediction.save(place, "photo") == first
        assert (place / name).read_bytes() == MINE
        assert len(_contents(place)) == 1 + len(first)


def test_a_broken_link_is_not_written_through(tmp_path):
    (tmp_path / "photo_mask.png").symlink_to(tmp_path / "elsewhere.png")
    _answer("the dog").save(tmp_path, "photo")
    assert not (tmp_path / "elsewhere.png").exists()


def test_a_foreign_file_under_the_second_stem_is_kept_too(tmp_path):
    (tmp_path / "photo_mask.png").write_bytes(MINE)
    taken = _answer("the dog").save(tmp_path, "photo")[0]
    for path in tmp_path.glob("photo-*"):
        path.unlink()
    taken.write_bytes(MINE)
    third = _answer("the dog").save(tmp_path, "photo")
    assert third[0].name == taken.name.replace("_mask.png", "-2_mask.png")
    assert _answer("the dog").save(tmp_path, "photo") == third
    assert taken.read_bytes() == MINE


def test_an_answer_is_replaced_where_it_lies_although_a_shorter_name_is_free_by_now(tmp_path):
    (tmp_path / "photo_mask.png").write_bytes(MINE)
    first = _answer("the dog").save(tmp_path, "photo")
    (tmp_path / "photo_mask.png").unlink()
    assert _answer("the dog").save(tmp_path, "photo") == first


@pytest.mark.parametrize("kind", [lambda picture: _answer("the dog", picture), _dense])
def test_two_pictures_of_one_name_keep_both_answers(tmp_path, kind):
    """Only the question was compared: the answer about `a/1.jpg` was replaced by the one about `b/1.jpg`."""
    first, second = (kind(picture).save(tmp_path, "1") for picture in (IMAGE, OTHER))
    assert not {*first} & {*second}
    assert kind(OTHER).save(tmp_path, "1") == second
    assert kind(IMAGE).save(tmp_path, "1") == first
    assert len(_contents(tmp_path)) == len(first) + len(second)


@pytest.mark.parametrize("kind", [_answer("the dog"), _dense()])
def test_an_answer_without_a_digest_counts_as_one_about_another_picture(tmp_path, kind):
    old = kind.save(tmp_path, "photo")
    about = json.loads(old[-1].read_text())
    del about["picture"]
    old[-1].write_text(json.dumps(about))
    before = _contents(tmp_path)
    assert not {*kind.save(tmp_path, "photo")} & {*old}
    assert before.items() <= _contents(tmp_path).items()


def test_every_way_to_give_a_picture_has_one_digest(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(image((40, 60))).save(path)
    content = path.read_bytes()
    ways = (path, content, io.BytesIO(content), Image.open(path), image((40, 60)))
    assert len({_dense(as_image(way)).to_dict()["picture"] for way in ways}) == 1
    loaded = plain_loaded()
    predictor = Predictor(loaded.model, loaded.conversation, loaded.transform, max_new_tokens=2)
    assert len({predictor.predict(way, "the dog").to_dict()["picture"] for way in (path, image((40, 60)))}) == 1


def test_what_a_full_disk_left_is_replaced_when_there_is_room(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for kind in (_answer("the dog"), _dense()):
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, "save", full)
            with pytest.raises(OSError, match="No space"):
                kind.save(tmp_path / type(kind).__name__, "photo")
        assert kind.save(tmp_path / type(kind).__name__, "photo")[-1].name == "photo.json"


def test_heat_maps_take_no_others_place(tmp_path):
    predictor = DensePredictor(Toy(), transform())

    def heat(seed: int, place: str = "out") -> str:
        return predictor.save_heat(image(seed=seed), "red", tmp_path / place, "photo", "class_head").name

    def save(seed: int, place: str = "out") -> str:
        return predictor.predict(image(seed=seed)).save(tmp_path / place, "photo")[-1].name

    assert heat(1) == heat(1) == "photo_heat_red.png"  # also without an answer
    other = heat(2)
    assert other.startswith("photo-")
    assert save(1) == "photo.json"
    assert save(2) == other.replace("_heat_red.png", ".json")
    assert (heat(1), heat(2)) == ("photo_heat_red.png", other)
    for name in ("photo_heat_red.png", "photo_mask.png"):  # a foreign file
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(MINE)
        stem = heat(1, name).removesuffix("_heat_red.png")
        assert stem.startswith("photo-")
        assert save(1, name) == f"{stem}.json"  # the files of one command have one stem
        assert heat(1, name) == f"{stem}_heat_red.png"
        assert (tmp_path / name / name).read_bytes() == MINE
    (tmp_path / "out/photo_heat_red.png").write_bytes(MINE)  # beside an own answer
    assert heat(1) != "photo_heat_red.png"
