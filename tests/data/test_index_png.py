from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtune.core.errors import DataError
from segtune.data.index_png import read_index_png, verify_index_png

VALUES = np.arange(15, dtype=np.uint8).reshape(3, 5) % 4


def _write_grey(path: Path, values: np.ndarray, depth: int) -> Path:
    """A grey PNG with less than 8 bits, written by hand: Pillow writes none."""
    per_byte = 8 // depth
    rows = b""
    for row in values:
        padded = np.pad(row, (0, -len(row) % per_byte)).reshape(-1, per_byte)
        packed = sum(padded[:, k].astype(int) << (8 - depth * (k + 1)) for k in range(per_byte))
        rows += b"\0" + bytes(packed.astype(np.uint8))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_grey_values_are_those_of_the_file_whatever_its_depth(tmp_path, depth):
    path = _write_grey(tmp_path / "a.png", VALUES, depth)
    np.testing.assert_array_equal(read_index_png(path), VALUES)
    assert verify_index_png(path) == VALUES.shape


def test_palettes_are_passed_over(tmp_path):
    image = Image.fromarray(VALUES).convert("P")
    image.putdata(VALUES.ravel().tolist())
    image.putpalette([200, 10, 10] * 2 + [0, 0, 0] + [9, 9, 9])
    for bits in (2, 4, 8):
        image.save(tmp_path / "p.png", bits=bits)
        np.testing.assert_array_equal(read_index_png(tmp_path / "p.png"), VALUES)


def test_single_bits_are_0_and_1(tmp_path):
    Image.fromarray(VALUES > 1).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_index_png(tmp_path / "b.png"), VALUES > 1)


def _sixteen_bits(path):
    Image.fromarray(VALUES.astype(np.uint16)).save(path)


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (_sixteen_bits, "16 bits"),
        (lambda path: Image.fromarray(np.repeat(VALUES[..., None], 3, 2)).save(path), r"three channels \(RGB\)"),
        (lambda path: Image.fromarray(VALUES).convert("LA").save(path), "two channels"),
        (lambda path: Image.fromarray(VALUES).convert("RGBA").save(path), "four channels"),
        (lambda path: Image.fromarray(VALUES).save(path, "JPEG"), "another format"),
        (lambda path: path.write_text("<!DOCTYPE html><html>"), "HTML"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_is_no_index_mask_is_refused_before_its_pixels_are_used(tmp_path, write, found):
    write(tmp_path / "m.png")
    for read in (read_index_png, verify_index_png):
        with pytest.raises(DataError, match=found):
            read(tmp_path / "m.png")


def test_a_mask_cut_short_is_refused(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (50, 50), np.uint8)).save(tmp_path / "m.png")
    (tmp_path / "m.png").write_bytes((tmp_path / "m.png").read_bytes()[:600])
    with pytest.raises(DataError, match="damaged or cut short"):
        verify_index_png(tmp_path / "m.png")


def test_a_damaged_byte_never_becomes_another_class(tmp_path):
    """Pillow stops at the last pixel and compares no sums: bytes near the end would change labels in silence."""
    values = np.random.default_rng(0).integers(0, 4, (40, 40), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(values).save(path)
    raw = path.read_bytes()
    start, end = raw.index(b"IDAT") + 4, raw.index(b"IEND") - 4
    for place in (*range(start, end, 7), *range(end - 60, end)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 32]) + raw[place + 1 :])
        with pytest.raises(DataError, match=r"damaged|not an image"):
            read_index_png(path)
    path.write_bytes(raw + b"more")
    np.testing.assert_array_equal(read_index_png(path), values)
