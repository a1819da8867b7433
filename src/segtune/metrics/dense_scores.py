"""From the counts of every image to scores, for one split or for a thousand bootstrap draws of it at once.

A split is a table with a row of whole numbers for each image, a draw says how often each image counts. The sums are
exact (whole numbers in float64), so a score does not depend on the order of the images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from segtune.metrics.boundary import boundary_scores, count_boundaries
from segtune.metrics.counts import count_pixels
from segtune.metrics.dense import class_means, divide, mean_of_defined, to_value

DRAWS = 1000
SEED = 0
FOREGROUND = "foreground_"
"""What the names of the scores of a binary mask begin with."""


def class_row(confusions: np.ndarray, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The counts of one image by class.

    Args:
        confusions: int64 `[C, C]`, what `count_confusions` gave for the image.
        prediction: uint8 `[h, w]`, below C wherever the labels are not ignored.
        labels: uint8 `[h, w]`: below C, or `IGNORE`.

    Returns:
        int64 `[5, C]`: pixels that are right, in truth, predicted; intersection and union of the boundaries.
    """
    areas = np.stack([confusions.diagonal(), confusions.sum(1), confusions.sum(0)])
    return np.concatenate([areas, count_boundaries(prediction, labels, len(confusions))])


def binary_row(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The counts of one image's binary mask.

    Args:
        prediction: bool `[h, w]`.
        target: uint8 `[h, w]` with 0, 1 and `IGNORE`.

    Returns:
        int64 `[6]`: tp, fp, fn, tn; intersection and union of the boundary of the foreground.
    """
    counts = count_pixels(prediction, target)
    boundary = count_boundaries(prediction.astype(np.uint8), target, 2)[:, 1]
    return np.array([counts.tp, counts.fp, counts.fn, counts.tn, *boundary], np.int64)


def class_scores(table: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of all classes together.

    Args:
        table: `[n, 5, C]`, rows of `class_row`.
        weights: float64 `[..., n]`, how often each image counts.

    Returns:
        The means of `class_means`, `boundary_mIoU` and `boundary_mIoU_images`, float64 `[...]`, NaN where undefined.
    """
    numbers = table.astype(np.float64)  # whole numbers below 2^53 stay exact, and products of floats are fast
    sums = np.tensordot(weights, numbers[:, :3], 1)
    boundary = boundary_scores(numbers[:, 3:], weights)
    return {
        **class_means(sums[..., 0, :], sums[..., 1, :], sums[..., 2, :]),
        "boundary_mIoU": mean_of_defined(boundary["pooled"]),
        "boundary_mIoU_images": mean_of_defined(boundary["images"]),
    }


def class_ious(table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The IoU of each class: `[n, 5, C]` and float64 `[..., n]` to float64 `[..., C]`, NaN where undefined."""
    sums = np.tensordot(weights, table[:, :3].astype(np.float64), 1)
    return divide(sums[..., 0, :], sums[..., 1, :] + sums[..., 2, :] - sums[..., 0, :])


def binary_scores(table: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of a binary mask.

    Args:
        table: `[n, 6]`, rows of `binary_row`.
        weights: float64 `[..., n]`, how often each image counts.

    Returns:
        By names with `FOREGROUND` before them, as of `BinaryState.compute`, and `boundary_iou` and
        `boundary_iou_images`; float64 `[...]`, NaN where undefined.
    """
    numbers = table.astype(np.float64)
    tp, fp, fn, tn = np.moveaxis((weights @ numbers)[..., :4], -1, 0)
    wanted, union = numbers[:, 0] + numbers[:, 2], numbers[:, 0] + numbers[:, 1] + numbers[:, 2]
    each = np.where(union > 0, divide(2 * numbers[:, 0], wanted + numbers[:, 0] + numbers[:, 1]), 1.0)
    nonempty = (wanted > 0).astype(np.float64)
    boundary = boundary_scores(numbers[:, 4:, None], weights)
    scores = {
        "dice": divide(2 * tp, 2 * tp + fp + fn),
        "iou": divide(tp, tp + fp + fn),
        "image_dice": divide(weights @ each, weights.sum(-1)),
        "image_dice_nonempty": divide(weights @ (each * nonempty), weights @ nonempty),
        "accuracy": divide(tp + tn, tp + fp + fn + tn),
        "precision": divide(tp, tp + fp),
        "recall": divide(tp, tp + fn),
        "boundary_iou": boundary["pooled"][..., 0],
        "boundary_iou_images": boundary["images"][..., 0],
    }
    return {FOREGROUND + name: value for name, value in scores.items()}


def once(images: int) -> np.ndarray:
    """The weights of a split in which every image counts once, float64 `[n]`."""
    return np.ones(images)


def draw_images(images: int, *, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """How often each image comes when as many as there are, are drawn with replacement.

    Args:
        images: n, at least 1.
        draws: How many times the split is drawn.
        seed: Of the generator.

    Returns:
        float64 `[draws, n]`; every row sums to n.
    """
    drawn = np.random.default_rng(seed).integers(0, images, (draws, images))
    places = drawn + images * np.arange(draws)[:, None]
    return np.bincount(places.ravel(), minlength=draws * images).reshape(draws, images).astype(np.float64)


def interval(values: np.ndarray) -> list[float] | None:
    """The 95% percentile interval of the draws in which a score is defined, `[draws]`; None without any."""
    defined = values[~np.isnan(values)]
    return [float(value) for value in np.percentile(defined, [2.5, 97.5])] if len(defined) else None


def to_json(scores: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Scores of one split as JSON values, None for NaN."""
    return {name: to_value(float(value)) for name, value in scores.items()}


def constant_class_scores(table: np.ndarray, answer: int) -> dict[str, float | None]:
    """What the same class everywhere scores.

    Args:
        table: `[n, 5, C]`, of which only the pixels of each class in truth are used.
        answer: The class.

    Returns:
        The means of `class_means`.
    """
    truth = table[:, 1].sum(0)
    tp, predicted = np.zeros_like(truth), np.zeros_like(truth)
    tp[answer], predicted[answer] = truth[answer], truth.sum()
    return to_json(class_means(tp, truth, predicted))


def constant_binary_scores(table: np.ndarray, *, everything: bool) -> dict[str, float | None]:
    """What an all-foreground or an empty mask scores.

    Args:
        table: `[n, 6]`, of which only the truth is used.
        everything: All foreground, or none.

    Returns:
        The scores of `binary_scores` that follow from areas alone.
    """
    wanted, unwanted = table[:, 0] + table[:, 2], table[:, 1] + table[:, 3]
    none = np.zeros_like(wanted)
    columns = (wanted, unwanted, none, none) if everything else (none, none, wanted, unwanted)
    scores = binary_scores(np.stack([*columns, none, none], axis=1), once(len(table)))
    return to_json({name: value for name, value in scores.items() if "boundary" not in name})
