"""What a prediction says of itself: estimates that were trained, and notes on what a model knows."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.factory import batch_of, groups, plain_loaded, tiny_base, tiny_config

from segtune.engine.inference import answer_batch
from segtune.engine.loading import build, export_base, load
from segtune.engine.predictor import Prediction, Predictor
from segtune.metrics.predictions import PredictedMasks, parse_prediction
from segtune.models.weights import ASSEMBLED

IMAGE = np.full((40, 60, 3), 128, np.uint8)


def _prediction(scores: tuple[float, ...]) -> Prediction:
    return Prediction("the red one", "<SEG>.", np.ones((1, 4, 6), bool), scores, np.zeros((4, 6, 3), np.uint8))


def test_an_estimate_that_was_never_trained_is_absent() -> None:
    """Of a decoder that began with random weights it was told as an estimated IoU of 0.00."""
    prediction = _prediction(())
    assert prediction.summary() == "1 mask, 100.0% of the image"
    assert "scores" not in prediction.to_dict()
    assert ["score" in one for one in prediction.to_coco()] == [False]
    line = PredictedMasks("a#0", tuple(prediction.to_dict()["masks"])).to_line()
    assert "scores" not in json.loads(line)
    assert parse_prediction(line, "here").scores == ()


def test_an_estimate_that_was_trained_is_told() -> None:
    prediction = _prediction((0.91,))
    assert prediction.summary() == "1 mask, 100.0% of the image, estimated IoU 0.91"
    assert prediction.to_dict()["scores"] == [0.91]
    assert [one["score"] for one in prediction.to_coco()] == [0.91]
    assert json.loads(PredictedMasks("a#0", ({},), (0.91,)).to_line())["scores"] == [0.91]


def test_a_base_says_whether_its_decoder_has_learned_to_estimate(tmp_path: Path) -> None:
    loaded = plain_loaded()
    batch = batch_of(loaded, groups(1))

    def scores(model: object) -> list[int]:
        answers = answer_batch(model, batch, loaded.conversation, "forced", max_new_tokens=4)  # type: ignore[arg-type]
        return [len(answer.scores) for answer in answers]

    assert scores(loaded.model) == [0, 0]  # drawn at random
    export_base(loaded, tmp_path / "base")
    assert scores(load(str(tmp_path / "base")).model) == [0, 0]
    halves = {"base": None, "vlm": str(tiny_base() / "vlm"), "mask_model": str(tiny_base() / "mask_model")}
    assert not build(tiny_config(**halves), None).parts.estimates_iou  # a half of such a base, named by itself
    about = json.loads((tmp_path / "base" / ASSEMBLED).read_text())
    (tmp_path / "base" / ASSEMBLED).write_text(json.dumps({**about, "estimates_iou": True}))
    again = load(str(tmp_path / "base"))
    assert scores(again.model) == [1, 1]
    export_base(again, tmp_path / "again")
    assert load(str(tmp_path / "again")).parts.estimates_iou
    (tmp_path / "again" / ASSEMBLED).unlink()  # as a SAM from the hub, which is pretrained
    assert build(
        tiny_config(**{**halves, "mask_model": str(tmp_path / "again" / "mask_model")}), None
    ).parts.estimates_iou


def test_the_embedded_base_says_what_it_knows(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("segtune"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="segtune"):
        predictor = Predictor.from_pretrained("segtune/tiny", device="cpu")
    words = "segtune/tiny knows drawn scenes of coloured shapes and nothing else"
    assert words in caplog.text
    prediction = predictor.predict(IMAGE, "the car")
    assert prediction.to_dict()["note"].startswith(words)
    assert prediction.scores == ()
    caplog.clear()
    other = Predictor.from_pretrained(str(tiny_base()), device="cpu")
    assert "note" not in other.predict(IMAGE, "the car").to_dict()
    assert not caplog.text


def test_a_picture_that_is_read_nearly_black_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor.from_pretrained(str(tiny_base()), device="cpu")
    told: list[str] = []
    monkeypatch.setattr("logging.Logger.warning", lambda _, form, *values: told.append(form % values))
    Image.fromarray(np.full((40, 60), 4095, np.uint16)).save(path := tmp_path / "a.png")
    for image in (path, path.read_bytes(), Image.open(path)):
        predictor.predict_many(image, ["the car", "the dog"])
        assert "read as nearly black" in told.pop()
        assert told == []
