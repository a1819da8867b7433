"""The scores file: its shape, its counts, its intervals, and that no query counts twice."""

from __future__ import annotations

import json

import numpy as np
import pytest

from segtune.core.errors import ConfigError, DataError
from segtune.core.records import IGNORE, Query
from segtune.metrics.protocol import ProtocolScorer, QueryScore, bootstrap, score_query

SHORT, LONG = Query("cat", False, kind="colour"), Query("What purrs?", True, kind="function")


def filled(indices: range, **options: bool) -> ProtocolScorer:
    """One query for each index, two to an image; the prediction is wrong by a few columns."""
    scorer = ProtocolScorer(**options)
    for index in indices:
        generator = np.random.default_rng(index)
        target = np.zeros((20, 20), np.uint8)
        target[:, 4:12] = 1
        target[:3] = IGNORE
        logits = np.where(np.arange(20) < generator.integers(5, 20), 1.0, -1.0) * np.ones((20, 1))
        query = LONG if index % 3 else SHORT
        scorer.add(f"image{index // 2}#{index % 2}", target, query, logits=logits)
    return scorer


def result(scorer: ProtocolScorer, mode: str = "generate") -> dict:
    return scorer.result(data="photos", split="val", mode=mode)


def test_the_shape_of_the_scores_file() -> None:
    scores = filled(range(12)).result(
        data="photos", split="val", mode="generate", skipped=3, baselines={"everything": {"gIoU": 0.1, "cIoU": 0.2}}
    )
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert list(scores) == [
        *["protocol", "data", "split", "mode", "counts", "metrics", "by", "ci95"],
        *["baselines", "deviations", "undefined"],
    ]
    assert scores["protocol"] == "segtune-1"
    assert scores["counts"] == {
        "images": 6,
        "queries": 12,
        "empty_targets": 0,
        "no_mask": 0,
        "not_emitted": 0,
        "skipped": 3,
    }
    assert list(scores["metrics"]) == [
        *["gIoU", "cIoU", "P@0.5", "P@0.7", "P@0.9", "accuracy", "precision", "recall", "f1", "auroc"],
        "emission_rate",
    ]
    assert list(scores["by"]) == ["short", "long", "kind:colour", "kind:function"]
    assert scores["by"]["short"]["queries"] == 4
    assert scores["by"]["short"]["gIoU"] != scores["by"]["long"]["gIoU"]
    low, high = scores["ci95"]["gIoU"]
    assert 0 < low < scores["metrics"]["gIoU"] < high < 1
    assert scores["by"]["long"]["ci95"]["cIoU"][0] < scores["by"]["long"]["cIoU"]
    assert scores["baselines"]["everything"]["gIoU"] == 0.1
    assert scores["deviations"] == []
    assert scores["undefined"] == {}


def test_modes_are_labelled() -> None:
    assert "emission_rate" not in result(filled(range(2)), "forced")["metrics"]
    with pytest.raises(ConfigError, match="mode"):
        result(filled(range(2)), "both")


def test_a_query_without_mask_is_scored_as_empty_and_counted() -> None:
    scorer = filled(range(2))
    target = np.zeros((5, 5), np.uint8)
    scorer.add("empty#0", target, SHORT, emitted=False)
    target[2] = 1
    scorer.add("full#0", target, SHORT, emitted=False)
    assert [s.iou for s in scorer.scores if s.no_mask] == [1.0, 0.0]
    scores = result(scorer)
    assert scores["counts"] | {"images": 3, "empty_targets": 1, "no_mask": 2, "not_emitted": 2} == scores["counts"]
    assert scores["metrics"]["emission_rate"] == 0.5
    assert scores["metrics"]["auroc"] is not None


def test_binary_predictions_have_no_auroc() -> None:
    scorer = filled(range(2))
    scorer.add("binary#0", np.ones((5, 5), np.uint8), SHORT, prediction=np.ones((5, 5), bool))
    scores = result(scorer)
    assert scores["metrics"]["auroc"] is None
    assert "1 of 3" in scores["undefined"]["auroc"]


def test_nothing_scored_is_none_and_not_an_error() -> None:
    scores = result(ProtocolScorer())
    assert scores["counts"]["queries"] == 0
    assert set(scores["metrics"].values()) == {None}
    assert scores["ci95"] == {"gIoU": None, "cIoU": None}


def test_only_empty_targets_have_no_ciou() -> None:
    scorer = ProtocolScorer()
    scorer.add("a#0", np.zeros((5, 5), np.uint8), SHORT)
    scores = result(scorer)
    assert scores["metrics"]["gIoU"] == 1.0
    assert scores["metrics"]["cIoU"] is None
    assert "cIoU" in scores["undefined"]
    assert scores["ci95"] == {"gIoU": [1.0, 1.0], "cIoU": None}


def test_no_query_counts_twice() -> None:
    scorer = filled(range(2))
    with pytest.raises(DataError, match="twice"):
        scorer.add("image0#0", np.zeros((5, 5), np.uint8), SHORT)
    with pytest.raises(DataError, match="twice"):
        scorer.merge(filled(range(1, 4)))
    assert len(scorer) == 2


def test_the_result_depends_neither_on_order_nor_on_processes() -> None:
    whole = result(filled(range(12)))
    first, second = filled(range(7, 12)), filled(range(7))
    first.merge(ProtocolScorer.from_dict(json.loads(json.dumps(second.to_dict()))))
    assert result(first) == whole


def test_first_query_only_is_named_as_a_deviation() -> None:
    scorer = filled(range(12), first_query_only=True)
    assert len(scorer) == 6
    assert all(score.id.endswith("#0") for score in scorer.scores)
    assert result(scorer)["deviations"] == ["first_query_only"]


def test_images_are_the_unit_of_the_bootstrap() -> None:
    """Ten copies of each query in the same images tell nothing new, so the interval stays as it is."""

    def copies(number: int) -> list[QueryScore]:
        scores = []
        for index in range(20):
            value = np.random.default_rng(index).integers(0, 10)
            target = (np.arange(10) < value).astype(np.uint8)[None]
            for copy in range(number):
                id = f"image{index}#{copy}"
                scores.append(score_query(id, np.ones((1, 10), bool), target, SHORT, True, image_id=f"image{index}"))
        return scores

    once, often = bootstrap(copies(1)), bootstrap(copies(10))
    assert once["gIoU"] == pytest.approx(often["gIoU"])
    assert once["cIoU"] == pytest.approx(often["cIoU"])
    assert bootstrap(copies(1)[::-1]) == once
    assert bootstrap(copies(1), seed=1) != once


def test_a_prediction_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="image7#0"):
        score_query("image7#0", np.zeros((4, 5), bool), np.zeros((5, 4), np.uint8), SHORT, True)
