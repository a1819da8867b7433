"""A model reads pictures as its run did."""

from __future__ import annotations

import pytest

from segtune.core.errors import ConfigError
from segtune.data.config import ImageConfig
from segtune.engine.checkpoint import MANIFEST
from segtune.engine.run_images import images_of


def test_the_settings_of_the_run_and_what_is_given_over_them(tmp_path):
    run, checkpoint = tmp_path / "a", tmp_path / "a/checkpoints/last"
    checkpoint.mkdir(parents=True)
    (checkpoint / MANIFEST).write_text("{}")
    (run / "config.yaml").write_text("data: {train: x, image: {grey_bits: 12}}")
    for name in (str(run), f"{run}@last", str(checkpoint)):
        assert images_of(name) == ImageConfig(grey_bits=12)
        assert images_of(name, max_pixels=7, grey_bits=10) == ImageConfig(max_pixels=7, grey_bits=10)
    assert images_of("segtune/tiny") == images_of(str(tmp_path)) == ImageConfig()
    (run / "config.yaml").write_text("data: {train: x}")
    assert images_of(str(run)) == ImageConfig()
    (run / "config.yaml").write_text("data: {image: {grey_bits: 99}}")
    with pytest.raises(ConfigError, match=r"(?s)config\.yaml.*grey_bits"):
        images_of(str(run))
