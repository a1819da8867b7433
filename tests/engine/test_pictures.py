"""Pictures of an evaluation: the best, median and worst answers, and an index that says what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.factory import DrawnSource

from segtune.core.files import read_json
from segtune.engine.pictures import choose, write_pictures
from segtune.metrics.predictions import PredictedMasks
from segtune.metrics.query_score import QueryScore, score_query
from segtune.ops.rle import rle_encode


def _score(id: str, iou: float, *, empty: bool = False) -> QueryScore:
    return QueryScore(id, id, False, "", 0, 0, iou, empty, False, True, 0, 0, 0)


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(1, "m"), (2, "bw"), (3, "bmw"), (4, "bmmw"), (5, "bbmww"), (6, "bbmmww"), (9, "bbbmmmwww"), (99, "bbbmmmwww")],
)
def test_every_count_is_shared_out_without_doubles(count: int, ranks: str) -> None:
    scores = [_score(f"q{index}", index / 8) for index in range(9)]
    chosen = choose(scores[::-1], count)
    assert "".join(rank[0] for rank, _ in chosen) == ranks
    assert len({score.id for _, score in chosen}) == len(chosen)


def test_best_from_the_top_worst_from_the_bottom_median_from_the_middle() -> None:
    scores = [_score(f"q{index}", index / 100) for index in range(101)]
    found = [(rank, score.iou) for rank, score in choose(scores, 6)]
    assert found[:2] == [("best", 1.0), ("best", 0.99)]
    assert found[4:] == [("worst", 0.0), ("worst", 0.01)]
    assert all(abs(iou - 0.5) < 0.011 for _, iou in found[2:4])


def test_right_silence_is_shown_only_where_there_is_nothing_else() -> None:
    silent = [_score(f"s{index}", 1.0, empty=True) for index in range(5)]
    talking = [_score("wrong", 0.0, empty=True), _score("right", 0.5)]
    assert {score.id for _, score in choose(silent + talking, 9)} == {"wrong", "right"}
    assert len(choose(silent, 3)) == 3
    assert choose([], 3) == []


def _evaluated(source: DrawnSource) -> tuple[list[QueryScore], list[PredictedMasks]]:
    """Predictions that hit every target of group g but for g of its rows."""
    scores, predictions = [], []
    for index in range(len(source)):
        for example in source.group(index).examples:
            mask = example.target == 1
            mask[: np.flatnonzero(mask.any(axis=1))[0] + index] = False
            scores.append(score_query(example.id, mask, example.target, example.query, True))
            predictions.append(PredictedMasks(example.id, (rle_encode(mask),), (0.5,), f"answer {example.id}"))
    return scores, predictions


def test_pictures_and_index(tmp_path: Path) -> None:
    source = DrawnSource(4)
    scores, predictions = _evaluated(source)
    (tmp_path / "best-9_old.png").write_text("of an earlier evaluation")
    (tmp_path / "mine.png").write_text("not ours")
    write_pictures(tmp_path, 6, scores, predictions, source)
    rows = read_json(tmp_path / "index.json")["pictures"]
    assert [row["rank"] for row in rows] == ["best", "best", "median", "median", "worst", "worst"]
    by_id = {score.id: score for score in scores}
    questions = {one.id: one.query.text for index in range(4) for one in source.group(index).examples}
    for row in rows:
        assert row["iou"] == by_id[row["id"]].iou
        assert row["query"] == questions[row["id"]]
        assert row["answer"] == f"answer {row['id']}"
        assert Image.open(tmp_path / row["file"]).width == 90  # three pictures 30 wide
    assert rows[0]["iou"] == max(score.iou for score in scores)
    assert rows[-2]["iou"] == min(score.iou for score in scores)
    assert {path.name for path in tmp_path.glob("*.png")} == {"mine.png", *(row["file"] for row in rows)}


def test_no_pictures_are_wanted(tmp_path: Path) -> None:
    scores, predictions = _evaluated(DrawnSource(2))
    write_pictures(tmp_path / "new", 0, scores, predictions, DrawnSource(2))
    assert not (tmp_path / "new").exists()


def test_a_query_without_a_mask_has_a_picture(tmp_path: Path) -> None:
    source = DrawnSource(1, queries=1)
    example = source.group(0).examples[0]
    score = score_query(example.id, None, example.target, example.query, False)
    write_pictures(tmp_path, 1, [score], [PredictedMasks(example.id, (), (), "no", False)], source)
    (row,) = read_json(tmp_path / "index.json")["pictures"]
    assert (row["no_mask"], row["emitted"], row["iou"]) == (True, False, 0.0)
