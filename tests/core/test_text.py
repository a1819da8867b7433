"""What counts as a text, and how foreign text is shown."""

from __future__ import annotations

import json

import pytest

from segtune.core.errors import ConfigError, DataError
from segtune.core.text import (
    MAX_CHARACTERS,
    require_name,
    require_text,
    require_texts_in,
    require_utf8,
    shortened,
)
from segtune.core.visible import visible

GOOD = ("the red box", "瓶子\tand\na line", "l’été", "\U0001f600 a whole emoji", "بسم الله", "a" * MAX_CHARACTERS)


@pytest.mark.parametrize("text", GOOD)
def test_a_text_is_taken_as_it_is(text: str) -> None:
    assert require_text(text, "x.json") is text


@pytest.mark.parametrize("text", ["half \ud83d", "\udcff from an argument", "\udc80"])
def test_what_utf8_cannot_hold_is_refused_and_can_be_printed(text: str) -> None:
    for require in (require_utf8, require_text, require_name):
        with pytest.raises(DataError, match="half of a character") as caught:
            require(text, f"{text}.json")
        str(caught.value).encode("utf-8")


@pytest.mark.parametrize("text", ["\x00", "\x1b[31mred", "bell\x07", "\x7f", "c1 \x9b31m"])
def test_control_characters_are_refused_in_texts(text: str) -> None:
    with pytest.raises(ConfigError, match="control character") as caught:
        require_text(text, "QUERY", error=ConfigError)
    assert "\x1b" not in str(caught.value)


def test_a_name_stands_on_one_line() -> None:
    for text in ("a\nb", "a\tb", "a\x85b"):
        require_text(text, "x")
        with pytest.raises(DataError, match="control character"):
            require_name(text, "x")


def test_a_text_has_a_bound() -> None:
    with pytest.raises(DataError, match="too long") as caught:
        require_text("word " * MAX_CHARACTERS, "x.json")
    assert "x.json" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_plain_data_is_searched_with_its_keys() -> None:
    require_texts_in({"a": ["b", {"c": None, "d": 1}]}, "x")
    for value in ({"a": [{"b": "\ud83d"}]}, {"a": {"\ud83d": 1}}, ["\x00"]):
        with pytest.raises(DataError):
            require_texts_in(value, "x")
    with pytest.raises(DataError, match=r"x\.yaml, a\.0\.b"):
        require_texts_in({"a": [{"b": "\ud83d"}]}, "x.yaml")


def test_nothing_unseen_is_left() -> None:
    assert (
        visible("plain\ttext\nof two lines, with [brackets] and é")
        == "plain\ttext\nof two lines, with [brackets] and é"
    )
    assert visible("\x1b[2J\x9b\x00\r\u202e\ud83d\u2028") == r"\u001b[2J\u009b\u0000\u000d\u202e\ud83d\u2028"


def test_json_stays_json() -> None:
    value = {"name": "a\x9b\u202e\x7f"}
    assert json.loads(visible(json.dumps(value, ensure_ascii=False))) == value


def test_a_text_in_a_message_is_short() -> None:
    assert shortened("a\n\x1b b") == r"'a \u001b b'"
    assert len(shortened("word " * 1000)) <= 62
