from __future__ import annotations

import pytest

from segtune.core.strict_json import MAX_DIGITS, Ambiguous, loads


def test_plain_json_is_read_as_python_reads_it() -> None:
    assert loads('{"a": [1, 2.5, "x", null, true], "b": {"a": -3}}') == {"a": [1, 2.5, "x", None, True], "b": {"a": -3}}
    assert float(loads("9" * MAX_DIGITS)) > 0, "every number that is read can be calculated with"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 1}', "the key 'a' stands twice"),
        ('[{"b": {"c": 1, "d": 2, "c": 3}}]', "the key 'c' stands twice"),
        ("9" * (MAX_DIGITS + 1), "a number is too long"),
        ("-" + "9" * 5000, "a number is too long"),
    ],
)
def test_what_says_nothing_certain_is_refused(text: str, said: str) -> None:
    with pytest.raises(Ambiguous, match=said):
        loads(text)


def test_what_is_no_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        loads("{")
