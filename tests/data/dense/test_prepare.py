from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import pytest
from PIL import Image
from tests.external import shared_data

from segtune.core.errors import ConfigError, DataError
from segtune.core.rundir import RunDir
from segtune.data.dense.balance import count_classes
from segtune.data.dense.config import DenseDataConfig
from segtune.data.dense.loader import DenseScoringLoader, DenseTrainingLoader
from segtune.data.dense.prepare import prepare_dense, prepare_dense_splits, training_weights
from segtune.data.dense.transforms import DenseTransform
from segtune.data.unchanged import data_facts, require_unchanged, write_facts


@pytest.fixture
def photos(tmp_path, write_masked, write_classes):
    write_classes(tmp_path, ["background", "cat", "dog"], ignore_index=9)
    for split in ("train", "val"):
        for index, name in enumerate("abcd"):
            write_masked(tmp_path / split, name, [[0, 0, 1, 9], [0, 0, 1, 2 if index else 0]], seed=split == "val")
    return tmp_path


def _config(photos, **changes) -> DenseDataConfig:
    return DenseDataConfig(train=f"masks:{photos}@train", val=f"masks:{photos}@val", **changes)


def test_both_splits_with_their_counts(photos):
    training, validation = prepare_dense_splits(_config(photos, max_val_images=3), seed=0)
    assert (len(training.source), len(validation.source)) == (4, 3)
    assert training.counts.pixels.tolist() == [17, 8, 3]
    assert (training.counts.ignored, training.bad, training.warnings, training.background) == (4, (), (), True)
    facts = json.loads(json.dumps(data_facts(training, validation)))
    assert facts["train"]["classes"] == ["background", "cat", "dog"]
    assert facts["train"]["counts"]["classes"]["dog"] == {"pixels": 3, "images": 3}
    assert facts["train"]["ids_sha256"] == hashlib.sha256(b"a\n\nb\n\nc\n\nd").hexdigest()
    assert prepare_dense_splits(_config(photos).model_copy(update={"val": None}), 0)[1] is None


def test_shared_pictures_are_refused_above_a_bound_and_told_below_it(photos):
    (photos / "val/images/d.png").write_bytes((photos / "train/images/a.png").read_bytes())
    with pytest.raises(DataError, match=r"(?s)share 1 images \(d\.png\).*1 of 4 \(25%\).*max_shared_fraction"):
        prepare_dense_splits(_config(photos), seed=0)
    _, validation = prepare_dense_splits(_config(photos, max_shared_fraction=0.25), seed=0)
    assert "share 1 images (d.png), so scores flatter the model" in validation.warnings[0]
    assert prepare_dense_splits(_config(photos, max_val_images=3), seed=0)[1].warnings == ()  # those that are used


def test_pictures_are_read_as_the_config_says(photos):
    Image.fromarray(np.array([[0, 0, 9, 9], [0, 0, 9, 4095]], np.uint16)).save(photos / "train/images/a.png")
    prepared = prepare_dense(f"masks:{photos}@train", _config(photos))
    assert prepared.source.item(0).image.max() == 16
    assert "1 picture with grey values of 16 bits" in prepared.warnings[0]
    prepared = prepare_dense(f"masks:{photos}@train", _config(photos, image={"grey_bits": 12}))
    assert prepared.source.item(0).image.max() == 255
    assert prepared.warnings == ()
    with pytest.raises(DataError, match=r"(?s)nothing that can be used.*at most 7 pixels"):
        prepare_dense(f"masks:{photos}@train", _config(photos, image={"max_pixels": 7}))


def test_what_cannot_be_read_is_left_out_listed_and_bounded(photos, write_masked):
    write_masked(photos / "train", "b", [[0, 7]])
    (photos / "train/masks/c.png").unlink()
    with pytest.raises(DataError, match=r"(?s)too much of the dataset.*1 bad items among 4 images"):
        prepare_dense(f"masks:{photos}@train", _config(photos))
    with pytest.raises(
        DataError, match=r"(?s)1 of 3 images.*masks/b\.png: the mask holds values outside.*7 \(1 pixels"
    ):
        prepare_dense(f"masks:{photos}@train", _config(photos, max_bad_fraction=0.3))
    prepared = prepare_dense(f"masks:{photos}@train", _config(photos, max_bad_fraction=0.5))
    assert [prepared.source.item_id(i) for i in range(len(prepared.source))] == ["a", "d"]
    assert [item.path for item in prepared.bad] == ["train/images/c.png", "train/masks/b.png"]
    np.testing.assert_array_equal(prepared.counts.per_image, count_classes(prepared.source).per_image)


def test_a_class_without_pixels_is_a_warning_and_an_error_only_where_it_needs_a_weight(photos):
    config = _config(photos, max_train_images=1)
    training, _ = prepare_dense_splits(config, 0)
    assert "no pixel of dog" in training.warnings[0]
    assert training_weights(training, config) is None
    weighted = config.model_copy(update={"class_weights": "inverse"})
    with pytest.raises(DataError, match=r"(?s)none of dog.*data.exclude=\[dog\]"):
        training_weights(training, weighted)
    excluded = weighted.model_copy(update={"exclude": ("dog",)})
    training, validation = prepare_dense_splits(excluded, 0)
    assert training.source.classes == validation.source.classes == ("background", "cat")
    assert training.counts.ignored == 1
    np.testing.assert_array_equal(training_weights(training, excluded), [1, 1])


