from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tests.factory import DrawnSource

from segtune.core.errors import DataError
from segtune.data.config import DataConfig
from segtune.data.images import content_digest
from segtune.data.prepare import FirstSamples, Subset, prepare, prepare_splits


@pytest.fixture
def photos(tmp_path):
    """20 noisy images of two queries each, as PNG."""
    folder = tmp_path / "photos" / "train"
    folder.mkdir(parents=True)
    for index in range(20):
        rng = np.random.default_rng(index)
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(folder / f"{index:02d}.png")
        content = {
            "text": [f"thing {index}", f"object {index}"], "is_sentence": False,
            "shapes": [{"label": "target", "points": [[2, 2], [20, 2], [20, 20]]}],
        }  # fmt: skip
        (folder / f"{index:02d}.json").write_text(json.dumps(content))
    return folder


def _break_the_middle(path) -> None:
    """Leaves header and end as those of a good file: only decoding shows the damage."""
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(whole)


def _config(photos, **changes) -> DataConfig:
    return DataConfig.model_validate({"train": "photos@train", "root": str(photos.parents[1]), **changes})


def _prepared(photos, **changes):
    return prepare("reasonseg:photos@train", _config(photos, **changes))


def test_nothing_is_left_out_of_good_data(photos):
    prepared = _prepared(photos)
    assert (len(prepared.source), prepared.bad, prepared.skipped_queries) == (20, (), 0)
    facts = prepared.to_dict()
    assert len(facts.pop("ids_sha256")) == 64
    assert facts.pop("pictures") == sorted(content_digest(path)[:16] for path in photos.glob("*.png"))
    assert len(facts.pop("sha256")) == 64
    assert facts == {
        "data": str(prepared.spec), "kind": "reasonseg", "path": str(photos.parent.resolve()), "split": "train",
        "root": str(photos.parent.parent), "images": 20, "queries": 40, "skipped_queries": 0, "bad": [],
    }  # fmt: skip


def test_shared_pictures_are_refused_above_a_bound_and_told_below_it(photos):
    val = photos.with_name("val")
    val.mkdir()
    for index in range(5):
        (val / f"{index}.json").write_bytes((photos / f"{index:02d}.json").read_bytes())
        (val / f"{index}.png").write_bytes((photos / f"{index:02d}.png").read_bytes())
        if index:
            Image.new("RGB", (64, 48), (index, 0, 0)).save(val / f"{index}.png")
    config = _config(photos, val="photos@val")
    with pytest.raises(DataError, match=r"(?s)share 1 images \(0\.png\).*1 of 5 \(20%\).*max_shared_fraction=1"):
        prepare_splits(config, 0)
    training, validation = prepare_splits(config.model_copy(update={"max_shared_fraction": 0.2}), 0)
    assert (training.warnings, len(validation.warnings)) == ((), 1)
    assert "share 1 images (0.png), so scores flatter the model" in validation.warnings[0]
    # the pictures that are used count: the first one is in training, and the second one no longer in validation
    few = config.model_copy(update={"max_val_samples": 2, "max_shared_fraction": 1.0})
    assert "share 1 images" in prepare_splits(few, 0)[1].warnings[0]
    with pytest.raises(DataError, match=r"5 of 5 \(100%\)"):
        prepare_splits(config.model_copy(update={"train": "photos@val"}), 0)


def test_pictures_are_read_as_the_config_says(photos):
    Image.fromarray(np.full((48, 64), 4095, np.uint16)).save(photos / "03.png")
    prepared = _prepared(photos)
    assert prepared.source.group(3).image.max() == 16
    assert "03.png" in prepared.warnings[0]
    prepared = _prepared(photos, image={"grey_bits": 12})
    assert prepared.source.group(3).image.min() == 255
    assert prepared.warnings == ()
    with pytest.raises(DataError, match=r"(?s)too much|nothing that can be used.*at most 9 pixels"):
        _prepared(photos, image={"max_pixels": 9})


