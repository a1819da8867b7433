"""Reading photographs: one function that turns any image file into 8-bit RGB pixels, or says in one message why not.

The header is looked at first and the pixels only when the size is allowed, so a small file that would unpack into
gigabytes is refused before it costs memory. Orientation recorded by the camera (EXIF) is applied: every size and every
annotation in this package is in *original pixels*, the pixels as a viewer displays them. Only raster formats whose
decoders start no other program are opened.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from segtune.core.errors import DataError

MAX_PIXELS = 50_000_000
"""Largest image that is decoded unless told otherwise, in pixels (width x height)."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Suffixes looked for beside an annotation, in lower case, the preferred first."""

# A list of our own, because Pillow would otherwise also try formats (EPS) that it renders by starting a program.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
_EXPECTED = "a JPEG, PNG, WebP, BMP, TIFF, GIF, PPM or JPEG 2000 image"
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FULL_16_BIT = 65535
_TAIL_BYTES = 4096


def open_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an image file as 8-bit RGB in display orientation.

    Grey, palette, CMYK and YCbCr images are converted. Transparency is composited on white. 16-bit grey is divided by
    its full range (65,535 becomes 255), so brightness never depends on the content; 32-bit integers within 16 bits
    likewise; float images in [0, 1] are multiplied by 255, in [0, 255] taken as they are; integers and floats of any
    other range are stretched from their minimum to their maximum. Of an animation the first frame is taken.

    Args:
        path: The image file. Its content decides the format, not its suffix.
        max_pixels: Refuse images with more pixels (width x height) than this, before decoding.

    Returns:
        uint8 `[h, w, 3]`, RGB, original pixels (after EXIF orientation), C-contiguous and writable.

    Raises:
        DataError: If the file is missing, empty, damaged, too large, not an image or of an unsupported kind.
    """
    path = Path(path)
    with opened(path, max_pixels) as image:
        return _to_rgb(displayed(image, path), path)


def displayed(image: Image.Image, path: Path) -> Image.Image:
    """Decodes an opened image and turns it as a viewer shows it.

    Args:
        image: From `opened`.
        path: Its file, for the message.

    Returns:
        The image after EXIF orientation, in its own mode.

    Raises:
        DataError: If its pixels are damaged.
    """
    orientation = _orientation(image)
    try:
        image.load()
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise DataError(
            "the image is damaged or cut short",
            where=str(path),
            expected=f"a complete {image.format} image",
            found=f"{path.stat().st_size:,} bytes that do not decode ({_said(error)})",
            fix="copy or download the file again, or remove it together with its annotation",
        ) from error
    return image.transpose(_TRANSPOSES[orientation]) if orientation in _TRANSPOSES else image


def image_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Reads the displayed size of an image from its header, without decoding the pixels.

    Args:
        path: The image file.
        max_pixels: Refuse images with more pixels (width x height) than this.

    Returns:
        `(h, w)` in original pixels (after EXIF orientation).

    Raises:
        DataError: If the file is missing, empty, too large or not an image.
    """
    with opened(Path(path), max_pixels) as image:
        width, height = image.size
        turned = _orientation(image) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def verify_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Checks an image as far as is cheap, and decodes it only when its end looks wrong.

    A JPEG or PNG that was cut short lacks its end marker in the last bytes. Where the marker is there, only header and
    tail are read (damage in the middle goes unseen until the image is decoded); where it is not, or the format has
    none, the image is decoded, which decides.

    Args:
        path: The image file.
        max_pixels: Refuse images with more pixels (width x height) than this.

    Returns:
        `(h, w)` in original pixels (after EXIF orientation).

    Raises:
        DataError: If the file is missing, empty, cut short, too large or not an image.
    """
    path = Path(path)
    size = image_size(path, max_pixels)
    if not _has_end_marker(path):
        open_image(path, max_pixels)
    return size


def content_digest(path: str | Path) -> str:
    """The SHA-256 of a file's bytes: two names with one digest are one picture.

    Args:
        path: Any file.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError("the file cannot be read", where=str(path), found=_said(error)) from error


