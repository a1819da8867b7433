"""What a picture file is read as, where that may not be meant: told by `data check`, training and prediction alike."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

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
    found = []
    with opened(source, config) as (image, file):
        if orientation_is_lost(image, file):
            found.append("with EXIF data too damaged to say how it is turned: read as it is stored")
        if image.format in _ANIMATED and getattr(image, "is_animated", False):
            found.append("of several frames or pages: only the first is used")
        if image.mode.startswith("I;16") and (bits := _bits(image)):
            most = next((most for most in _FEWER_BITS if bits <= most), 16)
            if most < config.grey_bits:
                found.append(
                    f"with grey values of 16 bits, of which at most {most} are used: read as {_FEWER_BITS[most]}; "
                    f"data.image.grey_bits={most} (--grey-bits {most}) makes 2^{most} - 1 white"
                )
    return tuple(found)


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


def _bits(image: Image.Image) -> int:
    """Bits of the largest value of a picture with grey values of 16 bits; 0 where all of it is black or damaged."""
    try:
        return int(np.asarray(image).max()).bit_length()
    except Exception:  # decoders raise nearly anything; damage is told where the picture is read
        return 0
