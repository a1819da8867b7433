"""Parsing of JSON that somebody else wrote: what would be read one way here and another way elsewhere is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

MAX_DIGITS = 300
"""The longest whole number that is read; float64 ends at 309 digits, so any other can be calculated with."""

_SHOWN = 60


class Ambiguous(ValueError):
    """The text is JSON but says nothing certain: a key stands twice in one object, or a number is too long."""


def loads(text: str, *, constants: bool = True) -> Any:
    """The value of a JSON text.

    Args:
        text: JSON.
        constants: Whether `NaN` and `Infinity` are read as such, as Python's own reader does; else they are refused.

    Raises:
        Ambiguous: See there.
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    refuse = None if constants else _refuse_constant
    return json.loads(text, object_pairs_hook=_unique, parse_int=_whole, parse_constant=refuse)


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless a key stands twice in it: the format leaves open which of the two counts."""
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Ambiguous(f"the key {key[:_SHOWN]!r} stands twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise Ambiguous(f"a number is too long: {len(digits)} digits")
    return int(digits)
