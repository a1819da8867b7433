"""Reading a JSON file that somebody else wrote: which encoding it has, and whether it says one thing only.

Every reader of annotations, of an index and of classes begins here, so that a file means the same to all of them, or is
refused with the same words. Nothing is guessed: a file that is not UTF-8 is read where its characters are certain and
refused where they are not.
"""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path
from typing import Any

from segtune.core.errors import DataError
from segtune.core.regular import open_regular
from segtune.core.strict_json import Ambiguous, loads

MAX_BYTES = 2**31
"""The largest file that is read. The annotations of COCO's training images have 0.45 GB."""

_WIDE = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TEXT = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_SIGNS = "€…‘’“”•–—™\xa0£©«®°±·»½"
_PAIRS = ("“‘", "’”", "’…", "”…", "…’", "…”", "°…")
_LETTERS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüŒœÿ"
_UMLAUTS = "äöüÄÖÜ"
_NEIGHBOURS = re.compile(r"""[A-Za-z0-9\s"'.,;:!?()/%&*+=<>#$-]""")
_MIN_PLAIN_LETTERS = 2
_SIMILAR = ("cp1250", "cp1254", "cp1257", "ISO-8859-2", "ISO-8859-15")
"""Encodings of other Latin scripts: their letters stand alone among plain ones too, so only the byte tells them."""
_CERTAIN = "UTF-8; of cp1252 only what other encodings write alike: é, ä, ö, ü, ß, quotation marks, dashes"


def _other_letters(char: str) -> dict[str, str]:
    """Where the byte of a character of cp1252 is another letter: that letter by encoding."""
    others = {encoding: char.encode("cp1252").decode(encoding, "ignore") for encoding in _SIMILAR}
    return {encoding: other for encoding, other in others.items() if other != char and other.isalpha()}


_OTHER_LETTERS = {char: others for char in _LETTERS + _SIGNS if (others := _other_letters(char))}
_UNCERTAIN = re.compile(f"[{''.join(_OTHER_LETTERS)}]")


def read_json(path: Path, example: str = "") -> tuple[Any, str]:
    """Reads a JSON file.

    UTF-8 (a byte order mark is allowed) is read without a word, UTF-16 and UTF-32 with a byte order mark with one. Of
    other encodings cp1252 is read, because the original ReasonSeg needs it, and only where every character beyond ASCII
    is one of Western European text: a sign, or a letter that stands alone among plain ones. Text in GBK, Shift-JIS or
    Cyrillic has long runs of such bytes and is refused. Czech, Polish or Lithuanian text has not, so a byte that is a
    letter there and another one in cp1252 is refused as well; most French and Spanish text has to be UTF-8 for that.

    Args:
        path: The file.
        example: What such a file looks like, for the message.

    Returns:
        The parsed value, and a note on the encoding (empty for UTF-8).

    Raises:
        DataError: If the file cannot be read, is too large, is in another encoding, is not JSON, or has an object with
            the same key twice.
    """
    raw = _read_bytes(path)
    text, note = _decode(raw, path)
    try:
        value = loads(text)
    except Ambiguous as error:
        raise DataError(str(error), where=str(path), expected=example, fix="correct it") from error
    except RecursionError as error:
        raise DataError("the file is nested too deeply", where=str(path), expected=example) from error
    except ValueError as error:
        found = str(error)[:200] if raw.strip(b"\xef\xbb\xbf \t\r\n") else "an empty file"
        raise DataError(
            "the file is not valid JSON", where=str(path), expected=example, found=found, fix="write it again"
        ) from error
    return value, note


def whole_number(value: object) -> int | None:
    """A whole number of a JSON file, also where it is written as 120.0; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == value and abs(value) <= 2**53 and value == int(value) else None


def _read_bytes(path: Path) -> bytes:
    """The content of a regular file of bearable size."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise DataError(
                    "the file is too large", where=str(path), expected=f"at most {MAX_BYTES:,} bytes",
                    found=f"{size:,} bytes", fix="split it",
                )  # fmt: skip
            return file.read()
    except OSError as error:
        raise DataError("the file cannot be read", where=str(path), found=error.strerror or str(error)) from error


def _decode(raw: bytes, path: Path) -> tuple[str, str]:
    """The text of a file, and what is to be said about its encoding."""
    for mark, encoding in _WIDE:
        if raw.startswith(mark):
            try:
                return raw.decode(encoding), f"in {encoding.upper()}, not in UTF-8, and read as such"
            except UnicodeDecodeError as error:
                raise _not_utf8(path, f"{encoding.upper()} that is damaged at byte {error.start}") from error
    if b"\x00" in raw[:4]:
        raise _not_utf8(path, "UTF-16 or UTF-32 without a byte order mark, or a file of zeros")
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        start = error.start
    text = _western(raw)
    if text is None:
        shown = " ".join(f"{byte:02x}" for byte in raw[start : start + 8])
        raise _not_utf8(path, f"byte {start} is not UTF-8 ({shown} ...)")
    if doubt := _doubt(text):
        raise _not_utf8(path, doubt)
    return text, "not in UTF-8, and read as cp1252"


def _not_utf8(path: Path, found: str) -> DataError:
    return DataError(
        "the file is not in UTF-8, and its encoding is not certain", where=str(path), expected=_CERTAIN, found=found,
        fix='save it as UTF-8 (in an editor: "Save with encoding"; in Python: open(path, "w", encoding="utf-8"))',
    )  # fmt: skip


def _western(raw: bytes) -> str | None:
    """The text as cp1252 where that is certain enough, else None.

    cp1252 gives nearly every byte a character, so decoding proves nothing. What proves something: bytes of other
    encodings come in runs and as signs that no text has, and Western European ones stand alone among plain letters.
    """
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return None
    inside = _TEXT.findall(text)
    if sum(len(part) - len(part.encode("ascii", "ignore")) for part in inside) != sum(not c.isascii() for c in text):
        return None
    return text if all(_is_western(part) for part in inside if not part.isascii()) else None


def _doubt(text: str) -> str:
    """Which character of a text read as cp1252 may be another letter, in words; empty where none may."""
    for match in _UNCERTAIN.finditer(text):
        char, index = match[0], match.start()
        if char in _LETTERS or text[index - 1].isalpha() or text[index + 1].isalpha():  # a sign alone is no letter
            readings = {"cp1252": char, **_OTHER_LETTERS[char]}
            said = ", ".join(f"{letter!r} in {encoding}" for encoding, letter in readings.items())
            return f"byte {index} ({char.encode('cp1252').hex()}) is {said}"
    return ""


def _is_western(text: str) -> bool:
    """Whether every character beyond ASCII of a text is likely meant."""
    if sum(char.isascii() and char.isalpha() for char in text) < _MIN_PLAIN_LETTERS:
        return False
    for index, char in enumerate(text):
        if char.isascii():
            continue
        before, after = text[index - 1], text[index + 1]  # a text stands in quotation marks
        if not (_is_letter(char, before) if char in _LETTERS else _is_sign(char, before)):
            return False
        if any(near.isascii() and not _NEIGHBOURS.match(near) for near in (before, after) if near != "\\"):
            return False
    return True


def _is_letter(char: str, before: str) -> bool:
    """Whether a letter beyond ASCII may stand behind another character: alone, but for the German ss."""
    return before not in _LETTERS or (char == "ß" and before in _UMLAUTS)


def _is_sign(char: str, before: str) -> bool:
    """Whether a sign may stand behind another character."""
    return char in _SIGNS and (before not in _SIGNS or before + char in _PAIRS)
