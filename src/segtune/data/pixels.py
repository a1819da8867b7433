"""From an opened or given picture to 8-bit RGB in display orientation: the one reading of pixels.

Files, bytes, Pillow images and arrays all end here, so that the same picture gives the same pixels however it comes.
"""

from __future__ import annotations

import struct
import warnings
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from segtune.core.errors import DataError
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.png_sums import require_sums

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED = (5, 6, 7, 8)
"""Orientations that exchange height and width."""

_PNG_EXIF = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
"""Where Pillow keeps an orientation in the `info` of a PNG."""

_FULL_16_BIT = 65535
_WHITE = (255, 255, 255, 255)


def require_size(image: Image.Image, config: ImageConfig, where: str) -> None:
    """Refuses a picture with more pixels than allowed, before it is decoded.

    Raises:
        DataError: It has more, or none.
    """
    if not image.width * image.height:
        raise DataError("the image has no pixels", where=where, found=f"{image.width} x {image.height}")
    if image.width * image.height > config.max_pixels:
        found = f"{image.width} x {image.height} = {image.width * image.height:,} pixels"
        raise too_large(where, config, found)


def too_large(where: str, config: ImageConfig, found: str) -> DataError:
    """The refusal of a picture with more pixels than `data.image.max_pixels`."""
    return DataError(
        "the image is too large",
        where=where,
        expected=f"at most {config.max_pixels:,} pixels",
        found=found,
        fix="make a smaller copy of the image (and of its annotation), or raise the limit: --max-pixels N for "
        "`segtune predict`, `evaluate` and `data check`, data.image.max_pixels=N for `train`",
    )


def displayed(image: Image.Image, where: str) -> Image.Image:
    """Decodes an opened image and turns it as a viewer shows it.

    Args:
        image: Of Pillow. Of several frames the one that it stands at, which is the first of one just opened.
        where: What it is, for the message.

    Returns:
        The image after EXIF orientation, in its own mode.

    Raises:
        DataError: If its pixels are damaged, as far as its format lets anybody know.
    """
    tiff = isinstance(image, TiffImagePlugin.TiffImageFile)  # Pillow turns these by itself
    file = getattr(image, "fp", None)  # None where somebody has decoded it already
    if image.format == "PNG" and file is not None and not file.closed:
        require_sums(file, where)
    try:
        image.load()
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise DataError(
            "the image is damaged or cut short",
            where=where,
            expected=f"a complete {image.format} image",
            found=f"data that does not decode ({said(error)})",
            fix="copy or download the file again, or remove it together with its annotation",
        ) from error
    turn = 1 if tiff else _orientation(image)
    return image.transpose(_TRANSPOSES[turn]) if turn in _TRANSPOSES else image


def header_orientation(image: Image.Image, file: BinaryIO) -> int:
    """The EXIF orientation, 1 to 8, of an image that is not decoded yet; 1 where nothing is to be turned.

    Args:
        image: Just opened.
        file: What it was opened from; its position is kept.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return 1  # Pillow turns TIFF by itself, in `size` as well
    if image.format == "PNG" and not _PNG_EXIF & set(image.info) and _metadata_follows(file):
        try:
            image.load()
        except Exception:  # the decoding that follows tells it
            return 1
    return _orientation(image)


def orientation_is_lost(image: Image.Image, file: BinaryIO | None) -> bool:
    """Whether the metadata of an image are so damaged that nobody knows how it has to be turned; it is not, then.

    Args:
        image: Just opened, or decoded.
        file: What it was opened from, whose position is kept; None where it is decoded, with all of its metadata.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    if image.format == "PNG" and not _PNG_EXIF & set(image.info) and not (file and _metadata_follows(file)):
        return False
    return _exif_orientation(image) is None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation in the metadata that has been read."""
    if image.format == "PNG" and not _PNG_EXIF & set(image.info):
        return 1  # Pillow would decode the whole PNG to look for a chunk behind the pixels
    value = _exif_orientation(image)
    return value if value in _TRANSPOSES else 1


def _exif_orientation(image: Image.Image) -> int | None:
    """What the metadata say of the orientation, 1 where nothing; None where they are too damaged to say it."""
    with warnings.catch_warnings(record=True) as damage:  # Pillow warns of an entry that points outside, and goes on
        warnings.simplefilter("always")
        try:
            value = image.getexif().get(ExifTags.Base.Orientation)
            if value is None and (raw := image.info.get("exif")):
                Image.Exif().load(raw)  # once more: of a JPEG it was read when it was opened, and all errors dropped
        except Exception:  # damaged metadata is common and says nothing against the pixels
            return None
    if value is None:
        return None if damage else 1
    return value if isinstance(value, int) else 1


def _metadata_follows(file: BinaryIO) -> bool:
    """Whether a PNG has metadata behind its pixels that may hold an orientation."""
    before, seen = file.tell(), False
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if seen and kind in (b"eXIf", b"iTXt", b"zTXt", b"tEXt"):
                start = file.read(min(length, 24))
                if kind == b"eXIf" or start.startswith((b"XML:com.adobe.xmp", b"Raw profile type exif")):
                    return True
                file.seek(length - len(start) + 4, 1)
                continue
            seen = seen or kind == b"IDAT"
            file.seek(length + 4, 1)
        return False
    finally:
        file.seek(before)


def to_rgb(image: Image.Image, where: str, config: ImageConfig = USUAL_IMAGES) -> np.ndarray:
    """8-bit RGB of a decoded Pillow image in any mode.

    Args:
        image: From `displayed`.
        where: What it is, for messages.
        config: How many bits deep grey has.

    Returns:
        uint8 `[h, w, 3]`, RGB, C-contiguous and writable.

    Raises:
        DataError: Its mode or its values cannot be converted.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        grey = deep_grey(values, where, config.grey_bits if image.mode.startswith("I;16") else 16)
        if isinstance(key := image.info.get("transparency"), int):
            grey[values == key] = 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    try:
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, _WHITE), layer)
        return np.array(image.convert("RGB"))
    except (ValueError, OSError) as error:
        raise DataError(
            "the colours of this image cannot be converted",
            where=where,
            expected="grey, palette, RGB, RGBA, CMYK or YCbCr",
            found=f"mode {image.mode} ({said(error)})",
            fix="convert the file to RGB",
        ) from error