def test_one_bad_image_of_twenty_is_listed_and_the_others_stay(photos):
    (photos / "07.png").write_text("<!DOCTYPE html><html>not found</html>")
    prepared = _prepared(photos)
    kept = [prepared.source.group(index).id for index in range(len(prepared.source))]
    assert len(kept) == 19
    assert "07" not in kept
    assert len(prepared.bad) == 1
    assert "07" in str(prepared.bad[0])
    assert "HTML" in str(prepared.bad[0])
    assert "07" in prepared.to_dict()["bad"][0]


def test_damage_in_the_middle_is_found_by_decoding(photos):
    _break_the_middle(photos / "11.png")
    prepared = _prepared(photos)
    assert len(prepared.source) == 19
    assert prepared.skipped_queries == 2
    assert prepared.bad[0].path == "train/11.png"
    assert [list(prepared.source.ids(i)) for i in (10, 11)] == [["10#0", "10#1"], ["12#0", "12#1"]]
    for index in range(19):
        prepared.source.group(index)


def test_a_truncated_image_is_left_out(photos):
    path = photos / "03.png"
    path.write_bytes(path.read_bytes()[:700])
    prepared = _prepared(photos)
    assert len(prepared.source) == 19
    assert "03" in str(prepared.bad[0])


def test_too_many_undecodable_images_are_refused_and_listed(photos):
    for name in ("01", "04", "05"):
        _break_the_middle(photos / f"{name}.png")
    with pytest.raises(DataError, match="3 of 20 images") as caught:
        _prepared(photos)
    assert all(name in caught.value.found for name in ("01", "04", "05"))
    assert len(_prepared(photos, max_bad_fraction=0.2).source) == 17


def test_both_kinds_of_damage_count_together(photos):
    for name in ("01", "02"):
        (photos / f"{name}.json").write_text("{}")
    for name in ("04", "05"):
        _break_the_middle(photos / f"{name}.png")
    assert len(_prepared(photos, max_bad_fraction=0.2).source) == 16
    with pytest.raises(DataError, match="2 of 18 images, and 4 bad items among 20"):
        _prepared(photos, max_bad_fraction=0.15)


def test_a_stream_is_not_decoded_beforehand(tmp_path):
    config = DataConfig(train="stream:attributes@train", stream_length=10**9)
    assert len(prepare("stream:attributes@train", config).source) == 10**9


def test_subset_renumbers():
    subset = Subset(DrawnSource(5), [4, 1])
    assert len(subset) == 2
    assert [subset.group(i).id for i in range(2)] == ["g4", "g1"]
    assert list(subset.ids(1)) == ["g1#0", "g1#1"]


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_the_first_samples_are_pairs_of_image_and_query(count):
    whole = DrawnSource(3)  # of two queries each
    first = FirstSamples(whole, count)
    pairs = [(group.id, e.id) for group in map(first.group, range(len(first))) for e in group.examples]
    every = [(group.id, e.id) for group in map(whole.group, range(3)) for e in group.examples]
    assert pairs == every[:count]
    assert [name for index in range(len(first)) for name in first.ids(index)] == [name for _, name in pairs]


def test_more_samples_than_there_are_means_all_of_them():
    assert len(FirstSamples(DrawnSource(3), 100)) == 3


def test_a_dataset_is_cut_to_samples_and_only_those_are_decoded(photos):
    _break_the_middle(photos / "11.png")
    prepared = prepare("reasonseg:photos@train", _config(photos), max_samples=5)
    assert prepared.to_dict()["images"] == 3
    assert prepared.to_dict()["queries"] == 5
    assert prepared.bad == ()  # the damaged one is not among them
    _break_the_middle(photos / "02.png")
    with pytest.raises(DataError, match="1 of 5 images"):
        prepare("reasonseg:photos@train", _config(photos), max_samples=9)
    assert prepare("reasonseg:photos@train", _config(photos, max_bad_fraction=0.2), max_samples=9).skipped_queries == 2


def test_a_stream_is_cut_to_samples_too():
    config = DataConfig(train="stream:attributes@train", stream_length=10, queries_per_image=3)
    source = prepare("stream:attributes@train", config, max_samples=7).source
    assert [len(source.ids(index)) for index in range(len(source))] == [3, 3, 1]
    assert len(source.group(2).examples) == 1
