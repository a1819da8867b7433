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
    [
        "the man’s hat",
        "café – “résumé”",
        "la télé posée",
        "größe der Tür",
        "das weiße Gerät",
        "“‘so’” 20°",
        "5 ± 1 for £9",
        "le café – l’été",
        "el teléfono",
        "il caffé",
        'a \\ "b" é',
    ],
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


@pytest.mark.parametrize(
    ("encoding", "texts"),
    [
        ("cp1250", ["stůl u zdi", "malé město", "červená kniha"]),  # Czech
        ("cp1250", ["fű a kertben", "kettős ablak"]),  # Hungarian
        ("cp1250", ["czerwona ręka", "mały kot", "kąt pokoju", "żaba"]),  # Polish
        ("cp1250", ["kuća", "crvena kuća i čaša", "međa"]),  # Croatian
        ("cp1250", ["în casă", "fată", "o maşină"]),  # Romanian
        ("cp1257", ["žalias namas", "raudona gėlė", "mėsa", "ąsa"]),  # Lithuanian
        ("cp1257", ["liela māja", "zaļš", "dārzs", "ķēde"]),  # Latvian
        ("cp1254", ["kırmızı", "ağaç", "beyaz şapka"]),  # Turkish
        ("ISO-8859-2", ["kąt pokoju", "šálek", "Łódka", "suť"]),
        ("ISO-8859-15", ["cœur", "œuvre", "šaty"]),
        ("cp1252", ["forêt", "à gauche", "façade", "où est la crème"]),  # French, which only its author can tell
        ("cp1252", ["niño", "¿dónde?", "el árbol"]),  # Spanish
        ("cp1252", ["città", "coração", "grå bil"]),  # Italian, Portuguese, Swedish
    ],
)
def test_a_byte_that_is_another_letter_elsewhere_is_refused(tmp_path, encoding, texts):
    for text in texts:
        with pytest.raises(DataError, match="not in UTF-8") as caught:
            read_json(_written(tmp_path, text, encoding))
        assert "save it as UTF-8" in caught.value.fix


def test_the_letters_that_a_byte_may_be_are_told(tmp_path):
    with pytest.raises(DataError, match="its encoding is not certain") as caught:
        read_json(_written(tmp_path, "stůl u zdi", "cp1250"))
    assert caught.value.found.startswith("byte 13 (f9) is 'ù' in cp1252, 'ů' in cp1250, 'ł' in cp1257")
    assert "é, ä, ö, ü, ß" in caught.value.expected


@pytest.mark.parametrize("encoding", ["cp1250", "cp1252", "cp1254", "cp1257", "ISO-8859-2", "ISO-8859-15"])
@pytest.mark.parametrize("form", ["wa{}ll", "{}wall", "wall{}"])
def test_no_letter_of_a_latin_script_becomes_another(tmp_path, encoding, form):
    for byte in range(0xA1, 0x100):
        letter = bytes([byte]).decode(encoding, "ignore")
        if not letter.isalpha():
            continue
        raw = json.dumps({"text": form}).encode().replace(b"{}", bytes([byte]))
        (tmp_path / "a.json").write_bytes(raw)
        try:
            text = read_json(tmp_path / "a.json")[0]["text"]
        except DataError:
            continue
        assert text == form.format(letter)


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
