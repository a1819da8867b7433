"""Lines of dense predictions: what is written is read again, and what is none is told by its line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from segtune.core.errors import DataError
from segtune.metrics.dense_predictions import (
    PredictedImage,
    encode_labels,
    parse_dense_prediction,
    write_dense_predictions,
)
from segtune.ops.rle import rle_encode

NAMES = ("background", "tree", "a car")
LABELS = np.random.default_rng(0).integers(0, 3, (7, 9)).astype(np.uint8)


def test_labels_and_mask_come_back(tmp_path) -> None:
    whole = PredictedImage("a/b", (7, 9), encode_labels(LABELS, NAMES), rle_encode(LABELS == 2))
    plain = PredictedImage("c", (7, 9))
    write_dense_predictions(tmp_path / "new" / "p.jsonl", [whole, plain])
    lines = (tmp_path / "new" / "p.jsonl").read_text().splitlines()
    first, second = (parse_dense_prediction(line, "here") for line in lines)
    assert (first, second) == (whole, plain)
    assert np.array_equal(first.labels(NAMES), LABELS)
    assert np.array_equal(first.foreground(), LABELS == 2)
    assert second.labels(NAMES) is second.foreground() is None


def test_only_classes_that_occur_are_written() -> None:
    assert list(encode_labels(np.full((3, 4), 2, np.uint8), NAMES)) == ["a car"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tree": None}, "do not share the image"), ({"bush": "tree"}, "no such class"),
        ({"a car": "tree"}, "do not share the image"), ({"tree": {"size": [7, 9], "counts": "xx"}}, "corrupt"),
    ],
)  # fmt: skip
def test_masks_that_are_no_partition_are_refused(change, message) -> None:
    classes = dict(encode_labels(LABELS, NAMES))
    for name, value in change.items():
        if value is None:
            del classes[name]
        else:
            classes[name] = classes[value] if isinstance(value, str) else value
    with pytest.raises(DataError, match=message):
        PredictedImage("a", (7, 9), classes).labels(NAMES)


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"id": "a", "size": [7, 9]}'])
def test_a_line_that_is_no_prediction(line) -> None:
    with pytest.raises(DataError, match=r"file:3: a line is not a prediction"):
        parse_dense_prediction(line, "file:3")


@pytest.mark.parametrize(
    "change", [{"id": 1}, {"size": [1]}, {"size": [1, True]}, {"size": [0, 1]}, {"classes": []}, {"mask": "x"}]
)
def test_a_value_of_another_kind_is_no_prediction(change) -> None:
    line = json.dumps({"id": "a", "size": [7, 9], "classes": None, "mask": None, **change})
    with pytest.raises(DataError, match=r"file:3: a line is not a prediction"):
        parse_dense_prediction(line, "file:3")


def test_a_line_is_plain_json() -> None:
    values = {"id": "a", "size": [7, 9], "classes": encode_labels(LABELS, NAMES), "mask": None}
    assert parse_dense_prediction(json.dumps(values), "here").size == (7, 9)
