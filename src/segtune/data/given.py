"""One picture as somebody hands it over: a path, bytes, an open file, a Pillow image or an array."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from segtune.core.errors import DataError
from segtune.core.log import get_logger
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.images import open_image
from segtune.data.picture_notes import given_notes, picture_notes
from segtune.data.pixels import displayed, from_array, require_size, to_rgb

Given = str | Path | bytes | bytearray | BinaryIO | np.ndarray | Image.Image
"""What is taken for a picture."""

_log = get_logger(__name__)


def as_image(image: Given, config: ImageConfig = USUAL_IMAGES) -> np.ndarray:
    """The pixels of a picture: the same for its file, its bytes and what Pillow opens.

    Whoever hands it over is warned of what may not be meant (see `picture_notes`), once each time that it is read.

    Args:
        image: A path; the bytes of a file; a file opened with "rb", which is read from its start; a Pillow image, whose
            EXIF orientation is applied, with the frame that it stands at; or an array (see `pixels.from_array`).
        config: The largest size that is read, and the bits of deep grey.

    Returns:
        uint8 `[h, w, 3]`, RGB, original pixels.

    Raises:
        DataError: A file or a picture that cannot be read (see `images.open_image`), an array that is no image, or an
            object of another type.
    """
    if isinstance(image, str | Path):
        return _opened(image, config, str(image))
    if isinstance(image, bytes | bytearray):
        return _opened(io.BytesIO(bytes(image)), config, "the bytes")
    if isinstance(image, Image.Image):
        name = getattr(image, "filename", "")
        where = f"the Pillow image {name}" if isinstance(name, str) and name else "the Pillow image"
        require_size(image, config, where)
        pixels = to_rgb(displayed(image, where), where, config)
        _tell(where, given_notes(image, config))
        return pixels
    if isinstance(image, np.ndarray):
        pixels = from_array(image, config)
        _tell("the array", given_notes(image, config))
        return pixels
    if callable(getattr(image, "read", None)):
        return _from_file(image, config)
    raise _no_picture(image)


def _from_file(file: BinaryIO, config: ImageConfig) -> np.ndarray:
    """The pixels of an open file."""
    where = f"the file {getattr(file, 'name', '')}".rstrip()
    try:
        if file.seekable():
            file.seek(0)
        content = file.read()
    except (OSError, ValueError, AttributeError) as error:
        raise DataError("the file cannot be read", where=where, found=str(error)) from error
    if not isinstance(content, bytes):
        raise DataError(
            "the file is open as text", where=where, expected='a file opened with "rb"', found=type(content).__name__
        )
    return _opened(io.BytesIO(content), config, where)


def _opened(source: str | Path | io.BytesIO, config: ImageConfig, where: str) -> np.ndarray:
    """The pixels of a file or of its bytes."""
    pixels = open_image(source, config, where)
    _tell(where, picture_notes(source, config))
    return pixels


def _tell(where: str, notes: tuple[str, ...]) -> None:
    """Warns of what a picture is read as, where that may not be meant."""
    for words in notes:
        _log.warning("%s: a picture %s", where, words)


def _no_picture(image: object) -> DataError:
    """The refusal of an object of another type, with what it is and what to do about it."""
    kind = f"{type(image).__module__}.{type(image).__qualname__}".removeprefix("builtins.")
    shape = getattr(image, "shape", None)
    found = kind if shape is None else f"{kind} {getattr(image, 'dtype', '')} {list(shape)}"
    fix = "give one picture at a time"
    if shape is not None:
        fix = "turn it into an array with the colours last, 0 to 255: tensor.permute(1, 2, 0).cpu().numpy()"
    elif not isinstance(image, list | tuple):
        fix = ""
    return DataError(
        "this is no picture",
        expected="a path, the bytes of a file, an open file, a Pillow image or a NumPy array",
        found=found,
        fix=fix,
    )
