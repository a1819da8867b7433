"""An image as a path, a Pillow image or an array."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from segtune.core.errors import DataError
from segtune.data.given import as_image

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def test_every_way_gives_the_same_pixels(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    for given in (PIXELS, Image.fromarray(PIXELS), tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(as_image(given), PIXELS)
    assert as_image(Image.fromarray(PIXELS[..., 0])).shape == (5, 7, 3)


@pytest.mark.parametrize("wrong", [PIXELS[..., 0], PIXELS.astype(np.float32), PIXELS[:0], PIXELS[..., :2]])
def test_an_array_that_is_no_image_is_refused(wrong):
    with pytest.raises(DataError, match="this array is no image"):
        as_image(wrong)


def test_a_missing_file_is_told():
    with pytest.raises(DataError, match=r"nothing/there\.png: the image cannot be read"):
        as_image("nothing/there.png")
