"""What a picture file is read as, where that may not be meant: told by `data check`, training and prediction alike."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.images import opened
from segtune.data.pixels import orientation_is_lost

_ANIMATED = ("GIF", "WEBP", "PNG", "TIFF")  # the further frames of a JPEG are previews and depth maps of cameras
_FEWER_BITS = {12: "nearly black", 14: "dark"}
"""What cameras and scanners use of 16 bits, and what such a picture is read as."""
_SHOWN = 3


def picture_notes(source: str | Path | io.BytesIO, config: ImageConfig = USUAL_IMAGES) -> tuple[str, ...]:
    """What is to be told about a picture that can be read.

    Args:
        source: A file, or its bytes.
        config: How it is read.

    Returns:
        Phrases that go on from "the picture" or "3 pictures"; usually none.

    Raises:
        DataError: As `images.open_image`, where the header cannot be read.
    """
    with opened(source, config) as (image, file):
        turned, *grey = _of_pixels(image, file, config)
        several = image.format in _ANIMATED and getattr(image, "is_animated", False)
    frames = "of several frames or pages: only the first is used" if several else ""
    return tuple(words for words in (turned, frames, *grey) if words)


def given_notes(image: Image.Image | np.ndarray, config: ImageConfig = USUAL_IMAGES) -> tuple[str, ...]:
    """What is to be told about a picture that no file is read for.

    Args:
        image: A decoded image of Pillow, of whose frames one was chosen; or an array that is a picture.
        config: How it is read.

    Returns:
        Phrases as those of `picture_notes`.
    """
    found = (_grey_note(image, config),) if isinstance(image, np.ndarray) else _of_pixels(image, None, config)
    return tuple(words for words in found if words)


class NotesOfMany:
    """Collects what is to be told about the pictures of a split.

    Args:
        config: How they are read.
    """

    def __init__(self, config: ImageConfig = USUAL_IMAGES) -> None:
        self._config = config
        self._names: dict[str, list[str]] = {}

    def look(self, path: Path, name: str) -> None:
        """Looks at a picture that has been read.

        Raises:
            DataError: As `picture_notes`.
        """
        for words in picture_notes(path, self._config):
            self._names.setdefault(words, []).append(name)

    @property
    def sentences(self) -> tuple[str, ...]:
        """One for each thing that is to be told, with the number of pictures and some of their names."""
        return tuple(f"{_counted(names)} {words}: {_some(names)}" for words, names in self._names.items())


def _counted(names: list[str]) -> str:
    return "1 picture" if len(names) == 1 else f"{len(names)} pictures"


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")


def _of_pixels(image: Image.Image, file: BinaryIO | None, config: ImageConfig) -> tuple[str, str]:
    """What is said of the orientation and of the grey of an image; empty where nothing."""
    lost = orientation_is_lost(image, file)
    turned = "with EXIF data too damaged to say how it is turned: read as it is stored" if lost else ""
    if not image.mode.startswith("I;16"):
        return turned, ""
    try:
        return turned, _grey_note(np.asarray(image), config)
    except Exception:  # decoders raise nearly anything; damage is told where the picture is read
        return turned, ""


def _grey_note(values: np.ndarray, config: ImageConfig) -> str:
    """What is said of grey `[h, w]` of 16 bits that uses fewer; empty for other values and where all is black."""
    bits = int(values.max()).bit_length() if values.dtype.itemsize == 2 and values.ndim == 2 else 0
    most = next((most for most in _FEWER_BITS if 0 < bits <= most), 16)
    if most >= config.grey_bits:
        return ""
    return (
        f"with grey values of 16 bits, of which at most {most} are used: read as {_FEWER_BITS[most]}; "
        f"data.image.grey_bits={most} (--grey-bits {most}; of a predictor grey_bits={most}) makes 2^{most} - 1 white"
    )
