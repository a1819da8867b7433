"""The loss terms of reasoning segmentation, as sums and counts: cross-entropy on answer tokens, the rest on masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from segtune.core.records import IGNORE
from segtune.core.types import Batch, Geometry, Masks, SegmentationOutput
from segtune.losses.config import LossConfig
from segtune.losses.functional import (
    mask_bce,
    mask_boundary,
    mask_dice,
    mask_focal,
    mask_iou,
    mask_tversky,
    token_cross_entropy,
)
from segtune.ops.geometry import seen_pixels, soften, to_original
from segtune.ops.tokens import IGNORE_LABEL, answer_labels


class ReasoningObjective:
    """The losses of reasoning segmentation: words and masks (`segtune.losses.objective.Objective`).

    Args:
        config: Weights, parameters, and the space in which masks are compared.
        seg_id: Id of `<SEG>`, to count masks.
    """

    def __init__(self, config: LossConfig, seg_id: int) -> None:
        self.config, self.seg_id = config, seg_id
        self.weights = {term: float(getattr(config, term)) for term in config.terms}

    def counts(self, batch: Batch) -> dict[str, float]:
        """The supervised tokens for `ce`, the masks for every other term."""
        labels = batch.labels[:, 1:]
        tokens, masks = int((labels != IGNORE_LABEL).sum()), int((labels == self.seg_id).sum())
        return {term: tokens if term == "ce" else masks for term in self.weights}

    def sums(self, output: SegmentationOutput, batch: Batch) -> dict[str, Tensor]:
        """As `loss_sums`."""
        return loss_sums(output, batch, self.config)


def loss_sums(output: SegmentationOutput, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
    """The sum of each term over a batch, unweighted.

    Args:
        output: What the model returned for `batch`.
        batch: Its labels and targets.
        config: Which terms, their parameters, in which space masks are compared, and what ignored pixels count for.

    Returns:
        `config.terms` by name: `ce` (nats over A tokens), the others over N masks; float32 scalars with gradients.
    """
    sums = {"ce": token_cross_entropy(output.answer_logits, answer_labels(batch.labels)).sum()}
    mask_terms = [term for term in config.terms if term != "ce"]
    sums |= dict.fromkeys(mask_terms, output.masks.logits[:0].sum())  # 0, and part of the graph without a mask too
    for logits, targets, weights in _compared(output.masks, batch, config):
        for term in mask_terms:
            sums[term] = sums[term] + _elements(term, logits, targets, weights, config).sum()
    return sums


def _elements(term: str, logits: Tensor, targets: Tensor, weights: Tensor, config: LossConfig) -> Tensor:
    """One term of each mask, float32 `[n]`."""
    match term:
        case "bce":
            return mask_bce(logits, targets, weights)
        case "dice":
            return mask_dice(logits, targets, weights)
        case "focal":
            return mask_focal(logits, targets, weights, config.focal_gamma, config.focal_alpha)
        case "iou":
            return mask_iou(logits, targets, weights)
        case "tversky":
            return mask_tversky(logits, targets, weights, config.tversky_alpha, config.tversky_beta)
        case "boundary":
            return mask_boundary(logits, targets, weights)
    raise ValueError(f"there is no term {term!r}")


Compared = tuple[Tensor, Tensor, Tensor]
"""Logits, covered fractions and weights of masks in one space, float32 `[n, h, w]` each."""


def _compared(masks: Masks, batch: Batch, config: LossConfig) -> Iterable[Compared]:
    """The masks beside their targets: all at once where they are squares of one size, else one by one."""
    if config.space == "original":
        return _in_original(masks, batch, config)
    return (_in_square(masks, batch, config),)


def _in_square(masks: Masks, batch: Batch, config: LossConfig) -> Compared:
    """All masks in model or low-res pixels."""
    logits, targets = masks.logits, batch.targets[masks.query]
    if config.space == "model":
        side = targets.shape[-1]
        logits = F.interpolate(logits[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]
    if config.ignore == "negative":
        for target, geometry in zip(targets, _geometries(masks, batch), strict=True):
            image = target[geometry.visible]  # a view of the copy above; padding stays ignored
            image[image == IGNORE] = 0
    return logits, *soften(targets, logits.shape[-1], IGNORE)


def _in_original(masks: Masks, batch: Batch, config: LossConfig) -> Iterator[Compared]:
    """Each mask by itself in original pixels; what a crop cut away was never seen and has no weight, like padding."""
    for index, (query, geometry) in enumerate(zip(masks.query.tolist(), _geometries(masks, batch), strict=True)):
        target = torch.from_numpy(batch.examples[query].target).to(masks.logits.device)[None]
        weights = seen_pixels(geometry, target.device)[None].float()
        if config.ignore == "honour":
            weights = weights * (target != IGNORE)
        yield to_original(masks.logits[index : index + 1], geometry), (target == 1).float(), weights


def _geometries(masks: Masks, batch: Batch) -> list[Geometry]:
    """The geometry of each mask's picture."""
    return [batch.images.geometries[group] for group in batch.group_index[masks.query].tolist()]
