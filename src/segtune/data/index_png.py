"""Reading masks whose pixel values are class indices: PNG files of one channel and at most 8 bits.

Anything that could change the values on the way (lossy formats, colours, 16 bits, grey levels scaled to 0..255 by the
decoder) is refused or undone here, so that what comes out are the numbers of the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segtune.core.errors import DataError
from segtune.core.regular import open_regular
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.images import opened, verify_image
from segtune.data.pixels import displayed

_EXPECTED = "a PNG of one channel and at most 8 bits whose pixel values are class indices (mode L, P or 1)"
_GREY, _PALETTE = 0, 3
_CHANNELS = {2: "three channels (RGB)", 4: "two channels (grey and alpha)", 6: "four channels (RGB and alpha)"}
_HEADER = 26


def read_index_png(path: str | Path, config: ImageConfig = USUAL_IMAGES) -> np.ndarray:
    """Reads the values of an index mask.

    Args:
        path: The file.
        config: The largest size that is decoded.

    Returns:
        uint8 `[h, w]`, original pixels (after EXIF orientation, which masks hardly ever have): the numbers of the
        file; palettes are passed over.

    Raises:
        DataError: If the file is missing, damaged, too large, or no such PNG.
    """
    path = Path(path)
    with opened(path, config) as (image, _):
        depth, colour = _require_index(path)
        values = np.array(displayed(image, str(path))).astype(np.uint8)
    # Pillow spreads the levels of grey PNGs of 2 and 4 bits over 0..255; palettes and single bits stay as they are
    scale = 255 // (2**depth - 1) if colour == _GREY and depth in (2, 4) else 1
    return values // np.uint8(scale)


def verify_index_png(path: str | Path, config: ImageConfig = USUAL_IMAGES) -> tuple[int, int]:
    """Checks an index mask without decoding its pixels (see `verify_image`).

    Args:
        path: The file.
        config: The largest size that is allowed.

    Returns:
        `(h, w)` in original pixels.

    Raises:
        DataError: As `read_index_png`, but for damage in the middle of the file.
    """
    path = Path(path)
    size = verify_image(path, config)
    _require_index(path)
    return size


def _require_index(path: Path) -> tuple[int, int]:
    """Bits per channel and colour type of a PNG, which must be those of an index mask."""
    with open_regular(path) as file:
        header = file.read(_HEADER)
    if not header.startswith(b"\x89PNG") or len(header) < _HEADER:
        found, fix = "another format", "save the masks as PNG: formats such as JPEG change the values"
    else:
        depth, colour = header[24], header[25]
        if colour in (_GREY, _PALETTE) and depth <= 8:
            return depth, colour
        found = _CHANNELS.get(colour, f"{depth} bits")
        fix = "save the class indices as one channel of 8 bits"
    raise DataError("this is not an index mask", where=str(path), expected=_EXPECTED, found=found, fix=fix)
