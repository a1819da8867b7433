from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segtune.core.errors import DataError
from segtune.data.check import check_dataset
from segtune.data.config import DataConfig
from segtune.data.open import open_source, usable
from segtune.data.prepare import prepare
from segtune.data.sources.reasonseg import ReasonSeg
from segtune.data.spec import DataSpec


def _index(place: Path, entries: object, split: str = "train") -> None:
    (place / f"{split}.json").write_text(json.dumps(entries), encoding="utf-8")


def _asked(source: ReasonSeg) -> dict[str, list[str]]:
    return {source.ids(i)[0].split("#")[0]: [query.text for query in source.queries(i)] for i in range(len(source))}


@pytest.fixture
def photos(tmp_path, write_pair):
    """Three images of one query each in `train`, one in `val`."""
    for colour, name in enumerate("abc"):
        write_pair(tmp_path / "train", name, colour=colour)
    write_pair(tmp_path / "val", "d", colour=9)
    return tmp_path


def test_texts_of_an_index_are_further_queries_for_the_same_target(photos):
    _index(photos, [
        {"image": "a.png", "text": ["one more", "The thing  A"], "id": 7},
        {"image": "train/b.png", "query": "another"},
        {"image": "./train/b.png", "query": "and a third"},
    ])  # fmt: skip
    source = ReasonSeg(photos, "train")
    assert _asked(source) == {
        "a": ["the thing a", "one more"], "b": ["the thing b", "another", "and a third"], "c": ["the thing c"]
    }  # fmt: skip
    assert list(source.ids(1)) == ["b#0", "b#1", "b#2"]
    first, *more = source.group(1).examples
    assert all(np.array_equal(first.target, example.target) for example in more)
    assert (source.bad, source.index.used) == ((), 3)
    assert _asked(ReasonSeg(photos, "val")) == {"d": ["the thing d"]}
    assert _asked(ReasonSeg(photos, "train", first_query_only=True)) == {name: [f"the thing {name}"] for name in "abc"}


def test_each_split_has_its_own(photos):
    _index(photos, [{"image": "d.png", "text": "more"}], "val")
    assert _asked(ReasonSeg(photos, "val")) == {"d": ["the thing d", "more"]}
    assert ReasonSeg(photos, "train").index.entries == 0


def test_explanations_reach_their_queries_and_come_before_those_of_the_other_file(photos):
    (photos / "explanatory").mkdir()
    old = [{"image": f"{name}.png", "query": f"the thing {name}", "outputs": "of old"} for name in "ab"]
    (photos / "explanatory" / "train.json").write_text(json.dumps(old))
    _index(photos, [{"image": "a.png", "query": "the THING a", "outputs": "of the index"}])
    source = ReasonSeg(photos, "train")
    assert [source.queries(i)[0].explanation for i in range(3)] == ["of the index", "of old", ""]
    assert len(source.queries(0)) == 1


def test_an_annotation_of_another_name_is_joined_with_its_image_and_needs_no_text(photos, write_pair):
    other = write_pair(photos / "train", "polygons/17", colour=200, text=None, is_sentence=None)
    other.with_suffix(".png").rename(photos / "train" / "e.png")
    before = ReasonSeg(photos, "train")
    assert [item.path for item in before.bad] == ["train/polygons/17.json"]
    assert before.images_without_annotation == ("train/e.png",)
    _index(
        photos, [{"image": "e.png", "annotation": "17.json", "text": "the only thing that nobody would think of here"}]
    )
    source = ReasonSeg(photos, "train")
    assert (source.bad, source.images_without_annotation) == ((), ())
    group = source.group(3)
    assert (group.id, int(group.examples[0].target.sum())) == ("polygons/17", 16)
    assert group.examples[0].query.is_sentence  # more than eight words
    assert (group.image == 200).all()


