"""Losses per element: one number per mask or per token, no mean over the batch.

Targets are covered fractions in [0, 1] and weights say how much of each pixel counts (0 on ignored pixels and on
padding), both in the same space as the logits. Sums and counts are formed in `terms`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def token_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each answer token: logits `[A, V]`, labels int64 `[A]`, to float32 `[A]` nats."""
    return F.cross_entropy(logits.float(), labels, reduction="none")


def mask_bce(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Binary cross-entropy of each mask, averaged over its counted pixels.

    Args:
        logits: float `[N, s, s]`.
        targets: float `[N, s, s]`, covered fractions.
        weights: float `[N, s, s]`, how much of each pixel counts.

    Returns:
        float32 `[N]`; 0 for a mask of which nothing counts.
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), targets, weight=weights, reduction="none")
    return loss.flatten(1).sum(1) / weights.flatten(1).sum(1).clamp_min(1e-6)


def mask_dice(logits: Tensor, targets: Tensor, weights: Tensor, smooth: float = 1e-3) -> Tensor:
    """Dice loss of each mask (Milletari et al., arXiv 1606.04797), sums over counted pixels.

    The smoothing of a thousandth of a pixel is the reference system's (its `scale=1000, eps=1e-6`).

    Args:
        logits: float `[N, s, s]`.
        targets: float `[N, s, s]`, covered fractions.
        weights: float `[N, s, s]`, how much of each pixel counts.
        smooth: Added to numerator and denominator, in pixels.

    Returns:
        float32 `[N]`, 0 for a perfect and 1 for a disjoint mask.
    """
    probability = logits.float().sigmoid() * weights
    wanted = targets * weights
    overlap = (probability * targets).flatten(1).sum(1)
    total = probability.flatten(1).sum(1) + wanted.flatten(1).sum(1)
    return 1 - (2 * overlap + smooth) / (total + smooth)
