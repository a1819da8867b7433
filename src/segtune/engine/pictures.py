"""The pictures of an evaluation: its best, median and worst answers, with an index that says what each one shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from segtune.core.files import write_json
from segtune.core.records import Example, Source
from segtune.metrics.predictions import PredictedMasks
from segtune.metrics.query_score import QueryScore
from segtune.ops.overlays import panel

T = TypeVar("T")

INDEX = "index.json"
_OURS = re.compile(r"(best|median|worst)-\d+_.*\.png")


def choose(scores: Sequence[QueryScore], count: int) -> list[tuple[str, QueryScore]]:
    """The answers worth a picture: a third of them the best by IoU, a third around the median, a third the worst.

    Queries that want nothing and got nothing show nothing; they come only where there is nothing else.

    Args:
        scores: Of every query, in any order.
        count: How many in all; of one that remains over comes the median, of two the best and the worst.

    Returns:
        (`best`, `median` or `worst`, score), each query once; the best from the top down, the worst from the bottom up.
    """
    telling = [score for score in scores if not (score.empty_target and score.iou == 1)] or list(scores)
    return spread(sorted(telling, key=lambda score: (-score.iou, score.id)), count)


def spread(ranked: Sequence[T], count: int) -> list[tuple[str, T]]:
    """A third from the top of a ranking, a third from around its middle, a third from its end.

    Args:
        ranked: The best first.
        count: How many in all; of one that remains over comes the median, of two the best and the worst.

    Returns:
        (`best`, `median` or `worst`, item), each item once; the best from the top down, the worst from the bottom up.
    """
    third, over = divmod(min(count, len(ranked)), 3)
    ends, middle = third + (over == 2), third + (over == 1)
    start = (len(ranked) - middle) // 2
    return [
        *(("best", item) for item in ranked[:ends]),
        *(("median", item) for item in ranked[start : start + middle]),
        *(("worst", item) for item in ranked[::-1][:ends]),
    ]


def write_pictures(
    directory: Path, count: int, scores: Sequence[QueryScore], predictions: Sequence[PredictedMasks], source: Source
) -> None:
    """Writes panels (image, truth, prediction, words) of the answers that `choose` picks, and `index.json`.

    Args:
        directory: Where to; pictures that an earlier evaluation left there are removed. Nothing happens for a `count`
            of 0.
        count: How many pictures.
        scores: Of every query.
        predictions: Of the same queries.
        source: Where the images are.
    """
    if not count:
        return
    make_room(directory)
    answers = {prediction.id: prediction for prediction in predictions}
    places = {id: index for index in range(len(source)) for id in source.ids(index)}
    rows, numbers = [], {"best": 0, "median": 0, "worst": 0}
    for rank, score in choose(scores, count):
        numbers[rank] += 1
        group = source.group(places[score.id])
        example = next(one for one in group.examples if one.id == score.id)
        answer = answers[score.id]
        file = file_name(rank, numbers[rank], score.id)
        Image.fromarray(_picture(group.image, example, answer)).save(directory / file)
        rows.append(
            {
                "file": file, "rank": rank, "id": score.id, "iou": score.iou, "query": example.query.text,
                "answer": answer.text, "kind": score.kind, "empty_target": score.empty_target,
                "no_mask": score.no_mask, "emitted": answer.emitted,
                **({"scores": answer.scores} if answer.scores else {}),
            }
        )  # fmt: skip
    write_json(directory / INDEX, {"pictures": rows})


def make_room(directory: Path) -> None:
    """Makes a folder for pictures, and removes those that an earlier evaluation left there."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in [path for path in directory.iterdir() if _OURS.fullmatch(path.name)]:
        old.unlink()


def file_name(rank: str, number: int, item_id: str) -> str:
    """The name of a picture's file: its rank, its number in that rank, and what of its id a file name may hold."""
    return f"{rank}-{number}_{re.sub(r'[^A-Za-z0-9.-]+', '_', item_id)[-80:]}.png"


def _picture(image: np.ndarray, example: Example, answer: PredictedMasks) -> np.ndarray:
    height, width = image.shape[:2]
    return panel(image, example.target, answer.union((height, width)), f"{example.query.text}  ->  {answer.text}")
