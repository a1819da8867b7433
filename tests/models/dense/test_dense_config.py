from __future__ import annotations

import pytest

from segtune.core.config import validate
from segtune.core.errors import ConfigError
from segtune.models.dense.config import DenseModelConfig


def _refused(**settings):
    with pytest.raises(ConfigError) as caught:
        validate(DenseModelConfig, settings, "a recipe")
    return str(caught.value)


def test_weights_are_loaded_where_there_are_any():
    assert not DenseModelConfig().loads_weights
    assert DenseModelConfig(encoder="facebook/dinov2-small").loads_weights
    assert not DenseModelConfig(encoder="facebook/dinov2-small", pretrained=False).loads_weights


def test_an_unknown_encoder_of_ours_is_refused_with_the_nearest():
    assert "did you mean segtune/tiny-vit?" in _refused(encoder="segtune/tiny-vid")
    message = _refused(encoder="segtune/large")
    assert "segtune/tiny-vit" in message
    assert "segtune/tiny-cnn" in message


def test_the_tiny_encoders_have_no_weights():
    assert "has no weights to load" in _refused(encoder="segtune/tiny-cnn", pretrained=True)


def test_a_model_has_a_head():
    assert "without a head" in _refused(multiclass=False)
    assert DenseModelConfig(multiclass=False, binary_classes=("car",)).binary_classes == ("car",)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"binary_classes": ["car", "car"]}, "twice: car"),
        ({"image_size": [120]}, "image_size"),
        ({"image_size": [0, 160]}, "image_size"),
        ({"decoder": "unet++"}, "decoder"),
        ({"dropout": 1.0}, "dropout"),
        ({"drop_path": -0.1}, "drop_path"),
        ({"width": 4}, "width"),
        ({"encodr": "segtune/tiny-cnn"}, "did you mean encoder?"),
    ],
)
def test_wrong_values_are_refused_by_key(settings, word):
    assert word in _refused(**settings)
