"""Scoring a dense model on a split by `segtune-dense-1`, with the predictions and pictures beside the scores."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segtune.core.files import write_json
from segtune.core.records import DenseSource, LabelledImage
from segtune.core.types import DenseBatch
from segtune.data.dense.loader import DenseScoringLoader
from segtune.data.dense.transforms import DenseTransform
from segtune.data.sources.classes import has_background
from segtune.engine.dense_config import DenseEvalConfig
from segtune.engine.dense_inference import DenseAnswer, segment, segment_batch
from segtune.engine.evaluator import Progress
from segtune.engine.pictures import INDEX, file_name, make_room, spread
from segtune.engine.processes import gather, rank, world
from segtune.metrics.dense_predictions import PredictedImage, encode_labels, write_dense_predictions
from segtune.metrics.dense_protocol import DenseScorer
from segtune.metrics.dense_scores import FOREGROUND
from segtune.models.dense.network import DenseSegmenter
from segtune.ops.labels import binary_table
from segtune.ops.overlays import label_panel, panel
from segtune.ops.rle import rle_area, rle_encode

DICE = FOREGROUND + "dice"


@dataclass(frozen=True, slots=True, eq=False)
class DenseEvaluation:
    """One split, scored.

    Attributes:
        scorer: The scores of every image.
        predictions: What goes into the predictions file, in the order of the split.
        seconds: Of model time, all images together.
    """

    scorer: DenseScorer
    predictions: list[PredictedImage]
    seconds: float


def evaluate_dense(
    model: DenseSegmenter,
    loader: DenseScoringLoader,
    transform: DenseTransform,
    config: DenseEvalConfig,
    classes: Sequence[str],
    binary: Sequence[int] | None,
    *,
    keep_predictions: bool = True,
    progress: Progress | None = None,
) -> DenseEvaluation:
    """Scores every image of a split once; several processes share the work, and each gets the whole result.

    Args:
        model: The model; it is put into evaluation mode and back.
        loader: The split.
        transform: Prepares images for windows and scales; the loader's own.
        config: Views and windows. Without windows and other scales the batches of the loader are taken as they are.
        classes: The names of the data's classes, which are the model's.
        binary: Indices of the classes that make up the foreground; None for a model without a binary head.
        keep_predictions: Encode masks for the predictions file.
        progress: Called with images done and images in all.

    Raises:
        DataError: A label is no class.
        SegtuneError: The model's answer is NaN.
    """
    scorer = DenseScorer(classes, binary, multiclass=model.class_head is not None)
    predictions: dict[int, PredictedImage] = {}  # by the place of the image in the split
    device = next(model.parameters()).device
    was_training, seconds, done = model.training, 0.0, 0
    model.eval()
    for batch in loader.batches(rank(), world()):
        started = time.perf_counter()
        for answer, item in zip(_answers(model, transform, batch, config, device), batch.items, strict=True):
            seconds += time.perf_counter() - started
            scorer.add(
                item.id, item.labels, predicted_classes=answer.labels,
                binary_logits=None if binary is None else answer.binary_logits,
            )  # fmt: skip
            if keep_predictions:
                predictions[rank() + world() * done] = to_prediction(item.id, answer, classes)
            done += 1
            started = time.perf_counter()
        if progress is not None:
            progress(min(done * world(), loader.length), loader.length)
    model.train(was_training)
    return _whole(scorer, predictions, seconds)


def _answers(
    model: DenseSegmenter, transform: DenseTransform, batch: DenseBatch, config: DenseEvalConfig, device: torch.device
) -> Iterator[DenseAnswer]:
    if config.whole:
        yield from segment_batch(model, batch.to(device), tta=config.tta)
    else:
        for item in batch.items:
            yield segment(model, transform, item.image, config)


def _whole(scorer: DenseScorer, predictions: dict[int, PredictedImage], seconds: float) -> DenseEvaluation:
    """The shares of all processes as one; an image that two of them had scored would be refused."""
    first, *others = gather((scorer, predictions, seconds))
    places = dict(first[1])
    for other, theirs, more in others:
        first[0].merge(other)
        places |= theirs
        seconds += more
    return DenseEvaluation(first[0], [places[place] for place in sorted(places)], seconds)


def to_prediction(item_id: str, answer: DenseAnswer, classes: Sequence[str]) -> PredictedImage:
    """An answer as a line of the predictions file.

    Args:
        item_id: Of the image.
        answer: In original pixels.
        classes: The names of the classes.
    """
    first = answer.labels if answer.labels is not None else answer.binary_logits
    assert first is not None
    return PredictedImage(
        id=item_id,
        size=(first.shape[0], first.shape[1]),
        classes=None if answer.labels is None else encode_labels(answer.labels, classes),
        mask=None if answer.binary_logits is None else rle_encode(answer.binary_logits > 0),
    )


def write_dense_evaluation(evaluation: DenseEvaluation, path: Path) -> None:
    """Writes the predictions file of an evaluation (JSON Lines); folders above it are made."""
    write_dense_predictions(path, evaluation.predictions)


def write_dense_pictures(
    directory: Path, count: int, evaluation: DenseEvaluation, source: DenseSource, *, background: bool | None = None
) -> None:
    """Writes panels (image, truth, prediction) of the best, median and worst images, and `index.json`.

    Images are ranked by their mIoU or, without classes, by the IoU of the foreground. Those without foreground in
    truth and prediction show nothing; they come only where there is nothing else.

    Args:
        directory: Where to; pictures that an earlier evaluation left there are removed. Nothing happens for a `count`
            of 0.
        count: How many pictures.
        evaluation: With its predictions.
        source: Where the images are.
        background: Whether class 0 is left unpainted; None: where it is called background.
    """
    if not count:
        return
    make_room(directory)
    scorer, answers = evaluation.scorer, {one.id: one for one in evaluation.predictions}
    clear = (0,) if (has_background(scorer.classes) if background is None else background) else ()
    places = {source.item_id(index): index for index in range(len(source))}
    rows, numbers, scores = [], {"best": 0, "median": 0, "worst": 0}, scorer.image_scores()
    for place, (item_id, iou) in spread(_ranking(evaluation), count):
        numbers[place] += 1
        item, answer = source.item(places[item_id]), answers[item_id]
        file = file_name(place, numbers[place], item_id)
        words = _words(answer)
        Image.fromarray(_picture(item, answer, scorer, words, clear)).save(directory / file)
        row = {"file": file, "rank": place, "id": item_id, "iou": iou, "query": item_id, "answer": words}
        rows.append(row | scores[item_id])
    write_json(directory / INDEX, {"pictures": rows})


def _ranking(evaluation: DenseEvaluation) -> list[tuple[str, float]]:
    """Ids and IoU of the images worth a picture, the best first."""
    ious, empty = {}, set()
    masks = {one.id: one.mask for one in evaluation.predictions}
    for item_id, scores in evaluation.scorer.image_scores().items():
        if evaluation.scorer.multiclass:
            iou = scores["mIoU"]
        else:
            dice = scores[DICE]
            iou = None if dice is None else dice / (2 - dice)
            mask = masks[item_id]
            if dice == 1 and mask is not None and not rle_area(mask):
                empty.add(item_id)
        if iou is not None:
            ious[item_id] = iou
    telling = [item_id for item_id in ious if item_id not in empty] or list(ious)
    return sorted(((item_id, ious[item_id]) for item_id in telling), key=lambda pair: (-pair[1], pair[0]))


def _words(answer: PredictedImage) -> str:
    """What the prediction shows, in words: the shares of the classes, the largest first, and of the foreground."""
    pixels = answer.size[0] * answer.size[1]
    shares = {name: rle_area(rle) / pixels for name, rle in (answer.classes or {}).items()}
    parts = [f"{name} {share:.1%}" for name, share in sorted(shares.items(), key=lambda pair: -pair[1])]
    parts += [] if answer.mask is None else [f"foreground {rle_area(answer.mask) / pixels:.1%}"]
    return ", ".join(parts)


def _picture(
    item: LabelledImage, answer: PredictedImage, scorer: DenseScorer, words: str, clear: Sequence[int]
) -> np.ndarray:
    """uint8 `[height, width, 3]`: a row for the classes, one for the binary mask, of those that were predicted."""
    labels, mask, rows = answer.labels(scorer.classes), answer.foreground(), []
    if labels is not None:
        rows.append(label_panel(item.image, item.labels, labels, scorer.classes, f"{item.id}: {words}", clear=clear))
    if mask is not None and scorer.binary is not None:
        names = ", ".join(scorer.classes[index] for index in scorer.binary)
        rows.append(panel(item.image, binary_table(scorer.binary)[item.labels], mask, f"{item.id}: {names}"))
    return np.concatenate(rows, axis=0)
