"""Damaged pictures are refused by name, told, or read as Pillow reads the same bytes; see `tests/mutations.py`.

What can be known differs by format. A PNG has a checksum for each chunk, so no damage of it may pass. The bytes of the
pixels of a JPEG, a WebP, a GIF or a BMP have none: another byte there is another picture, which nobody can tell from
the one that was meant. Such a mutation may be honest, but what lacks its end has to be refused or told.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from tests.mutations import Layout, Mutation, Reading, by_outcome, byte_mutations, run

from segtune.core.errors import DataError
from segtune.data.images import image_size, open_image
from segtune.data.picture_notes import picture_notes

HEIGHT, WIDTH = 30, 40
TURNED_RIGHT = 6
_ORIENTATION = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00"
"""The entry of the orientation in big-endian EXIF, up to the low byte of its value."""

JPEGS = ("plain.jpg", "turned.jpg", "progressive.jpg")
PNGS = ("colours.png", "turned.png", "deep.png", "palette.png", "late.png")
WEBPS = ("lossy.webp", "lossless.webp")


def _photo() -> Image.Image:
    """Soft colours with an edge, as a photograph has them."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    values = np.stack([4 * x + 20, 6 * y + 30, 200 - 2 * x - y], axis=2)
    values[8:20, 10:25] = (230, 40, 60)
    return Image.fromarray(values.astype(np.uint8))


def _exif() -> bytes:
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + _ORIENTATION + bytes([TURNED_RIGHT]) + bytes(6)


def _write(folder: Path) -> None:
    photo, exif = _photo(), _exif()
    photo.save(folder / "plain.jpg", quality=90)
    photo.save(folder / "turned.jpg", quality=90, exif=exif)
    photo.save(folder / "progressive.jpg", quality=90, progressive=True)
    photo.save(folder / "colours.png")
    photo.save(folder / "turned.png", exif=exif)
    deep = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 53).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    photo.quantize(16).save(folder / "palette.png", transparency=3)
    (folder / "late.png").write_bytes(_with_late_exif((folder / "colours.png").read_bytes()))
    photo.save(folder / "lossy.webp", quality=90, exif=exif)
    photo.save(folder / "lossless.webp", lossless=True)


def _with_late_exif(raw: bytes) -> bytes:
    """A PNG with its orientation behind the pixels, where it may stand too."""
    return raw[:-12] + _chunk(b"eXIf", _exif()[6:]) + raw[-12:]


def _read(folder: Path) -> Reading:
    items: dict[str, Any] = {}
    refused, told = {}, []
    for path in sorted(folder.iterdir()):
        found, words = _read_one(path, path.read_bytes())
        if isinstance(found, str):
            refused[path.name] = found
        else:
            items[path.name] = found
        told += words
    return Reading(items, refused, tuple(told))


@cache
def _read_one(path: Path, raw: bytes) -> tuple[Any, tuple[str, ...]]:
    """What is read of a file with these bytes, or why it is refused, and what is told of it."""
    try:
        pixels, size = open_image(path), image_size(path)
        told = tuple(f"{path.name}: {words}" for words in picture_notes(path))
    except DataError as error:
        return (error.message, ()) if error.where == str(path) else (None, ())
    return (size if size != pixels.shape[:2] else None, pixels.shape, pixels.tobytes()), told


def _plain(folder: Path) -> dict[str, Any]:
    items = {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            image.load()
            shown = ImageOps.exif_transpose(image)
        if shown.mode.startswith("I"):
            grey = np.rint(np.asarray(shown).astype(float) / 257).astype(np.uint8)
            pixels = np.stack([grey] * 3, axis=2)
        else:
            layer = shown.convert("RGBA")
            pixels = np.array(Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer))
            pixels = np.ascontiguousarray(pixels[:, :, :3])
        items[path.name] = (None, pixels.shape, pixels.tobytes())
    return items