@contextmanager
def opened(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Opens the header of an image whose size is allowed; its pixels are not decoded yet.

    Raises:
        DataError: If the file is missing, empty, too large or not an image.
    """
    _require_content(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on; our own limit below is the one that decides.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise DataError(
            "the image is too large to decode safely",
            where=str(path),
            expected=f"at most {max_pixels:,} pixels",
            found=_said(error),
            fix="make a smaller copy of the image",
        ) from error
    except (UnidentifiedImageError, SyntaxError, ValueError, OSError, EOFError) as error:
        raise DataError(
            "this is not an image that can be read",
            where=str(path),
            expected=_EXPECTED,
            found=sniff(path),
            fix="replace or convert the file, or remove it together with its annotation",
        ) from error
    with image:
        if image.width * image.height > max_pixels:
            raise DataError(
                "the image is too large",
                where=str(path),
                expected=f"at most {max_pixels:,} pixels",
                found=f"{image.width} x {image.height} = {image.width * image.height:,} pixels",
                fix="make a smaller copy of the image (and of its annotation), or raise the limit on pixels",
            )
        yield image


def _require_content(path: Path) -> None:
    """Refuses what is missing, no regular file, or empty."""
    try:
        found = "" if path.is_file() else "a directory or device" if path.exists() else "no such file"
        if not found and path.stat().st_size == 0:
            found = "an empty file (0 bytes)"
        if not found:
            with open(path, "rb"):
                return
    except OSError as error:
        found = _said(error)
    raise DataError(
        "the image cannot be read",
        where=str(path),
        expected=_EXPECTED,
        found=found,
        fix="check the path (upper and lower case differ) or copy the file again",
    )


def sniff(path: str | Path) -> str:
    """Says in words what a file that is no readable image seems to be, from its first bytes.

    Args:
        path: An existing file.

    Returns:
        A phrase for the `found` line of a message, such as "an HTML page".
    """
    with open(path, "rb") as file:
        head = file.read(1024)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    known = (
        ((b"<!doctype html", b"<html", b"<head"), "really an HTML page (a download that answered with a web page?)"),
        ((b"<svg",), "an SVG drawing"),
        ((b"<?xml",), "an SVG drawing" if b"<svg" in text else "an XML file"),
        ((b"version https://git-lfs",), "a Git LFS pointer (the picture itself was not fetched: run `git lfs pull`)"),
        ((b"%pdf",), "a PDF document"),
        ((b"%!ps",), "a PostScript file"),
        ((b"{", b"["), "a JSON or text file"),
        ((b"pk\x03\x04",), "a ZIP archive"),
        ((b"\x89png", b"\xff\xd8\xff", b"riff"), "the start of an image whose header is damaged or cut short"),
    )
    for starts, name in known:
        if text.startswith(starts):
            return name
    if head[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file"
    if head and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head):
        return "a text file"
    return f"bytes of no known image format (the first are {head[:8].hex(' ')})"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, that is still to be applied after decoding; 1 where nothing is to be done."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return 1  # Pillow turns TIFF by itself, in `size` as well
    if image.format == "PNG" and not {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"} & set(image.info):
        return 1  # Pillow would decode the whole PNG to look for a chunk behind the pixels
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata is common and says nothing against the pixels
        return 1
    return value if isinstance(value, int) and value in _TRANSPOSES else 1


def _to_rgb(image: Image.Image, path: Path) -> np.ndarray:
    """uint8 `[h, w, 3]` of a decoded Pillow image in any mode."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _to_8_bit(np.asarray(image), path)
        return np.repeat(grey[:, :, None], 3, axis=2)
    try:
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
        return np.array(image.convert("RGB"))
    except (ValueError, OSError) as error:
        raise DataError(
            "the colours of this image cannot be converted",
            where=str(path),
            expected="grey, palette, RGB, RGBA, CMYK or YCbCr",
            found=f"mode {image.mode} ({_said(error)})",
            fix="convert the file to RGB",
        ) from error


def _to_8_bit(values: np.ndarray, path: Path) -> np.ndarray:
    """Grey `[h, w]` of 16-bit, 32-bit or float values, rescaled to uint8 by the rules of `open_image`."""
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise DataError(
            "the image holds values that are no numbers",
            where=str(path),
            expected="finite values",
            found=f"{int((~np.isfinite(numbers)).sum()):,} NaN or infinite pixels",
            fix="convert the file to 8 bits",
        )
    low, high = float(numbers.min()), float(numbers.max())
    top = float(_FULL_16_BIT)
    if np.issubdtype(values.dtype, np.floating):
        top = 1.0 if high <= 1 else 255.0
    if low < 0 or high > top:
        numbers, top = numbers - low, (high - low) or 1.0
    return np.rint(numbers * (255.0 / top)).astype(np.uint8)


def _has_end_marker(path: Path) -> bool:
    """Whether the last bytes hold the end marker of a JPEG or PNG; False for every other format."""
    with open(path, "rb") as file:
        head = file.read(8)
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = file.read()
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in tail
    return head.startswith(b"\x89PNG") and b"IEND" in tail


def _said(error: Exception) -> str:
    """The first line of what another library said, or its type where it said nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
