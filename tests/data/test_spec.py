from __future__ import annotations

from pathlib import Path

import pytest

from segtune.core.errors import ConfigError, DataError
from segtune.data.layouts import find_splits
from segtune.data.spec import DataSpec


@pytest.fixture
def photos(tmp_path, write_pair):
    for split in ("train", "val"):
        write_pair(tmp_path / "photos" / split, "a")
    return tmp_path / "photos"


def test_kind_directory_and_split(photos):
    spec = DataSpec.parse(f"reasonseg:{photos}@val")
    assert (spec.kind, spec.directory, spec.split) == ("reasonseg", photos, "val")
    assert DataSpec.parse(str(spec)) == spec


def test_bare_directory_is_recognised_and_defaults_apply(photos):
    assert DataSpec.parse(f"{photos}@train") == DataSpec("reasonseg", str(photos), "train")
    assert DataSpec.parse("photos", root=photos.parent, default_split="val") == DataSpec(
        "reasonseg", str(photos), "val"
    )
    unnamed = DataSpec.parse(str(photos))
    assert unnamed.split == ""
    assert DataSpec.parse(str(unnamed)) == unnamed


def test_a_flat_directory_has_no_split_and_ignores_the_default(tmp_path, write_pair):
    write_pair(tmp_path / "flat", "a")
    write_pair(tmp_path / "flat" / "more", "b")
    assert DataSpec.parse(str(tmp_path / "flat"), default_split="val").split == ""
    with pytest.raises(DataError, match="lie directly in the directory"):
        DataSpec.parse(f"{tmp_path}/flat@val")


def test_other_sub_directories_are_splits_where_nothing_is_flat(tmp_path, write_pair):
    for split in ("testA", "val", "explanatory", ".hidden"):
        write_pair(tmp_path / split, "a")
    (tmp_path / "notes").mkdir()
    (tmp_path / "train.json").write_text("[]")
    assert find_splits(tmp_path) == ("val", "testA")


@pytest.mark.parametrize("name", ["photos@home", "photos:2024", "2024:a@b"])
def test_separators_inside_an_existing_directory(tmp_path, write_pair, name):
    write_pair(tmp_path / name / "val", "a")
    for text, split in [(name, ""), (f"{name}@val", "val"), (f"reasonseg:{name}@val", "val")]:
        spec = DataSpec.parse(text, root=tmp_path)
        assert (spec.directory, spec.split) == (tmp_path / name, split)
        assert DataSpec.parse(str(spec)) == spec


def test_unknown_kind_names_all_and_the_nearest(photos):
    with pytest.raises(ConfigError) as caught:
        DataSpec.parse(f"resonseg:{photos}@val")
    assert "reasonseg, synth, stream" in caught.value.expected
    assert f"did you mean reasonseg:{photos}@val" in caught.value.fix


@pytest.mark.parametrize("text", ["", "  ", "reasonseg:", "photos@", "stream:shape"])
def test_incomplete_names(text):
    with pytest.raises(ConfigError):
        DataSpec.parse(text)


def test_missing_directory_says_where_it_looked(photos):
    with pytest.raises(DataError) as caught:
        DataSpec.parse("reasonseg:photo@val", root=photos.parent)
    assert f"directory at {photos.parent / 'photo'}" in caught.value.expected
    assert f"did you mean {photos}" in caught.value.fix


def test_missing_split_lists_those_that_exist(photos):
    with pytest.raises(DataError) as caught:
        DataSpec.parse(f"reasonseg:{photos}@vall")
    assert caught.value.expected == "one of train, val"
    assert caught.value.fix == "did you mean @val?"


def test_unrecognised_layout_shows_the_expected_one(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"(?s)not recognised.*NAME\.json.*images/"):
        DataSpec.parse(str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "dense"),
    [
        (DataSpec("stream", "shapes", "train"), True), (DataSpec("stream", "attributes", "val"), False),
        (DataSpec("masks", "shapes"), True), (DataSpec("reasonseg", "shapes"), False), (DataSpec("synth", "a"), False),
    ],
)  # fmt: skip
def test_what_gives_every_pixel_a_class(spec, dense):
    assert spec.is_dense is dense


def test_a_stream_that_does_not_exist_names_the_nearest():
    with pytest.raises(ConfigError, match=r"(?s)stream:attributes, stream:shapes, stream:colours.*stream:colours\?"):
        DataSpec.parse("stream:colors@val")


def test_streams_and_undrawn_scenes(tmp_path):
    spec = DataSpec.parse("stream:attributes@val")
    assert (spec.directory, spec.split) == (None, "val")
    assert DataSpec.parse(str(spec)) == spec
    assert DataSpec.parse("stream:attributes", default_split="val") == spec
    scenes = DataSpec.parse("synth:scenes@val", root=tmp_path)
    assert (scenes.directory, scenes.split) == (tmp_path / "scenes", "val")


def test_a_directory_has_a_name_also_where_it_is_called_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")
    names = [DataSpec("reasonseg", place, "val").name for place in (".", "../photos", str(tmp_path / "photos"))]
    assert names == ["photos"] * 3
    assert DataSpec("stream", "shapes", "val").name == "shapes"
