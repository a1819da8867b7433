"""Loss terms as sums and counts.

A term is a sum over elements and the number of elements. Whoever adds micro-batches or processes together adds sums
and counts and divides once at the end, so neither accumulation nor the number of processes changes the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segtune.core.records import IGNORE
from segtune.core.types import Batch, SegmentationOutput
from segtune.losses.config import LossConfig
from segtune.losses.functional import mask_bce, mask_dice, token_cross_entropy
from segtune.ops.geometry import soften
from segtune.ops.tokens import IGNORE_LABEL, answer_labels

TERMS = ("ce", "bce", "dice")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many elements each kind of term is averaged over."""

    tokens: int
    masks: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tokens + other.tokens, self.masks + other.masks)

    def of(self, term: str) -> int:
        """The denominator of a term; at least 1, so that nothing divided by nothing is nothing."""
        return max(1, self.tokens if term == "ce" else self.masks)


def count(batch: Batch, seg_id: int) -> Counts:
    """Counts supervised tokens and masks of a batch before any forward."""
    labels = batch.labels[:, 1:]
    return Counts(tokens=int((labels != IGNORE_LABEL).sum()), masks=int((labels == seg_id).sum()))


def loss_sums(output: SegmentationOutput, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
    """The sum of each term over a batch, unweighted.

    Args:
        output: What the model returned for `batch`.
        batch: Its labels and targets.
        config: In which space masks are compared.

    Returns:
        `ce` (nats over A tokens), `bce` and `dice` (over N masks), float32 scalars with gradients.
    """
    masks = output.masks
    logits = masks.logits
    if config.space == "model":
        side = batch.targets.shape[-1]
        logits = F.interpolate(logits[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]
    targets, weights = soften(batch.targets[masks.query], logits.shape[-1], IGNORE)
    return {
        "ce": token_cross_entropy(output.answer_logits, answer_labels(batch.labels)).sum(),
        "bce": mask_bce(logits, targets, weights).sum(),
        "dice": mask_dice(logits, targets, weights).sum(),
    }


def weighted_total(sums: dict[str, Tensor], counts: Counts, config: LossConfig) -> Tensor:
    """The training loss: each sum over its global count, times its weight."""
    return torch.stack([getattr(config, term) * sums[term] / counts.of(term) for term in TERMS]).sum()
