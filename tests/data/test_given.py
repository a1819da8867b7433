"""One picture, one reading: as a path, bytes, an open file, a Pillow image or an array."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segtune.core.errors import DataError
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.given import as_image
from segtune.data.images import image_size
from segtune.data.picture_notes import picture_notes

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
ALPHA = np.dstack([PIXELS, np.arange(35, dtype=np.uint8).reshape(5, 7) * 7])
DEEP = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1900
SMOOTH = np.dstack([np.arange(32 * 48).reshape(32, 48) // 6] * 3).astype(np.uint8)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _late_exif(path: Path) -> None:
    """A PNG whose orientation stands behind its pixels."""
    Image.fromarray(PIXELS).save(path)
    content = path.read_bytes()
    end = content.index(b"IEND") - 4
    path.write_bytes(content[:end] + _chunk(b"eXIf", _exif(6).tobytes()[6:]) + content[end:])


def _palette(path: Path) -> None:
    image = Image.fromarray(PIXELS).quantize(8)
    image.save(path, transparency=bytes([0, 128, 255, 255, 255, 255, 255, 9]))


def _frames(path: Path, **options: object) -> None:
    Image.fromarray(PIXELS).save(path, save_all=True, append_images=[Image.fromarray(PIXELS[::-1])], **options)


def _saved(array: np.ndarray, mode: str | None = None, **options: object) -> Callable[[Path], None]:
    image = Image.fromarray(array)
    return lambda path: (image if mode is None else image.convert(mode)).save(path, **options)


FILES: dict[str, Callable[[Path], None]] = {
    "plain.png": _saved(PIXELS),
    **{f"turned{o}.jpg": _saved(SMOOTH, exif=_exif(o)) for o in range(1, 9)},
    "turned.png": _saved(PIXELS, exif=_exif(6)),
    "turned.webp": _saved(PIXELS, exif=_exif(8), lossless=True),
    "turned.tiff": _saved(PIXELS, exif=_exif(6)),
    "late.png": _late_exif,
    "grey.png": _saved(PIXELS, "L"),
    "grey16.png": _saved(DEEP),
    "grey16.tiff": _saved(DEEP),
    "grey16big.tiff": _saved(DEEP.astype(">u2")),
    "grey16clear.png": _saved(DEEP, transparency=1900),
    "int32.tiff": _saved(DEEP.astype(np.int32) * 9 - 5),
    "float.tiff": _saved(DEEP.astype(np.float32) / 65535),
    "clear.png": _saved(ALPHA),
    "clear.webp": _saved(ALPHA, lossless=True),
    "greyclear.png": _saved(ALPHA, "LA"),
    "key.png": _saved(PIXELS, transparency=tuple(PIXELS[0, 0].tolist())),
    "palette.png": _palette,
    "palette.gif": _saved(PIXELS, "P"),
    "cmyk.jpg": _saved(SMOOTH, "CMYK"),
    "cmyk.tiff": _saved(PIXELS, "CMYK"),
    "bits.png": _saved(PIXELS, "1"),
    "frames.mpo": _frames,
    "frames.gif": _frames,
    "frames.webp": lambda path: _frames(path, lossless=True),
    "frames.png": _frames,
    "pages.tiff": _frames,
}


@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_read_alike_however_it_comes(tmp_path, name):
    FILES[name](path := tmp_path / name)
    expected = as_image(path)
    assert (expected.dtype, expected.ndim, expected.shape[2]) == (np.uint8, 3, 3)
    assert image_size(path) == expected.shape[:2]
    content = path.read_bytes()
    given = [str(path), content, bytearray(content), io.BytesIO(content)]
    with Image.open(path) as image, path.open("rb") as file:
        loaded = Image.open(path)
        loaded.load()
        file.read(3)  # it is read from its start whatever was read before
        for one in (*given, file, image, loaded, Image.open(io.BytesIO(content))):
            np.testing.assert_array_equal(as_image(one), expected)


def test_the_pixels_are_those_that_a_viewer_shows(tmp_path):
    read = {}
    for name, write in FILES.items():
        write(tmp_path / name)
        read[name] = as_image(Image.open(tmp_path / name)).astype(int)
    np.testing.assert_array_equal(read["turned.png"], np.rot90(PIXELS, -1))
    np.testing.assert_array_equal(read["turned.webp"], np.rot90(PIXELS))
    np.testing.assert_array_equal(read["late.png"], np.rot90(PIXELS, -1))
    np.testing.assert_array_equal(read["grey16.png"][..., 0], np.rint(DEEP / 257))
    np.testing.assert_array_equal(read["grey16big.tiff"], read["grey16.tiff"])
    assert read["grey16clear.png"][0, :3, 0].tolist() == [0, 255, 15]
    on_white = np.rint(PIXELS * (ALPHA[..., 3:] / 255) + 255 - ALPHA[..., 3:])
    assert abs(read["clear.png"] - on_white).max() <= 1
    assert read["key.png"][0, 0].tolist() == [255, 255, 255]
    for name in ("frames.webp", "frames.png", "pages.tiff"):
        np.testing.assert_array_equal(read[name], PIXELS)


def test_a_frame_that_was_chosen_is_kept(tmp_path):
    _frames(tmp_path / "pages.tiff")
    image = Image.open(tmp_path / "pages.tiff")
    image.seek(1)
    np.testing.assert_array_equal(as_image(image), PIXELS[::-1])


def test_a_copy_keeps_its_orientation(tmp_path):
    FILES["turned.png"](tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    np.testing.assert_array_equal(as_image(image.convert("RGBA")), np.rot90(PIXELS, -1))


def test_arrays(tmp_path):
    assert as_image(PIXELS) is PIXELS
    np.testing.assert_array_equal(as_image(PIXELS[..., 0]), np.dstack([PIXELS[..., 0]] * 3))
    FILES["grey16.png"](tmp_path / "deep.png")
    np.testing.assert_array_equal(as_image(DEEP), as_image(tmp_path / "deep.png"))
    np.testing.assert_array_equal(as_image(PIXELS.astype(np.uint16) * 256 + 3), PIXELS)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (PIXELS.astype(np.float32) / 255, "float32 [5, 7, 3]"),
        (PIXELS.transpose(2, 0, 1), "uint8 [3, 5, 7]"),
        (ALPHA, "uint8 [5, 7, 4]"),
        (PIXELS[..., 0] > 9, "bool [5, 7]"),
        (PIXELS[:0], "uint8 [0, 7, 3]"),
        (PIXELS[..., :2], "uint8 [5, 7, 2]"),
        (PIXELS[None], "uint8 [1, 5, 7, 3]"),
        (PIXELS.astype(np.int64), "int64 [5, 7, 3]"),
    ],
)
def test_an_array_that_is_no_image_is_refused(wrong, found):
    with pytest.raises(DataError, match="this array is no image") as caught:
        as_image(wrong)
    assert caught.value.found == found


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ([PIXELS, PIXELS], "list"),
        (["a.png"], "list"),
        (None, "NoneType"),
        (7, "int"),
        (torch.zeros(3, 5, 7), "torch.Tensor torch.float32 [3, 5, 7]"),
        (io.StringIO("text"), "str"),
        (Image.new("RGB", (0, 3)), "0 x 3"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(wrong, found):
    with pytest.raises(DataError) as caught:
        as_image(wrong)
    assert caught.value.found == found


def test_damage_and_size_are_told_however_the_picture_comes(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    short = content[: len(content) // 2]
    for given in (short, io.BytesIO(short), Image.open(io.BytesIO(short))):
        with pytest.raises(DataError, match="damaged or cut short"):
            as_image(given)
    for given in (b"", io.BytesIO()):
        with pytest.raises(DataError, match="an empty file"):
            as_image(given)
    with pytest.raises(DataError, match="an HTML page"):
        as_image(b"<!doctype html><html></html>")
    limit = ImageConfig(max_pixels=3599)
    for given in (tmp_path / "a.jpg", content, Image.open(tmp_path / "a.jpg"), noise):
        with pytest.raises(DataError, match=r"(?s)too large.*3,600 pixels.*--max-pixels N.*data.image.max_pixels=N"):
            as_image(given, limit)
        assert as_image(given, ImageConfig(max_pixels=3600)).shape == (60, 60, 3)


def test_grey_of_twelve_bits_is_scaled_where_that_is_set(tmp_path):
    values = np.array([[0, 2048, 4095]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    twelve = ImageConfig(grey_bits=12)
    for given in (tmp_path / "a.png", Image.open(tmp_path / "a.png"), values):
        assert as_image(given)[0, :, 0].tolist() == [0, 8, 16]
        assert as_image(given, twelve)[0, :, 0].tolist() == [0, 128, 255]
    Image.fromarray(values * 2).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"(?s)more bits.*up to 4,095 \(12 bits\).*8,190.*grey_bits=13"):
        as_image(tmp_path / "a.png", twelve)


@pytest.mark.parametrize(
    ("largest", "words"), [(200, "at most 12"), (4095, "at most 12"), (4096, "at most 14"), (16383, "at most 14")]
)
def test_grey_that_uses_fewer_bits_is_told_unless_that_is_set(tmp_path, largest, words):
    Image.fromarray(np.array([[0, largest]], np.uint16)).save(tmp_path / "a.png")
    (note,) = picture_notes(tmp_path / "a.png")
    assert words in note
    assert picture_notes(tmp_path / "a.png", ImageConfig(grey_bits=int(words[-2:]))) == ()


def test_grey_that_uses_all_bits_needs_no_word(tmp_path):
    Image.fromarray(np.array([[0, 16384]], np.uint16)).save(tmp_path / "a.png")
    assert picture_notes(tmp_path / "a.png") == ()


@pytest.fixture
def warned(monkeypatch) -> Callable[..., list[str]]:
    """What is said when a picture is read."""
    told: list[str] = []
    monkeypatch.setattr("logging.Logger.warning", lambda _, form, *values: told.append(form % values))

    def _warned(image: object, config: ImageConfig = USUAL_IMAGES) -> list[str]:
        told.clear()
        as_image(image, config)
        return list(told)

    return _warned


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_what_may_not_be_meant_is_told_once_however_the_picture_comes(tmp_path, warned, name):
    values = np.array([[0, 2048, 4095]], np.uint16)
    Image.fromarray(values).save(path := tmp_path / name)
    loaded = Image.open(path)
    loaded.load()
    places = {"path": str(path), "text": str(path), "bytes": "the bytes", "stream": "the file", "array": "the array"}
    given = {"path": path, "text": str(path), "bytes": path.read_bytes(), "stream": io.BytesIO(path.read_bytes())}
    given |= {"array": values, "pillow": Image.open(path), "loaded": loaded, "made": Image.fromarray(values)}
    for kind, image in given.items():
        (told,) = warned(image)
        assert told.startswith(f"{places.get(kind, 'the Pillow image')}")
        assert ": a picture with grey values of 16 bits, of which at most 12 are used: read as nearly black" in told
    for image in (path, path.read_bytes(), values, Image.open(path)):
        assert warned(image, ImageConfig(grey_bits=12)) == []


def test_frames_are_told_where_nobody_chose_one(tmp_path, warned):
    _frames(tmp_path / "a.gif")
    (told,) = warned(tmp_path / "a.gif")
    assert told.endswith("only the first is used")
    assert warned(Image.open(tmp_path / "a.gif")) == []


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_data_are_told_of_a_pillow_image_too(tmp_path, warned):
    Image.fromarray(SMOOTH).save(path := tmp_path / "a.jpg", exif=_exif(6))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"MM\x00*\x00\x00\x00\x08", b"MM\x00*\x00\x00\xff\x08"))
    assert path.read_bytes() != content
    for image in (path, Image.open(path)):
        (told,) = warned(image)
        assert "EXIF data too damaged" in told


@pytest.mark.parametrize("name", ["plain.png", "turned6.jpg", "late.png", "clear.webp", "palette.gif", "int32.tiff"])
def test_an_ordinary_picture_needs_no_word(tmp_path, warned, name):
    FILES[name](path := tmp_path / name)
    for image in (path, path.read_bytes(), Image.open(path), PIXELS, PIXELS.astype(np.uint16)):
        assert warned(image) == []


def test_a_missing_file_is_told():
    with pytest.raises(DataError, match=r"nothing/there\.png: the image cannot be read"):
        as_image("nothing/there.png")
