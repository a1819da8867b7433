from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtune.core.errors import DataError
from segtune.data.config import ImageConfig
from segtune.data.given import as_image
from segtune.data.images import content_digest, image_size, open_image, verify_image
from segtune.data.picture_notes import picture_notes

GRADIENT = np.stack([np.arange(24).reshape(4, 6) * 10] * 3, axis=2).astype(np.uint8)


def _with_orientation(path: Path, pixels: np.ndarray, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
@pytest.mark.parametrize(
    ("orientation", "shown"),
    [(1, GRADIENT), (3, GRADIENT[::-1, ::-1]), (6, np.rot90(GRADIENT, -1)), (8, np.rot90(GRADIENT))],
)
def test_orientation_is_applied_to_pixels_and_size(tmp_path, suffix, orientation, shown):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GRADIENT).save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    assert image_size(path) == shown.shape[:2]
    np.testing.assert_array_equal(open_image(path), shown)


def test_size_of_a_png_is_read_without_decoding(tmp_path, monkeypatch):
    path = _with_orientation(tmp_path / "a.png", GRADIENT, 6)
    Image.fromarray(GRADIENT).save(tmp_path / "plain.png")

    def refuse(self):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    assert image_size(path) == (6, 4)
    assert image_size(tmp_path / "plain.png") == (4, 6)


def test_modes_become_rgb(tmp_path):
    red = Image.new("RGB", (3, 2), (255, 0, 0))
    for mode, suffix in [("P", "png"), ("CMYK", "tiff"), ("L", "png"), ("1", "png")]:
        image = red.convert(mode)
        image.save(tmp_path / f"{mode}.{suffix}")
        expected = np.array(image.convert("RGB"))
        found = open_image(tmp_path / f"{mode}.{suffix}")
        assert found.dtype == np.uint8
        assert found.flags.writeable
        np.testing.assert_array_equal(found, expected)


def test_transparency_is_composited_on_white(tmp_path):
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (open_image(tmp_path / "clear.png") == 255).all()
    Image.new("RGBA", (2, 2), (100, 0, 0, 255)).save(tmp_path / "opaque.png")
    assert (open_image(tmp_path / "opaque.png") == (100, 0, 0)).all()
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert open_image(tmp_path / "palette.png").tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_deep_images_are_rescaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    for suffix in ("png", "tiff"):
        Image.fromarray(values).save(tmp_path / f"deep.{suffix}")
        assert open_image(tmp_path / f"deep.{suffix}")[0, :, 0].tolist() == [0, 1, 128, 255]
    for low, high, expected in [(0, 1, [0, 255]), (0, 200, [0, 200]), (-3, 7, [0, 255]), (2, 2, [2, 2])]:
        Image.fromarray(np.array([[low, high]], np.float32)).save(tmp_path / "float.tiff")
        assert open_image(tmp_path / "float.tiff")[0, :, 0].tolist() == expected
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "nan.tiff")
    with pytest.raises(DataError, match=r"nan\.tiff.*no numbers"):
        open_image(tmp_path / "nan.tiff")


def test_16_bit_colour_keeps_its_high_byte(tmp_path):
    row = b"\0" + struct.pack(">6H", 65535, 32768, 0, 256, 512, 1024)
    path = tmp_path / "deep.png"
    path.write_bytes(_png(2, 1, row, depth=16))
    assert open_image(path).tolist() == [[[255, 128, 0], [1, 2, 4]]]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty file"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "really an HTML page"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"\xff\xd8\xff\xe0\x00\x10JF", "cut short"),
        (b"\x00\x01\x02\x03\x04", "no known image format"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, content, found):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for read in (open_image, image_size, verify_image):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert found in caught.value.found
        assert caught.value.expected
        assert caught.value.fix


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        open_image(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="directory"):
        open_image(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        content_digest(tmp_path / "none.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_cut_short_images_are_found_without_decoding_good_ones(tmp_path, suffix, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    assert verify_image(path) == (80, 90)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(DataError, match=str(path)):
        open_image(path)
    with pytest.raises(DataError, match=str(path)):
        verify_image(path)


def test_giant_header_is_refused_before_decoding(tmp_path):
    path = tmp_path / "bomb.png"
    for side in (8_000, 10_000, 20_000, 100_000):  # Pillow itself says nothing, warns, refuses, refuses
        path.write_bytes(_png(side, side, b""))
        for read in (open_image, image_size):
            with pytest.raises(DataError, match="too large"):
                read(path)
    path.write_bytes(_png(30, 30, b"\0" * 30 * 91))
    with pytest.raises(DataError, match="30 x 30 = 900 pixels"):
        open_image(path, ImageConfig(max_pixels=899))
    assert open_image(path, ImageConfig(max_pixels=900)).shape == (30, 30, 3)


def test_digest_is_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert content_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def _png(width: int, height: int, rows: bytes, depth: int = 8) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("place", [-30, -20, 60, 0])
def test_a_png_with_a_damaged_byte_is_refused_however_it_is_given(tmp_path, place):
    """Pillow compares the checksums neither of pixels nor of what lies behind them."""
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[274] = 6
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(values).save(path)
    raw = bytearray(path.read_bytes())
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    late = len(content).to_bytes(4) + b"eXIf" + content + zlib.crc32(b"eXIf" + content).to_bytes(4)
    raw[-12:-12] = late
    path.write_bytes(raw)
    assert as_image(path).shape == (30, 20, 3)
    raw[place] ^= 4 if place else 0
    path.write_bytes(raw if place else raw[:-12])
    for given in (path, path.read_bytes(), Image.open(path)):
        with pytest.raises(DataError, match=r"checksum|IEND"):
            as_image(given)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_an_orientation_that_cannot_be_read_is_told(tmp_path, suffix):
    path, exif = tmp_path / f"a.{suffix}", b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(20)
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert open_image(path).shape == (20, 30, 3)
    assert [words for words in picture_notes(path) if "EXIF data too damaged" in words]
    Image.new("RGB", (30, 20)).save(path, exif=Image.Exif())
    assert picture_notes(path) == ()
