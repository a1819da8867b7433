"""Names of files: what UTF-8 can hold, what looks the same, and what a file system takes."""

from __future__ import annotations

import hashlib
import unicodedata

_DIGITS = 8


def is_utf8(name: str) -> bool:
    """Whether a name can be written as UTF-8; one that Python got from other bytes, as of a foreign ZIP, cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str) -> str:
    """A name for messages and JSON, in which what UTF-8 cannot hold is escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def composed(name: str) -> str:
    """A name with its accents composed (NFC), as most systems store them; macOS often stores them apart."""
    return unicodedata.normalize("NFC", name)


def alike(name: str) -> str:
    """Equal for names that macOS or Windows takes for one: how accents are stored and case aside."""
    return composed(composed(name).casefold())


def short_name(text: str, most: int) -> str:
    """A text as a part of a file name of at most so many bytes of UTF-8.

    What is cut or replaced is told apart by a digest of the whole: different texts keep different names.

    Args:
        text: Any text without a slash.
        most: Bytes.
    """
    raw = text.encode("utf-8", "surrogatepass")
    if is_utf8(text) and len(raw) <= most:
        return text
    room = max(0, most - _DIGITS - 1)
    kept = text.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
    return f"{kept}-{hashlib.sha256(raw).hexdigest()[:_DIGITS]}"
