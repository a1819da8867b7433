"""One image in, files and annotations out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.engine.dense_toys import CLASSES, Toy, image, transform

from segtune.core.errors import ConfigError, DataError
from segtune.core.files import read_json
from segtune.data.index_png import read_index_png
from segtune.engine.dense_config import DenseInferenceConfig
from segtune.engine.dense_inference import segment
from segtune.engine.dense_predictor import DensePrediction, DensePredictor
from segtune.ops.rle import rle_decode

DARK = np.full((40, 56), 4095, np.uint16)

HEADS = {"both": {}, "classes": {"binary": False}, "binary": {"multiclass": False}}


def _predict(**heads) -> DensePrediction:
    return DensePredictor(Toy(**heads).train(), transform()).predict(image())


@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_a_prediction_is_the_answer_in_words_and_numbers(heads) -> None:
    prediction = _predict(**heads)
    answer = segment(Toy(**heads).eval(), transform(), image())
    if answer.labels is not None:
        assert np.array_equal(prediction.labels, answer.labels)
        assert np.array_equal(prediction.confidence, answer.confidence)
        for name, share in prediction.shares.items():
            assert share == (answer.labels == CLASSES.index(name)).mean()
        assert sum(prediction.shares.values()) == pytest.approx(1)
    else:
        assert prediction.labels is None
        assert prediction.shares == {}
        p = 1 / (1 + np.exp(-answer.binary_logits.astype(np.float64)))
        np.testing.assert_allclose(prediction.confidence, np.maximum(p, 1 - p), atol=1e-6)
    if answer.binary_logits is not None:
        assert np.array_equal(prediction.mask, answer.binary_logits > 0)
        assert prediction.foreground_share == (answer.binary_logits > 0).mean()
        assert np.array_equal(prediction.mask, prediction.foreground > 0.5)
    else:
        assert prediction.mask is prediction.foreground is prediction.foreground_share is None
    assert "%" in prediction.summary()


@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_files_hold_what_was_predicted(heads, tmp_path) -> None:
    prediction = _predict(**heads)
    names = [name for name in ("labels", "mask") if getattr(prediction, name) is not None]
    paths = prediction.save(tmp_path / "new", "photo.1")
    assert [path.name for path in paths] == [
        *(f"photo.1_{name}.png" for name in (*names, "overlay")), "photo.1.json",
    ]  # fmt: skip
    assert all(path.is_file() for path in paths)
    if "labels" in names:
        assert np.array_equal(read_index_png(paths[0]), prediction.labels)
    if "mask" in names:
        mask = np.asarray(Image.open(tmp_path / "new" / "photo.1_mask.png"))
        assert np.array_equal(mask, prediction.mask * np.uint8(255))
    picture = np.asarray(Image.open(tmp_path / "new" / "photo.1_overlay.png"))
    assert np.array_equal(picture[:36], prediction.overlay())
    assert (len(picture) > 36) == ("labels" in names)
    document = read_json(paths[-1])
    assert document["size"] == [36, 50]
    assert document["classes"] == list(CLASSES)
    assert document["shares"] == pytest.approx(prediction.shares)


def test_annotations_are_of_coco() -> None:
    prediction = _predict()
    rows = prediction.to_coco()
    assert {row["category_name"] for row in rows} == {*prediction.shares, "foreground"}
    for row in rows:
        whole = row["category_id"] == len(CLASSES)
        mask = prediction.mask if whole else prediction.labels == row["category_id"]
        certain = prediction.foreground if whole else prediction.confidence
        assert np.array_equal(rle_decode(row["segmentation"]), mask)
        assert row["area"] == mask.sum()
        left, top, width, height = row["bbox"]
        inside = np.zeros_like(mask)
        inside[top : top + height, left : left + width] = True
        assert not (mask & ~inside).any()
        assert mask[top].any() and mask[:, left].any()  # noqa: PT018
        assert row["score"] == pytest.approx(certain[mask].mean(), rel=1e-5)
    nothing = DensePrediction(
        None, np.zeros((4, 5), bool), CLASSES, np.ones((4, 5)), image((4, 5)), np.zeros((4, 5), np.float32)
    )
    assert nothing.to_coco() == []


def test_the_background_is_not_painted() -> None:
    picture = image()
    picture[:12, :20] = 0  # where all logits are 0 the first class wins
    prediction = DensePredictor(Toy(binary=False), transform()).predict(picture)
    assert prediction.background
    outside = prediction.labels == 0
    assert outside.any()
    assert np.array_equal(prediction.overlay()[outside], prediction.image[outside])
    assert (prediction.overlay()[~outside] != prediction.image[~outside]).any(axis=-1).all()


def test_settings_reach_the_model(tmp_path) -> None:
    model = Toy()
    Image.fromarray(image((70, 90))).save(tmp_path / "a.png")
    prediction = DensePredictor(model, transform(), DenseInferenceConfig(window=(35, 40))).predict(tmp_path / "a.png")
    assert prediction.labels.shape == (70, 90)
    assert len(model.calls) > 1
    assert not model.training


def test_what_is_no_image_or_no_class_is_told() -> None:
    predictor = DensePredictor(Toy(), transform())
    with pytest.raises(DataError, match=r"nothing\.jpg"):
        predictor.predict("nothing.jpg")
    with pytest.raises(ConfigError, match=r"no such class(.|\n)*did you mean red"):
        predictor.heat(image(), "rede", "class_head")


def test_a_picture_that_is_read_nearly_black_is_told_once(tmp_path, monkeypatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("logging.Logger.warning", lambda _, form, *values: told.append(form % values))
    Image.fromarray(DARK).save(path := tmp_path / "a.png")
    predictor = DensePredictor(Toy(), transform())
    asked = (predictor.predict, lambda given: predictor.save_heat(given, 0, tmp_path, "a", "class_head"))
    for ask in asked:
        for given in (path, path.read_bytes(), Image.open(path)):
            ask(given)
            assert "read as nearly black" in told.pop()
            assert told == []
