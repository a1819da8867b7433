"""The scoring protocol `segtune-1`, for any predictions at all.

Masks are compared at the original resolution in whole numbers of pixels; ignored pixels count nowhere. Each query is
scored: gIoU is the mean of the IoU over the queries, cIoU the summed intersection over the summed union. Where nothing
is wanted, an empty prediction scores 1 and any predicted pixel 0. A query without a mask is scored as an empty
prediction, never left out, and counted. Intervals are bootstrap intervals over images, because the queries of one image
resemble each other. The result does not depend on the order of the queries, nor on how many processes shared them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from segtune.core.errors import ConfigError, DataError
from segtune.core.records import Query
from segtune.metrics.query_score import QueryScore, score_query, summarize
from segtune.metrics.states import AurocState, ratio

PROTOCOL = "segtune-1"
MODES = ("generate", "forced")
DRAWS = 1000
SEED = 0
FIRST_QUERY_ONLY = "first_query_only"


class ProtocolScorer:
    """Collects the scores of a split and turns them into the scores file.

    Args:
        first_query_only: Score the query with index 0 of each record only, as some papers do. The result then names
            this deviation from the protocol.
    """

    def __init__(self, *, first_query_only: bool = False) -> None:
        self.first_query_only = first_query_only
        self._scores: dict[str, QueryScore] = {}
        self._auroc = AurocState()

    def __len__(self) -> int:
        """Number of queries scored so far."""
        return len(self._scores)

    @property
    def scores(self) -> list[QueryScore]:
        """All scores, sorted by id."""
        return [self._scores[id] for id in sorted(self._scores)]

    def wants(self, id: str) -> bool:
        """Whether this query is scored: all are, unless `first_query_only`."""
        return not self.first_query_only or not id.rpartition("#")[0] or id.endswith("#0")

    def add(
        self,
        id: str,
        target: np.ndarray,
        query: Query,
        *,
        prediction: np.ndarray | None = None,
        logits: np.ndarray | None = None,
        emitted: bool = True,
        image_id: str | None = None,
    ) -> QueryScore | None:
        """Score one query; give `logits` if there are any, else `prediction`, else no mask was given.

        Args:
            id: `"<record id>#<query index>"`, never seen before.
            target: uint8 `[h, w]` with 0, 1 and `IGNORE`, original pixels.
            query: The question.
            prediction: `[h, w]`, anything but 0 is predicted.
            logits: Float `[h, w]`, original pixels; predicted is what is above 0. The pooled AUROC needs them.
            emitted: Whether the model itself asked for a mask.
            image_id: The image (the id of its group); the record id if None.

        Returns:
            The score, or None where `wants` says no.

        Raises:
            DataError: If the id was scored before or the sizes differ.
            SegtuneError: If a logit is NaN.
        """
        if not self.wants(id):
            return None
        if id in self._scores:
            raise _scored_twice(id)
        if logits is not None:
            prediction = logits > 0
        score = score_query(id, prediction, target, query, emitted, image_id=image_id)
        if logits is not None:
            self._auroc.update(logits, target)
        elif prediction is not None:
            self._auroc.update_binary()
        else:
            self._auroc.update_without_mask(score.counts)
        self._scores[id] = score
        return score

    def merge(self, other: ProtocolScorer) -> None:
        """Add what another scorer, such as that of another process, has seen.

        Raises:
            DataError: If both scored the same query. Nothing is added then.
        """
        for id in other._scores:
            if id in self._scores:
                raise _scored_twice(id)
        self._scores.update(other._scores)
        self._auroc.merge(other._auroc)

    def to_dict(self) -> dict[str, Any]:
        """JSON values that hold all of the state, for another process to merge."""
        return {
            "first_query_only": self.first_query_only,
            "scores": [asdict(score) for score in self.scores],
            "auroc": self._auroc.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ProtocolScorer:
        """The inverse of `to_dict`."""
        scorer = cls(first_query_only=values["first_query_only"])
        scorer._scores = {item["id"]: QueryScore(**item) for item in values["scores"]}
        scorer._auroc = AurocState.from_dict(values["auroc"])
        return scorer

    def result(
        self, *, data: str, split: str, mode: str, skipped: int = 0, baselines: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The content of a scores file, as JSON values.

        Args:
            data: Name of the dataset.
            split: Name of the split.
            mode: `generate` (the model must ask for the mask itself) or `forced` (the answer is given).
            skipped: Queries of the split that could not be read, and so are in no score.
            baselines: What `Baselines.result` gave for the same queries.

        Returns:
            `protocol, data, split, mode, counts, metrics, by, ci95, baselines, deviations, undefined`. A metric without
            a value is None and stands in `undefined` with the reason. `by` holds `short`, `long` and `kind:NAME`.

        Raises:
            ConfigError: For another mode.
        """
        if mode not in MODES:
            raise ConfigError("no such mode of evaluation", where="mode", expected=" or ".join(MODES), found=mode)
        scores = self.scores
        metrics: dict[str, Any] = {**summarize(scores), "auroc": self._auroc.compute()}
        if mode == "generate":
            metrics["emission_rate"] = ratio(sum(s.emitted for s in scores), len(scores))
        return {
            "protocol": PROTOCOL,
            "data": data,
            "split": split,
            "mode": mode,
            "counts": {**_counts(scores), "skipped": skipped},
            "metrics": metrics,
            "by": {name: _part(part, mode) for name, part in _parts(scores).items()},
            "ci95": bootstrap(scores),
            "baselines": baselines or {},
            "deviations": [FIRST_QUERY_ONLY] if self.first_query_only else [],
            "undefined": _undefined(metrics, self._auroc.undefined),
        }