def _mutations(rng: random.Random, files: Mapping[str, bytes]) -> Iterator[tuple[str, Mutation]]:
    for name in JPEGS:
        raw = files[name]
        for one in byte_mutations(rng, len(raw), flips=25, cuts=5):
            yield name, Mutation(one.name, one.apply, wrong=one.name.startswith(("cut", "zeros", "empty")))
        yield name, Mutation("without its end marker", lambda raw: raw[:-2], warned=True)
        yield name, Mutation("bytes behind its end", lambda raw: raw + bytes(100))
        yield name, Mutation("a PNG in its place", lambda raw: files["palette.png"])
        yield name, Mutation("words in its place", lambda raw: b"<html>not found</html>", wrong=True)
        for field, value in (("height", 0), ("height", 15), ("height", 300), ("width", 41), ("width", 65500)):
            yield name, Mutation(f"a {field} of {value}", lambda raw, f=field, v=value: _resized_jpeg(raw, f, v))
    for name in PNGS:
        raw = files[name]
        for one in byte_mutations(rng, len(raw), flips=25, cuts=5):
            yield name, Mutation(one.name, one.apply, wrong=one.name != "twice")
        yield name, Mutation("bytes behind its end", lambda raw: raw + bytes(100))
        yield name, Mutation("a JPEG in its place", lambda raw: files["plain.jpg"])
        for place, value in ((3, 200), (3, 41), (7, 15), (7, 31), (8, 4), (8, 1), (9, 0), (9, 2), (9, 6), (12, 1)):
            changed = Mutation(f"byte {place} of the header is {value}", _header_byte(place, value))
            yield name, changed
        for kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"):
            if kind in raw:
                yield name, Mutation(f"no {kind.decode()}", _without_chunk(kind))
                yield name, Mutation(f"{kind.decode()} has a wrong sum", _wrong_sum(kind), wrong=True)
    for name in WEBPS:
        for one in byte_mutations(rng, len(files[name]), flips=25, cuts=5):
            yield name, Mutation(one.name, one.apply, wrong=one.name.startswith(("cut", "empty")))
        yield name, Mutation("bytes behind its end", lambda raw: raw + bytes(100))
    for name in ("turned.jpg", "turned.png", "late.png", "lossy.webp"):
        for value in (1, 3, 8, 0, 99):
            yield name, Mutation(f"orientation {value}", _resealed(_orientation(value)))
        yield (
            name,
            Mutation("another kind of EXIF", _resealed(lambda raw: raw.replace(b"MM\0*", b"XX\0*")), warned=True),
        )
        yield (
            name,
            Mutation(
                "EXIF that points outside",
                _resealed(lambda raw: raw.replace(b"MM\0*\0\0\0\x08", b"MM\0*\0\0\xff\xff")),
                warned=True,
            ),
        )


def _orientation(value: int) -> Callable[[bytes], bytes]:
    return lambda raw: raw.replace(_ORIENTATION + bytes([TURNED_RIGHT]), _ORIENTATION + bytes([value]))


def _resized_jpeg(raw: bytes, field: str, value: int) -> bytes:
    frame = max(raw.find(b"\xff\xc0\x00\x11"), raw.find(b"\xff\xc2\x00\x11"))
    place = frame + (5 if field == "height" else 7)
    return raw[:place] + value.to_bytes(2) + raw[place + 2 :]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def _chunks(raw: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 8
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 4])
        found.append((raw[place + 4 : place + 8], raw[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def _joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _resealed(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A change with the checksums of a PNG made to fit it, as whoever edits a file does."""
    return lambda raw: _joined(_chunks(change(raw))) if raw.startswith(b"\x89PNG") else change(raw)


def _header_byte(place: int, value: int) -> Callable[[bytes], bytes]:
    return _resealed(lambda raw: raw[: 16 + place] + bytes([value]) + raw[17 + place :])


def _without_chunk(kind: bytes) -> Callable[[bytes], bytes]:
    return lambda raw: _joined([chunk for chunk in _chunks(raw) if chunk[0] != kind])


def _wrong_sum(kind: bytes) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        start = raw.index(kind)
        end = start + 4 + int.from_bytes(raw[start - 4 : start])
        return raw[:end] + bytes([raw[end] ^ 1]) + raw[end + 1 :]

    return change


PICTURES = Layout(
    "pictures",
    _write,
    _read,
    _plain,
    _mutations,
    lambda file: (file,),
    lambda file: (file,),
    kind=lambda file: "picture",
)


def test_no_picture_is_misread_in_silence(tmp_path: Path) -> None:
    found, failures = run(PICTURES, tmp_path / "data")
    outcomes = by_outcome(found)
    assert not failures, "\n".join(failures)
    assert outcomes.total() >= 300
    assert outcomes["refused"] >= 100
    assert outcomes["honest"] >= 20
    assert outcomes["same"] >= 20
