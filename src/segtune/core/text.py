"""What counts as a text, and how foreign text is shown: the rules for every string that comes from outside.

A text enters through `require_text` (a question, an explanation), `require_name` (a class, a label) or `require_utf8`
(a path, the words of a foreign prediction). What a person or a terminal sees goes through `core.visible`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from segtune.core.errors import DataError, SegtuneError
from segtune.core.visible import visible

MAX_CHARACTERS = 4000
"""The longest text of a dataset, in characters: about 650 words of English. What a model can read is often less."""

LOST_CHARACTER = "\ufffd"
"""What decoders write for bytes that they cannot read."""

SENTENCE_WORDS = 8
"""A text of so many words, or more, is a sentence."""

_QUESTION_MARKS = re.compile("[?？؟՞፧⁇⁈⁉‽⸮]")
_END_MARKS = tuple(".!。！．…।॥۔։።။៕")
# Scripts that put no space between words, with about as many characters in a word: Thai, Lao, Burmese, Khmer; then
# Japanese and Chinese. Korean has spaces.
_UNSPACED = (
    (re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"), 4),
    (re.compile("[\u3040-\u30ff\u3400-\u9fff]"), 2),
)

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_TEXT = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")  # all but those that are white space


def require_utf8(
    text: str, where: str, *, what: str = "this text", error: type[SegtuneError] = DataError, fix: str = ""
) -> str:
    """Refuses what UTF-8 cannot hold: half of a pair of surrogates, as half an emoji in JSON or a foreign byte is.

    Args:
        text: Any string.
        where: The file, key or argument that it comes from.
        what: What it is, for the message.
        error: `DataError` for data, `ConfigError` for arguments and settings.
        fix: What the reader can do; the usual advice if empty.

    Returns:
        The text as it is.
    """
    found = _SURROGATE.search(text)
    if found is None:
        return text
    raise error(
        f"{what} holds half of a character, which UTF-8 cannot hold",
        where=where,
        expected="whole characters",
        found=f"U+{ord(found[0]):04X} at position {found.start()} of {shortened(text)}",
        fix=fix or "write the text again, in UTF-8",
    )


def require_text(
    text: str, where: str, *, what: str = "this text", error: type[SegtuneError] = DataError, fix: str = ""
) -> str:
    """Refuses a text that UTF-8 cannot hold, that holds control characters, or that is longer than `MAX_CHARACTERS`.

    White space of any kind is allowed. Arguments and return value are those of `require_utf8`.
    """
    require_utf8(text, where, what=what, error=error, fix=fix)
    _refuse_control(_CONTROL_IN_TEXT, text, where, what, error, fix)
    if len(text) > MAX_CHARACTERS:
        raise error(
            f"{what} is too long",
            where=where,
            expected=f"at most {MAX_CHARACTERS:,} characters",
            found=f"{len(text):,}, which begin with {shortened(text)}",
            fix=fix or "shorten the text",
        )
    return text


def require_name(
    text: str, where: str, *, what: str = "this name", error: type[SegtuneError] = DataError, fix: str = ""
) -> str:
    """Refuses what `require_text` refuses, and a name of more than one line or with tabs."""
    require_text(text, where, what=what, error=error, fix=fix)
    _refuse_control(_CONTROL, text, where, what, error, fix)
    return text


def require_texts_in(value: Any, where: str, *, error: type[SegtuneError] = DataError, controls: bool = False) -> None:
    """Refuses plain data (mappings, lists, strings) of which any key or string is no text; its length is free.

    Args:
        value: As JSON and YAML give it.
        where: The file or recipe; the message adds the dotted key.
        error: Which error to raise.
        controls: Whether control characters are allowed.
    """
    for key, text in _strings(value, ""):
        place = f"{where}, {key}" if key else where
        require_utf8(text, place, what="this value", error=error)
        if not controls:
            _refuse_control(_CONTROL_IN_TEXT, text, place, "this value", error, "")


def reads_as_sentence(text: str) -> bool:
    """Whether a text is a whole sentence ("long") or a phrase ("short"), where nothing else says so.

    A sentence has a question mark anywhere, or a full stop or exclamation mark at its end, or at least
    `SENTENCE_WORDS` words. In scripts without spaces the words are counted by their usual length. Training, evaluation
    and prediction all ask here, so that a text is worded alike everywhere.
    """
    text = text.strip()
    if _QUESTION_MARKS.search(text) or text.endswith(_END_MARKS):
        return True
    words = len(text.split()) + sum(len(pattern.findall(text)) // length for pattern, length in _UNSPACED)
    return words >= SENTENCE_WORDS


def shortened(text: str, most: int = 60) -> str:
    """A text in quotation marks for a message: visible, on one line, cut where it is long."""
    line = " ".join(text.split())
    return "'" + visible(line if len(line) <= most else line[: most - 3] + "...") + "'"


def _refuse_control(
    pattern: re.Pattern[str], text: str, where: str, what: str, error: type[SegtuneError], fix: str
) -> None:
    found = pattern.search(text)
    if found is not None:
        raise error(
            f"{what} holds a control character",
            where=where,
            expected="letters, digits, signs and spaces",
            found=f"U+{ord(found[0]):04X} at position {found.start()} of {shortened(text)}",
            fix=fix or "remove it",
        )


def _strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every key and string of plain data with the dotted key where it stands."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, child in value.items():
            yield key, str(name)
            yield from _strings(child, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from _strings(child, f"{key}.{index}" if key else str(index))
