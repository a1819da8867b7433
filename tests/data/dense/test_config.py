from __future__ import annotations

import pytest

from segtune.core.config import validate
from segtune.core.errors import ConfigError
from segtune.data.dense.config import DenseAugmentConfig, DenseDataConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": {"zoom": [2, 1]}}, "the smaller first"),
        ({"augment": {"zoom": [0, 1]}}, "0.1 to 10"),
        ({"augment": {"flip": 1.5}}, "augment.flip"),
        ({"weight_range": [5, 1]}, "the smaller first"),
        ({"weight_range": [0, 1]}, "positive"),
        ({"class_weights": "log"}, "class_weights"),
        ({"exclud": ["sky"]}, "exclude"),
        ({"max_train_images": 0}, "max_train_images"),
    ],
)
def test_wrong_values_are_refused_by_key(changes, message):
    with pytest.raises(ConfigError, match=message):
        validate(DenseDataConfig, {"train": "masks:a", **changes}, "recipe")


def test_the_cache_has_room_or_is_off():
    assert DenseDataConfig(train="masks:a", cache_gb=0.5).cache_bytes == 500_000_000
    assert DenseDataConfig(train="masks:a", cache=False).cache_bytes == 0


def test_how_close_an_image_is_looked_at():
    assert DenseAugmentConfig().closest == 1
    assert DenseAugmentConfig(zoom=(1, 2), stretch=0.21).closest == pytest.approx(2.2)
