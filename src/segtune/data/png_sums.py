"""The checksums of a PNG, which its decoder passes over."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from segtune.core.errors import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def require_sums(file: BinaryIO, where: str) -> None:
    """Refuses a PNG with a chunk that is not what was written, and one that has no end.

    Pillow stops decoding when it has all pixels and never compares the sums of what it decodes, nor those of metadata
    behind the pixels. A damaged byte would be another colour, another class or another orientation without a word.

    Args:
        file: An open PNG; its position is kept.
        where: The file, for the message.

    Raises:
        DataError: A checksum is wrong, or the last chunk is missing.
    """
    before = file.tell()
    try:
        file.seek(len(_SIGNATURE))
        problem = _first_problem(file)
    finally:
        file.seek(before)
    if problem:
        raise DataError(
            "the image is damaged or cut short", where=where, expected="the bytes that were written", found=problem,
            fix="copy, download or export the file again, or remove it together with its annotation",
        )  # fmt: skip


def _first_problem(file: BinaryIO) -> str:
    """What is wrong with the chunks from here on; empty where nothing is."""
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4]), head[4:]
        content, sum_written = file.read(length), file.read(4)
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(sum_written) or len(sum_written) < 4:
            return f"a chunk {kind.decode('ascii', 'replace')!r} with a wrong checksum"
        if kind == b"IEND":
            return ""
    return "no chunk 'IEND' at the end"