def deep_grey(values: np.ndarray, where: str, bits: int = 16) -> np.ndarray:
    """8-bit grey of 16-bit, 32-bit or float values, by the rules of `images.open_image`.

    Args:
        values: `[h, w]`, of any numeric type.
        where: What it is, for messages.
        bits: 2^bits - 1 is white, where the values are whole numbers.

    Returns:
        uint8 `[h, w]`.

    Raises:
        DataError: NaN, infinity, or whole numbers of 16 bits that need more than `bits`.
    """
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise DataError(
            "the image holds values that are no numbers",
            where=where,
            expected="finite values",
            found=f"{int((~np.isfinite(numbers)).sum()):,} NaN or infinite pixels",
            fix="convert the file to 8 bits",
        )
    low, high = float(numbers.min()), float(numbers.max())
    top = float(2**bits - 1)
    if np.issubdtype(values.dtype, np.floating):
        top = 1.0 if high <= 1 else 255.0
    elif bits < 16 and top < high:
        raise DataError(
            "the image uses more bits than grey pictures are said to have",
            where=where,
            expected=f"values up to {int(top):,} ({bits} bits)",
            found=f"{int(high):,}",
            fix=f"set data.image.grey_bits={int(high).bit_length()} (--grey-bits in other commands than train)",
        )
    if low < 0 or high > top:
        numbers, top = numbers - low, (high - low) or 1.0
    return np.rint(numbers * (255.0 / top)).astype(np.uint8)


def from_array(values: np.ndarray, config: ImageConfig = USUAL_IMAGES) -> np.ndarray:
    """8-bit RGB of an array.

    Args:
        values: RGB `[h, w, 3]` or grey `[h, w]`; uint8, or uint16, which is scaled as in a 16-bit file: grey by its
            full range, colours by their high byte.
        config: Limits.

    Returns:
        uint8 `[h, w, 3]`, RGB.

    Raises:
        DataError: Another type, shape or order of axes, no pixels, or too many.
    """
    is_image = values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3)
    if values.dtype not in (np.uint8, np.uint16) or not is_image or not values.size:
        raise DataError(
            "this array is no image",
            expected="uint8 or uint16, RGB [height, width, 3] or grey [height, width]",
            found=f"{values.dtype} {list(values.shape)}",
            fix="bring it into this form (colours last, 0 to 255), or give a path or a Pillow image",
        )
    if values.shape[0] * values.shape[1] > config.max_pixels:
        found = f"{values.shape[1]} x {values.shape[0]} = {values.shape[0] * values.shape[1]:,} pixels"
        raise too_large("the array", config, found)
    if values.dtype == np.uint16:
        grey = values.ndim == 2
        values = deep_grey(values, "the array", config.grey_bits) if grey else (values >> 8).astype(np.uint8)
    return np.repeat(values[:, :, None], 3, axis=2) if values.ndim == 2 else values


def said(error: Exception) -> str:
    """The first line of what another library said, or its type where it said nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
