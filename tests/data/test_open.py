from __future__ import annotations

import pytest

from segtune.core.errors import ConfigError, DataError
from segtune.data.open import open_source, usable
from segtune.data.sources.synthetic.write import VERSION
from segtune.data.spec import DataSpec


def test_a_named_split_is_read(tmp_path, write_pair):
    for split, names in [("train", "ab"), ("val", "c")]:
        for index, name in enumerate(names):
            write_pair(tmp_path / split, name, colour=index, text=["one", "two"])
    source = open_source(DataSpec.parse(f"{tmp_path}@train"), limit=1, first_query_only=True)
    assert [list(source.ids(i)) for i in range(len(source))] == [["a#0"]]
    with pytest.raises(DataError, match=r"several splits.*(?s:.*)@train"):
        open_source(DataSpec.parse(str(tmp_path)))
    with pytest.raises(DataError, match="no split 'test'"):
        open_source(DataSpec("reasonseg", str(tmp_path), "test"))


def test_the_only_split_need_not_be_named(tmp_path, write_pair):
    write_pair(tmp_path / "val", "a")
    assert list(open_source(DataSpec.parse(str(tmp_path))).ids(0)) == ["a#0"]


def test_scenes_are_drawn_once_and_then_read(tmp_path):
    spec = DataSpec.parse("synth:scenes@val", root=tmp_path)
    source = open_source(spec, scenes=10, seed=3)
    assert len(source) == 2  # 0.15 of ten scenes
    assert usable(source) == ()
    assert {example.query.kind for example in source.group(0).examples} != {""}
    again = DataSpec.parse("synth:scenes@val", root=tmp_path)
    assert again == spec
    assert list(open_source(again, scenes=20, seed=4).ids(0)) == list(source.ids(0))


def test_scenes_of_another_version_are_read_with_a_warning(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("segtune.data.open._log.warning", lambda form, *values: told.append(form % values))
    spec = DataSpec.parse("synth:scenes@val", root=tmp_path)
    open_source(spec, scenes=10, seed=3)
    assert len(open_source(spec)) == 2
    assert not told
    description = tmp_path / "scenes" / "synth.json"
    description.write_text(description.read_text().replace(f'"version": {VERSION}', '"version": 1'))
    assert len(open_source(spec)) == 2
    assert len(told) == 1
    assert f"dataset version 1, now {VERSION}" in told[0]


def test_streams(tmp_path):
    source = open_source(DataSpec.parse("stream:attributes"), stream_length=5, stream_queries=2, limit=3)
    assert len(source) == 3
    assert len(source.group(2).examples) == 2
    assert usable(source) == ()


def test_streams_that_ask_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"(?s)stream:shapes@val: .*asks nothing in words.*stream:attributes"):
        open_source(DataSpec.parse("stream:shapes@val"))


def test_too_many_bad_items_are_refused_and_shown(tmp_path, write_pair):
    for index in range(40):
        write_pair(tmp_path, f"{index:02d}", colour=index, shapes=None if index < 12 else [])
    source = open_source(DataSpec.parse(str(tmp_path)))
    assert len(usable(source, max_bad_fraction=0.3)) == 12
    with pytest.raises(DataError, match="12 bad items among 40") as caught:
        usable(source, max_bad_fraction=0.29, where="photos")
    assert caught.value.found.count("'shapes'") == 10
    assert "and 2 more" in caught.value.found
    assert caught.value.where == "photos"


def test_nothing_left_is_refused_whatever_the_fraction(tmp_path, write_pair):
    write_pair(tmp_path, "a", text=[])
    with pytest.raises(DataError, match=r"(?s)nothing that can be used.*a\.json"):
        usable(open_source(DataSpec.parse(str(tmp_path))), max_bad_fraction=1.0)
