"""One image as somebody hands it over, to be predicted on: a path, a Pillow image or an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from segtune.core.errors import DataError
from segtune.data.images import open_image

Given = str | Path | np.ndarray | Image.Image


def as_image(image: Given) -> np.ndarray:
    """The pixels of an image.

    Args:
        image: A path, a Pillow image, or uint8 `[h, w, 3]` RGB.

    Returns:
        uint8 `[h, w, 3]`, RGB.

    Raises:
        DataError: A file that cannot be read (see `images.open_image`), an array that is no image, or no pixels.
    """
    if isinstance(image, str | Path):
        return open_image(image)
    pixels = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise DataError(
            "this array is no image", expected="uint8 [h, w, 3], RGB", found=f"{pixels.dtype} {list(pixels.shape)}"
        )
    return pixels