def test_two_annotations_of_one_image_are_one_group(photos, write_pair):
    for name in ("p1", "p2"):
        write_pair(photos / "train", name).with_suffix(".png").unlink()
    _index(photos, [{"image": "a.png", "annotation": f"{name}.json", "text": name} for name in ("p1", "p2")])
    source = ReasonSeg(photos, "train")
    assert source.bad == ()
    assert list(source.ids(0)) == ["a#0", "p1#0", "p1#1", "p2#0", "p2#1"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("a.png", "entry 1: no object; found str"),
        ({"text": "x"}, "no 'image'"),
        ({"image": 3, "text": "x"}, "'image' is no text; found 3"),
        ({"image": "z.png", "text": "x"}, "entry 1 (z.png): there is no such file in the split; found z.png"),
        ({"image": "../val/d.png", "text": "x"}, "no such file in the split"),
        ({"image": "/etc/passwd", "text": "x"}, "no such file in the split"),
        ({"image": "a.json", "text": "x"}, "'image' is no image"),
        ({"image": "a.png", "annotation": "b.png", "text": "x"}, "'annotation' is no polygon file"),
        ({"image": "a.png", "annotation": "b.json", "text": "x"}, "b.json belongs to another image; found a.png"),
        ({"image": "bare.png", "text": "x"}, "the image has no annotation; expected bare.json"),
        ({"image": "a.png"}, "does not say what is asked; found []"),
        ({"image": "a.png", "text": "x", "query": "y"}, "does not say what is asked; found ['text', 'query']"),
        ({"image": "a.png", "text": []}, "'text' is not as expected; found []"),
        ({"image": "a.png", "text": ["x", "  "]}, "'text' is not as expected"),
        ({"image": "a.png", "query": None}, "'query' is not as expected; found None"),
        ({"image": "a.png", "text": "x", "outputs": ""}, "'outputs' is no text"),
    ],
)
def test_a_bad_entry_costs_only_itself(photos, entry, reason):
    (photos / "train" / "bare.png").write_bytes((photos / "train" / "a.png").read_bytes())
    _index(photos, [{"image": "a.png", "text": "good"}, entry, {"image": "b.png", "text": "good too"}])
    source = ReasonSeg(photos, "train")
    (item,) = source.bad
    assert item.path == "train.json"
    assert reason in item.reason
    assert "\n" not in item.reason
    assert source.index.used == 2
    assert _asked(source) == {"a": ["the thing a", "good"], "b": ["the thing b", "good too"], "c": ["the thing c"]}


def test_a_bare_name_in_two_folders_is_ambiguous(photos, write_pair):
    for folder in ("x", "y"):
        write_pair(photos / "train", f"{folder}/same", colour=50)
    _index(photos, [{"image": "same.png", "text": "which?"}])
    (item,) = ReasonSeg(photos, "train").bad
    assert "several files called same.png; found x/same.png, y/same.png" in item.reason


@pytest.mark.parametrize("content", ["{}", "", "[1", '{"images": []}', "null"])
def test_an_index_that_is_none_leaves_the_records_usable(photos, content):
    (photos / "train.json").write_text(content)
    source = ReasonSeg(photos, "train")
    assert [item.path for item in source.bad] == ["train.json"]
    assert len(source) == 3


def test_a_link_to_an_index_outside_the_root_is_not_followed(photos, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.json"
    outside.write_text(json.dumps([{"image": "a.png", "text": "more"}]))
    (photos / "train.json").symlink_to(outside)
    source = ReasonSeg(photos, "train")
    assert "out of the data root" in source.bad[0].reason
    assert _asked(source)["a"] == ["the thing a"]


def test_without_splits_it_is_an_annotation_like_any_other(tmp_path, write_pair):
    write_pair(tmp_path, "train")
    assert _asked(ReasonSeg(tmp_path)) == {"train": ["the thing train"]}


def test_a_check_counts_entries_and_lists_bad_ones(photos):
    clean = check_dataset(photos)
    assert "index entries" not in clean.text()
    _index(photos, [{"image": "a.png", "text": "more"}, {"image": "z.png", "text": "x"}])
    report = check_dataset(photos)
    assert [split.index_entries for split in report.splits] == [1, 0]
    assert [split.queries for split in report.splits] == [4, 1]
    assert [item.path for item in report.bad] == ["train.json"]
    text = report.text()
    assert "index entries" in text
    assert "train.json: entry 1 (z.png): there is no such file" in text
    assert report.to_dict()["splits"][0]["index_entries"] == 1


def test_bad_entries_are_bounded_as_a_share_of_files_and_entries(photos):
    good = [{"image": "a.png", "text": f"text {number}"} for number in range(16)]
    spec = DataSpec.parse(f"reasonseg:{photos}@train")
    for bad, refused in ((2, False), (3, True)):
        _index(photos, [*good, *([{"image": "z.png", "text": "x"}] * bad)])
        if refused:
            with pytest.raises(DataError, match=r"3 bad items among 22 annotation files and entries \(14%\)"):
                usable(open_source(spec))
        else:
            assert len(usable(open_source(spec))) == bad
    prepared = prepare(str(spec), DataConfig(train=str(spec), max_bad_fraction=0.2))
    assert prepared.to_dict()["queries"] == 19
    assert len(prepared.bad) == 3
