"""The predictions file: round trip, other people's lines, and refusals that name the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segtune.core.errors import DataError
from segtune.metrics.predictions import PredictedMasks, parse_prediction, read_predictions, write_predictions
from segtune.ops.rle import rle_encode


def test_round_trip(tmp_path: Path) -> None:
    left = np.zeros((3, 4), bool)
    left[:, 0] = True
    predictions = [
        PredictedMasks("a/b#0", (rle_encode(left), rle_encode(left[:, ::-1])), (0.5, 1.0), "zwei Größen\n", True),
        PredictedMasks("a/b#1", (), (), "", False),
    ]
    path = tmp_path / "predictions.jsonl"
    write_predictions(path, predictions)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    assert list(tmp_path.iterdir()) == [path]
    read = read_predictions(path)
    assert list(read.values()) == predictions
    assert np.array_equal(read["a/b#0"].union((3, 4)), left | left[:, ::-1])
    assert read["a/b#1"].union((3, 4)) is None
    with pytest.raises(DataError, match="a/b#0"):
        read["a/b#0"].union((4, 3))


def test_id_and_masks_are_enough() -> None:
    with_mask = parse_prediction('{"id": "x#0", "masks": [{"size": [2, 3], "counts": "6"}]}', "here")
    assert with_mask.emitted
    assert with_mask.scores == ()
    assert not parse_prediction('{"id": "x#0", "masks": []}', "here").emitted
    assert parse_prediction('{"id": "x#0", "masks": [], "emitted": true, "more": 1, "text": null}', "here").emitted


def test_a_failed_write_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    write_predictions(path, [PredictedMasks("x#0", ())])
    before = path.read_text()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_predictions(path, [PredictedMasks("y#0", (rle_encode(np.ones((2, 2))),), (float("nan"),))])
    assert path.read_text() == before


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"masks": []}',
        '{"id": 3, "masks": []}',
        '{"id": "x#0"}',
        '{"id": "x#0", "masks": "6"}',
        '{"id": "x#0", "masks": ["6"]}',
        '{"id": "x#0", "masks": [], "scores": [0.5]}',
        '{"id": "x#0", "masks": [{}], "scores": [NaN]}',
        '{"id": "x#0", "masks": [{}], "scores": ["high"]}',
        '{"id": "x#0", "masks": [], "emitted": 1}',
        '{"id": "x#0", "masks": [], "text": ["a"]}',
    ],
)
def test_what_is_no_prediction_is_refused_with_its_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text('{"id": "first#0", "masks": []}\n\n' + line + "\n")
    with pytest.raises(DataError, match=r"theirs\.jsonl:3"):
        read_predictions(path)


def test_two_lines_for_one_query_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text('{"id": "x#0", "masks": []}\n' * 2)
    with pytest.raises(DataError, match=r"theirs\.jsonl:2"):
        read_predictions(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl"):
        read_predictions(tmp_path / "absent.jsonl")
    (tmp_path / "image.jsonl").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match=r"image\.jsonl"):
        read_predictions(tmp_path / "image.jsonl")


MASK = '{"size": [2, 3], "counts": "6"}'


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "x#0", "masks": [], "id": "y#0"}',
        f'{{"id": "x#0", "masks": [{MASK}], "masks": []}}',
        f'{{"id": "x#0", "masks": [{MASK}], "scores": [{"9" * 310}]}}',
    ],
)
def test_a_line_that_says_two_things_or_a_number_beyond_bounds_is_refused(line: str) -> None:
    with pytest.raises(DataError, match="not a prediction"):
        parse_prediction(line, "here")
