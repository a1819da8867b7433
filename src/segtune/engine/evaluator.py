"""Scoring a model on a split by the protocol, with the predictions beside the scores."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtune.core.records import Example, Source
from segtune.data.conversation import Conversation
from segtune.data.loader import ScoringLoader
from segtune.engine.inference import Mode, QueryAnswer, answers
from segtune.engine.processes import gather, rank, world
from segtune.metrics.baselines import Baselines, MeanMasks
from segtune.metrics.predictions import PredictedMasks, write_predictions
from segtune.metrics.protocol import ProtocolScorer
from segtune.models.reasoning import ReasoningSegmenter
from segtune.ops.rle import rle_encode

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One split scored in one mode.

    Attributes:
        scorer: The scores of every query.
        predictions: What goes into the predictions file.
        seconds: Of model time, all queries together.
    """

    scorer: ProtocolScorer
    predictions: list[PredictedMasks]
    seconds: float


def evaluate_split(
    model: ReasoningSegmenter,
    loader: ScoringLoader,
    conversation: Conversation,
    mode: Mode,
    *,
    max_new_tokens: int,
    first_query_only: bool = False,
    keep_predictions: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Scores every query of a split once; several processes share the work, and each gets the whole result.

    Args:
        model: The model; it is put into evaluation mode and back.
        loader: The split.
        conversation: Turns generated ids into words.
        mode: `generate` or `forced`.
        max_new_tokens: Where a generated answer is cut.
        first_query_only: Score one query per record, as some papers do.
        keep_predictions: Encode masks for the predictions file; validation during training needs none.
        progress: Called with images done and images in all.

    Returns:
        The scores and predictions.
    """
    scorer = ProtocolScorer(first_query_only=first_query_only)
    predictions: dict[int, list[PredictedMasks]] = {}  # by the place of the image in the split
    device = next(model.parameters()).device
    was_training, seconds, done = model.training, 0.0, 0
    model.eval()
    for batch in loader.batches(rank(), world()):
        started = time.perf_counter()
        found = answers(model, batch.to(device), conversation, mode, max_new_tokens=max_new_tokens)
        for group, example, answer in zip(batch.group_index.tolist(), batch.examples, found, strict=True):
            seconds += time.perf_counter() - started
            if scorer.wants(example.id):
                scorer.add(
                    example.id,
                    example.target,
                    example.query,
                    logits=answer.union,
                    emitted=answer.emitted,
                    image_id=batch.group_ids[group],
                )
                if keep_predictions:
                    place = rank() + world() * (done + group)
                    predictions.setdefault(place, []).append(to_prediction(example.id, answer))
            started = time.perf_counter()
        done += len(batch.group_ids)
        if progress is not None:
            progress(min(done * world(), loader.length), loader.length)
    model.train(was_training)
    return _whole(scorer, predictions, seconds)


def _whole(scorer: ProtocolScorer, predictions: dict[int, list[PredictedMasks]], seconds: float) -> Evaluation:
    """The shares of all processes as one; a query that two of them had scored would be refused."""
    first, *others = gather((scorer, predictions, seconds))
    places = dict(first[1])
    for other, theirs, more in others:
        first[0].merge(other)
        places |= theirs
        seconds += more
    return Evaluation(first[0], [one for place in sorted(places) for one in places[place]], seconds)


def to_prediction(example_id: str, answer: QueryAnswer) -> PredictedMasks:
    """An answer as a line of the predictions file: binary masks as COCO RLE."""
    return PredictedMasks(
        id=example_id,
        masks=tuple(rle_encode(logits > 0) for logits in answer.logits),
        scores=answer.scores,
        text=answer.text,
        emitted=answer.emitted,
    )


def score_baselines(source: Source, training: Source | None) -> dict[str, Any]:
    """The trivial baselines on a split: everything, nothing and, with a training split, the mean masks."""
    means = MeanMasks()
    if training is not None:
        for example in _examples(training):
            means.add(example.query.text, example.target)
    baselines = Baselines(means)
    for example in _examples(source):
        baselines.add(example.query, example.target)
    return baselines.result()


def _examples(source: Source) -> list[Example]:
    return [example for index in range(len(source)) for example in source.group(index).examples]


def write_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Writes the predictions file of an evaluation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(path, evaluation.predictions)
