"""Scores of a loaded dense model: their files, what is refused, and that a prediction is what was scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.data.dense.labelled import Drawn
from tests.models.dense.encoders import dense_config

from segtune.core.errors import DataError
from segtune.core.files import read_json, read_jsonl
from segtune.data.dense.balance import count_classes
from segtune.data.dense.prepare import PreparedDense
from segtune.data.spec import DataSpec
from segtune.engine.checkpoint import save_checkpoint
from segtune.engine.dense_config import DenseEvalConfig, TtaConfig
from segtune.engine.dense_loading import DenseLoaded, build_loaded
from segtune.engine.dense_predictor import DensePredictor
from segtune.engine.dense_scoring import mode_of, score_dense
from segtune.metrics.dense_predictions import PredictedImage

COUNT = 3
CONFIGS = {
    "dense": DenseEvalConfig(batch_size=1, overlays=2),
    "dense-tta": DenseEvalConfig(batch_size=1, overlays=0, tta=TtaConfig(flip=True, scales=(1.0, 1.5))),
    "dense-windows": DenseEvalConfig(batch_size=1, overlays=0, window=(24, 24)),
    "dense-tta-windows": DenseEvalConfig(batch_size=1, overlays=0, window=(30, 60), tta=TtaConfig(flip=True)),
}


def _loaded(**settings) -> DenseLoaded:
    torch.manual_seed(0)
    config = dense_config("segtune/tiny-cnn", **{"image_size": (32, 64), "width": 8, **settings})
    loaded = build_loaded(config, Drawn.classes, "all")
    loaded.model.train()
    for seed in range(3):  # batch norms that have seen something, so that the answers are not all one class
        loaded.model.decode(torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(seed)))
    loaded.model.eval()
    return loaded


def _prepared(source: Drawn) -> PreparedDense:
    return PreparedDense(DataSpec("masks", "somewhere/photos", "val"), source, (), count_classes(source), True)


@pytest.mark.parametrize("mode", CONFIGS)
def test_files_beside_each_other_tell_the_same(mode: str, tmp_path) -> None:
    config, loaded = CONFIGS[mode], _loaded(binary_classes=("red",))
    prepared = _prepared(Drawn(COUNT))
    document = score_dense(loaded, prepared, tmp_path / "new", config, training=prepared, deviations=["first_3"])
    assert document == read_json(tmp_path / f"new/eval_photos_val_{mode}.json")
    assert (document["mode"], document["split"], document["data"]) == (mode, "val", "photos")
    assert document["deviations"] == ["first_3"]
    assert document["counts"]["images"] == COUNT
    assert "most_frequent_class" in str(document["baselines"])
    assert document["inference"] == {
        "tta": {
            "flip": config.tta.flip, "flip_vertical": config.tta.flip_vertical, "mirror": "auto",
            "scales": list(config.tta.scales),
        },
        "window": None if config.window is None else list(config.window), "overlap": config.overlap,
    }  # fmt: skip
    rows = read_jsonl(tmp_path / f"new/predictions/photos_val_{mode}.jsonl")
    assert [row["id"] for row in rows] == ["i0", "i1", "i2"]
    folder = tmp_path / f"new/predictions/photos_val_{mode}"
    assert len(list(folder.glob("*.png"))) == config.overlays
    assert mode_of(config) == mode


@pytest.mark.parametrize("mode", CONFIGS)
def test_a_prediction_of_the_saved_model_is_what_was_scored(mode: str, tmp_path) -> None:
    config, loaded, source = CONFIGS[mode], _loaded(binary_classes=("red",)), Drawn(COUNT)
    score_dense(loaded, _prepared(source), tmp_path, config)
    save_checkpoint(tmp_path / "checkpoints/best", loaded.model, loaded.about(), trained=loaded.trained)
    predictor = DensePredictor.from_pretrained(tmp_path, config=config)
    found = set()
    for index, row in enumerate(read_jsonl(tmp_path / f"predictions/photos_val_{mode}.jsonl")):
        scored = PredictedImage(row["id"], tuple(row["size"]), row["classes"], row["mask"])
        prediction = predictor.predict(source.item(index).image)
        assert np.array_equal(prediction.labels, scored.labels(source.classes))
        assert np.array_equal(prediction.mask, scored.foreground())
        found |= {*np.unique(prediction.labels).tolist(), *(3 + np.unique(prediction.mask)).tolist()}
    assert len(found) > 2


@pytest.mark.parametrize("heads", [{}, {"multiclass": False, "binary_classes": ("red", "green")}])
def test_a_head_that_is_not_there_has_no_scores(heads, tmp_path) -> None:
    metrics = score_dense(_loaded(**heads), _prepared(Drawn(COUNT)), tmp_path, CONFIGS["dense"])["metrics"]
    assert ("mIoU" in metrics) != ("foreground_dice" in metrics)
    assert ("foreground_dice" in metrics) == bool(heads)


def test_without_training_data_there_is_no_baseline_from_them(tmp_path) -> None:
    document = score_dense(_loaded(), _prepared(Drawn(COUNT)), tmp_path, CONFIGS["dense"])
    assert "most_frequent_class" not in str(document["baselines"])


def test_data_with_other_classes_are_refused_before_anything_is_written(tmp_path) -> None:
    source = Drawn(COUNT)
    source.classes = ("background", "green", "red")
    with pytest.raises(DataError, match="other classes than the model") as caught:
        score_dense(_loaded(), _prepared(source), tmp_path / "new", CONFIGS["dense"])
    assert (caught.value.expected, caught.value.found) == ("background, red, green", "background, green, red")
    assert not (tmp_path / "new").exists()
