"""A model reads pictures as its run did."""

from __future__ import annotations

import json

import pytest

from segtune.core.errors import ConfigError
from segtune.data.config import ImageConfig
from segtune.data.shared import short_digests
from segtune.engine.checkpoint import MANIFEST
from segtune.engine.run_images import images_of, trained_on_told


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


def test_pictures_that_the_model_was_trained_on_are_told(tmp_path):
    pictures = {"a" * 64: "a.png", "b" * 64: "b.png"}
    assert trained_on_told(str(tmp_path), "photos@val", pictures) == ()
    facts = tmp_path / "data.json"
    facts.write_text(json.dumps({"train": {"pictures": short_digests({"b" * 64: "x.png", "c" * 64: "y.png"})}}))
    (told,) = trained_on_told(f"{tmp_path}@last", "photos@val", pictures)
    assert "the training data of this model and photos@val share 1 images (b.png)" in told
    for odd in ("[]", "7", '{"train": null}', '{"train": {"pictures": 7}}', '{"train": {"pictures": [7, null]}}'):
        facts.write_text(odd)
        assert trained_on_told(str(tmp_path), "photos@val", pictures) == ()
    facts.write_text("{")
    assert "not known" in trained_on_told(str(tmp_path), "photos@val", pictures)[0]