def test_weights_know_the_background_by_its_name_or_as_told(photos):
    config = _config(photos, class_weights="inverse", weight_range=(2, 3))
    assert training_weights(prepare_dense(config.train, config), config)[0] == 1
    config = config.model_copy(update={"background": False})
    assert training_weights(prepare_dense(config.train, config), config)[0] == 2


def test_other_classes_in_validation_are_refused(photos, write_classes):
    write_classes(photos / "val", ["background", "dog", "cat"], ignore_index=9)
    with pytest.raises(DataError, match=r"(?s)other classes.*background, cat, dog.*background, dog, cat"):
        prepare_dense_splits(_config(photos), 0)


def test_wrong_names(photos):
    with pytest.raises(ConfigError, match="no such class to exclude"):
        prepare_dense(f"masks:{photos}@train", _config(photos, exclude=("bird",)))
    with pytest.raises(DataError, match="did you mean @val"):
        prepare_dense(f"masks:{photos}@vaal", _config(photos))


def test_a_recipe_that_leaves_the_place_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"(?s)photographs and masks.*images/NAME.jpg.*data.root=DIR"):
        prepare_dense("masks:.@train", DenseDataConfig(train="masks:.@train"))


def test_a_run_that_goes_on_sees_the_same_images(photos, write_masked, tmp_path):
    run = RunDir.create(tmp_path / "runs", "one")
    config = _config(photos)
    before = prepare_dense_splits(config, 0)
    write_facts(run, *before)
    require_unchanged(run, *prepare_dense_splits(config, 0))
    write_masked(photos / "train", "e", [[0, 1]])
    with pytest.raises(DataError, match=r"train: 4 images -> 5 images: 1 new \(e\)"):
        require_unchanged(run, *prepare_dense_splits(config, 0))
    (photos / "train/images/a.png").unlink()
    (photos / "train/masks/a.png").unlink()
    with pytest.raises(DataError, match="but not the same ones"):
        require_unchanged(run, *prepare_dense_splits(config, 0))


def test_streams_are_counted_over_a_part():
    words = {"background": (), "round": ("disc", "circle"), "square": ("box", "square")}
    config = DenseDataConfig(train="stream:attributes@train", words=words, stream_length=12)
    prepared = prepare_dense(config.train, config)
    assert (len(prepared.source), len(prepared.counts.per_image)) == (12, 12)


def test_streams_of_classes_are_drawn_counted_and_batched():
    config = DenseDataConfig(
        train="stream:shapes@train", val="stream:shapes@val", stream_length=300, max_val_images=5,
        class_weights="inverse", exclude=("bar",),
    )  # fmt: skip
    training, validation = prepare_dense_splits(config, seed=2)
    assert (len(training.source), len(training.counts.per_image), len(validation.source)) == (300, 256, 5)
    assert (training.background, training.bad, training.warnings) == (True, (), ())
    assert training.counts.ignored > 0
    weights = training_weights(training, config)
    assert (weights[0], weights.min(), weights.max(), len(weights)) == (1, 1, 10, 10)
    transform = DenseTransform((32, 32), (0.5,) * 3, (0.5,) * 3)
    loader = DenseTrainingLoader(training.source, transform, seed=2, batch_size=3, cache_bytes=10**9)
    first, again, later = (next(loader.batches(epoch)) for epoch in (0, 0, 1))
    assert first.pixels.shape == (3, 3, 32, 32)
    assert (first.pixels == again.pixels).all()
    assert (first.pixels != later.pixels).any()
    scoring = DenseScoringLoader(validation.source, transform, batch_size=5, cache_bytes=10**9)
    (batch,) = scoring.batches()
    assert [item.id for item in batch.items] == [f"shapes_val_{index:06d}" for index in range(5)]


def test_a_stream_cannot_be_balanced():
    config = DenseDataConfig(train="stream:shapes@train", balanced=True)
    with pytest.raises(ConfigError, match=r"(?s)data\.balanced: a stream cannot be balanced.*stream:shapes@train"):
        prepare_dense_splits(config, 0)


@pytest.mark.external
def test_wounds():
    root = str(shared_data("foot_ulcer"))
    config = DenseDataConfig(train="masks:.@val", root=root, class_weights="inverse", weight_range=(30, 60))
    prepared = prepare_dense(config.train, config)
    assert prepared.counts.pixels.tolist() == [25_933_614, 280_786]
    assert prepared.counts.images.tolist() == [100, 97]
    np.testing.assert_array_equal(training_weights(prepared, config), [1, 30])


@pytest.mark.parametrize("exclude", [(), ("dog",)])
def test_one_process_prepares_for_all(photos, exclude):
    training, _ = prepare_dense_splits(_config(photos, exclude=exclude), 0)
    sent = pickle.loads(pickle.dumps(training))
    assert sent.to_dict() == training.to_dict()
    np.testing.assert_array_equal(sent.source.item(1).labels, training.source.item(1).labels)
