from __future__ import annotations

import json
import os

import pytest

from segtune.core.errors import DataError
from segtune.data.sources import json_file
from segtune.data.sources.json_file import read_json, whole_number


def _written(tmp_path, text, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps({"text": [text], "n": 1}, ensure_ascii=False).encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf8_is_read_without_a_word(tmp_path, encoding):
    value, note = read_json(_written(tmp_path, "左边的蓝色 é", encoding))
    assert (value["text"], note) == (["左边的蓝色 é"], "")


@pytest.mark.parametrize(
    "text",
    ["the man’s hat", "café – “crème”", "à côté de l’école", "größe der Tür", "“‘so’” 20°", "¿el niño?", 'a \\ "b" é'],
)
def test_western_text_in_cp1252_is_read_with_a_word(tmp_path, text):
    value, note = read_json(_written(tmp_path, text, "cp1252"))
    assert value["text"] == [text]
    assert "read as cp1252" in note


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(tmp_path, encoding):
    value, note = read_json(_written(tmp_path, "左边 é", encoding))
    assert value["text"] == ["左边 é"]
    assert encoding.upper() in note


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("左边的蓝色积木块", "gbk"), ("the 蓝色 box", "gbk"), ("藍色", "big5"), ("파란 상자", "cp949"),
        ("右の青い箱", "shift_jis"), ("日本", "shift_jis"), ("白 box", "shift_jis"), ("синяя коробка", "cp1251"),
        ("box у коробки", "cp1251"), ("červený", "cp1250"), ("żółty", "cp1250"), ("kırmızı şişe", "cp1254"),
        ("μπλε", "cp1253"), ("créée", "cp1252"), ("abc", "utf-16-le"),
    ],
)  # fmt: skip
def test_what_could_be_anything_is_refused_and_never_guessed(tmp_path, text, encoding):
    with pytest.raises(DataError, match="not in UTF-8") as caught:
        read_json(_written(tmp_path, text, encoding))
    assert "save it as UTF-8" in caught.value.fix


def test_bytes_beyond_ascii_outside_texts_are_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": 1} \xe9')
    with pytest.raises(DataError, match="not in UTF-8"):
        read_json(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"\xef\xbb\xbf \n", "an empty file"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "a number is too long"),
        (b'{"a": 1', "not valid JSON"),
        (b"\xff\xfe{", "UTF-16 that is damaged"),
        (b"\x00\x00\x00\x00", "not in UTF-8"),
    ],
)
def test_json_that_says_nothing_certain(tmp_path, content, said):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_json(path)


def test_only_regular_files_of_bearable_size_are_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DataError, match="not a regular file"):
        read_json(tmp_path / "pipe.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path / "gone.json")
    monkeypatch.setattr(json_file, "MAX_BYTES", 3)
    with pytest.raises(DataError, match="too large"):
        read_json(_written(tmp_path, "abc", "utf-8"))


def test_whole_numbers():
    assert [whole_number(value) for value in (3, 3.0, -2.0)] == [3, 3, -2]
    others = (True, "3", 2.5, float("nan"), float("inf"), None, [3], 10**30, 1e30)
    assert [whole_number(value) for value in others] == [None] * len(others)