def bootstrap(scores: Sequence[QueryScore], *, draws: int = DRAWS, seed: int = SEED) -> dict[str, list[float] | None]:
    """95% percentile intervals of gIoU and cIoU, drawing whole images with replacement.

    Args:
        scores: In any order; the same scores give the same intervals.
        draws: How many times as many images are drawn as there are.
        seed: Of the generator.

    Returns:
        `{"gIoU": [low, high], "cIoU": [low, high]}`; None where the score itself is undefined.
    """
    sums: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(4))
    for score in sorted(scores, key=lambda item: item.id):
        sums[score.image_id] += (score.iou, 1, score.intersection, score.union)
    if not sums:
        return {"gIoU": None, "cIoU": None}
    table = np.stack([sums[image] for image in sorted(sums)])
    generator = np.random.default_rng(seed)
    drawn = np.empty((draws, 4))
    for index in range(draws):
        times = np.bincount(generator.integers(0, len(table), len(table)), minlength=len(table))
        drawn[index] = times @ table
    g_iou = drawn[:, 0] / drawn[:, 1]
    with_union = drawn[drawn[:, 3] > 0]  # a draw of empty targets alone, all left empty, has no cIoU
    return {"gIoU": _interval(g_iou), "cIoU": _interval(with_union[:, 2] / with_union[:, 3])}


def _interval(values: np.ndarray) -> list[float] | None:
    return [float(v) for v in np.percentile(values, [2.5, 97.5])] if len(values) else None


def _scored_twice(id: str) -> DataError:
    return DataError(
        "a query is scored twice", where=id, expected="each query once", fix="remove the second prediction"
    )


def _counts(scores: Sequence[QueryScore]) -> dict[str, int]:
    return {
        "images": len({s.image_id for s in scores}),
        "queries": len(scores),
        "empty_targets": sum(s.empty_target for s in scores),
        "no_mask": sum(s.no_mask for s in scores),
        "not_emitted": sum(not s.emitted for s in scores),
    }


def _parts(scores: Sequence[QueryScore]) -> dict[str, list[QueryScore]]:
    parts = {
        "short": [s for s in scores if not s.is_sentence],
        "long": [s for s in scores if s.is_sentence],
    }
    for kind in sorted({s.kind for s in scores if s.kind}):
        parts[f"kind:{kind}"] = [s for s in scores if s.kind == kind]
    return parts


def _part(scores: Sequence[QueryScore], mode: str) -> dict[str, Any]:
    emission = {"emission_rate": ratio(sum(s.emitted for s in scores), len(scores))} if mode == "generate" else {}
    return {**_counts(scores), **summarize(scores), **emission, "ci95": bootstrap(scores)}


def _undefined(metrics: dict[str, Any], auroc_reason: str) -> dict[str, str]:
    no_pixels = "the number that it is divided by is 0"
    return {n: auroc_reason if n == "auroc" else no_pixels for n, value in metrics.items() if value is None}
