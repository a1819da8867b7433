"""Reading photographs: one function that turns any image file into 8-bit RGB pixels, or says in one message why not.

The header is looked at first and the pixels only when the size is allowed, so a small file that would unpack into
gigabytes is refused before it costs memory. Orientation recorded by the camera (EXIF) is applied: every size and every
annotation in this package is in *original pixels*, the pixels as a viewer displays them. Only regular files are opened,
and only raster formats whose decoders start no other program. `given.py` reads what is no file by the same rules.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from segtune.core.errors import DataError
from segtune.core.regular import open_regular, other_kind
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.pixels import TURNED, displayed, header_orientation, require_size, said, to_rgb, too_large
from segtune.data.sniff import sniff

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Suffixes looked for beside an annotation, in lower case, the preferred first."""

# A list of our own, because Pillow would otherwise also try formats (EPS) that it renders by starting a program.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
_EXPECTED = "a JPEG, PNG, WebP, BMP, TIFF, GIF, PPM or JPEG 2000 image"
_TAIL_BYTES = 4096


def open_image(path: str | Path | io.BytesIO, config: ImageConfig = USUAL_IMAGES, where: str = "") -> np.ndarray:
    """Reads an image file as 8-bit RGB in display orientation.

    Grey, palette, CMYK and YCbCr images are converted. Transparency is composited on white. 16-bit grey is divided by
    its full range (2^`grey_bits` - 1 becomes 255), so brightness never depends on the content; 32-bit integers within
    16 bits likewise; float images in [0, 1] are multiplied by 255, in [0, 255] taken as they are; integers and floats
    of any other range are stretched from their minimum to their maximum. Of an animation or several pages the first is
    taken.

    Args:
        path: The image file, or its bytes. The content decides the format, not the suffix.
        config: The largest size that is decoded, and the bits of deep grey.
        where: What bytes are, for messages; a file is its path.

    Returns:
        uint8 `[h, w, 3]`, RGB, original pixels (after EXIF orientation), C-contiguous and writable.

    Raises:
        DataError: If the file is missing, empty, damaged, too large, not an image or of an unsupported kind.
    """
    with opened(path, config, where) as (image, _):
        where = where or str(path)
        return to_rgb(displayed(image, where), where, config)


def image_size(path: str | Path, config: ImageConfig = USUAL_IMAGES) -> tuple[int, int]:
    """Reads the displayed size of an image from its header, without decoding the pixels.

    Args:
        path: The image file.
        config: The largest size that is allowed.

    Returns:
        `(h, w)` in original pixels (after EXIF orientation).

    Raises:
        DataError: If the file is missing, empty, too large or not an image.
    """
    with opened(path, config) as (image, file):
        width, height = image.size
        turned = header_orientation(image, file) in TURNED
    return (width, height) if turned else (height, width)


def verify_image(path: str | Path, config: ImageConfig = USUAL_IMAGES) -> tuple[int, int]:
    """Checks an image as far as is cheap, and decodes it only when its end looks wrong.

    A JPEG or PNG that was cut short lacks its end marker in the last bytes. Where the marker is there, only header and
    tail are read (damage in the middle goes unseen until the image is decoded); where it is not, or the format has
    none, the image is decoded, which decides.

    Args:
        path: The image file.
        config: The largest size that is allowed, and the bits of deep grey.

    Returns:
        `(h, w)` in original pixels (after EXIF orientation).

    Raises:
        DataError: If the file is missing, empty, cut short, too large or not an image.
    """
    path = Path(path)
    size = image_size(path, config)
    if not _has_end_marker(path):
        open_image(path, config)
    return size


def content_digest(path: str | Path) -> str:
    """The SHA-256 of a file's bytes: two names with one digest are one picture.

    Args:
        path: Any regular file.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError("the file cannot be read", where=str(path), found=said(error)) from error


@contextmanager
def opened(
    source: str | Path | io.BytesIO, config: ImageConfig = USUAL_IMAGES, where: str = ""
) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """Opens the header of an image whose size is allowed; its pixels are not decoded yet.

    Args:
        source: A file, or its bytes.
        config: The largest size that is allowed.
        where: What bytes are, for messages.

    Yields:
        The image, and what it is read from.

    Raises:
        DataError: If the file is missing, empty, too large or not an image.
    """
    source = source if isinstance(source, io.BytesIO) else Path(source)
    where = where or str(source)
    with _content(source, where) as file:
        try:
            with warnings.catch_warnings():
                # Pillow warns from 89 megapixels on and refuses twice as many; our own limit is the one that decides.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                warnings.filterwarnings("ignore", "Corrupt EXIF")  # `picture_notes` tells it where it matters
                if Image.MAX_IMAGE_PIXELS is not None and config.max_pixels > Image.MAX_IMAGE_PIXELS:
                    Image.MAX_IMAGE_PIXELS = config.max_pixels  # stays, because decoding and other threads look at it
                image = Image.open(file, formats=_FORMATS)
        except Image.DecompressionBombError as error:
            raise too_large(where, config, said(error)) from error
        except (UnidentifiedImageError, SyntaxError, ValueError, OSError, EOFError) as error:
            raise DataError(
                "this is not an image that can be read",
                where=where,
                expected=_EXPECTED,
                found=sniff(source),
                fix="replace or convert the file, or remove it together with its annotation",
            ) from error
        with image:
            require_size(image, config, where)
            yield image, file


def _content(source: Path | io.BytesIO, where: str) -> BinaryIO:
    """Opens what is to be read; refuses what is missing, no regular file, or empty."""
    found = ""
    try:
        if isinstance(source, io.BytesIO):
            if source.getbuffer().nbytes:
                return io.BytesIO(source.getvalue())
        elif not (found := other_kind(source)) and source.stat().st_size:
            return open_regular(source)
        found = found or "an empty file (0 bytes)"
    except FileNotFoundError:
        found = "no such file"
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        found = said(error)
    raise DataError(
        "the image cannot be read",
        where=where,
        expected=_EXPECTED,
        found=found,
        fix="check the path (upper and lower case differ) or copy the file again",
    )


def _has_end_marker(path: Path) -> bool:
    """Whether the last bytes hold the end marker of a JPEG or PNG; False for every other format."""
    with open_regular(path) as file:
        head = file.read(8)
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = file.read()
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in tail
    return head.startswith(b"\x89PNG") and b"IEND" in tail
