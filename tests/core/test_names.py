from __future__ import annotations

import unicodedata

from segtune.core.names import alike, composed, is_utf8, short_name, shown

APART = unicodedata.normalize("NFD", "Café")


def test_what_utf8_cannot_hold_is_known_and_shown():
    odd = b"foto_\xe9\xff.jpg".decode("utf-8", "surrogateescape")
    assert is_utf8("café 照片 😀.jpg")
    assert not is_utf8(odd)
    assert not is_utf8("half \ud83d")
    for name in (odd, "half \ud83d"):
        assert shown(name).isascii()
        shown(name).encode()


def test_names_that_look_the_same():
    assert APART != "Café"
    assert composed(APART) == "Café"
    assert alike(APART) == alike("CAFÉ") != alike("cafe")


def test_short_names_fit_and_stay_different():
    assert short_name("照片", 6) == "照片"
    long = [f"{'照' * 80}{end}" for end in "ab"]
    short = [short_name(name, 100) for name in long]
    assert len(set(short)) == 2
    for name in short:
        assert len(name.encode()) <= 100
        assert name.startswith("照" * 30)
    odd = b"foto_\xe9".decode("utf-8", "surrogateescape")
    assert short_name(odd, 100).encode().startswith(b"foto_?-")
    assert short_name(odd, 100) != short_name("foto_?", 100)
