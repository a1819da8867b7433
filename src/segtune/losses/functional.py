"""Losses per element: one number per mask or per token, no mean over the batch.

Targets are covered fractions in [0, 1] and weights say how much of each pixel counts (0 on ignored pixels and on
padding), both in the same space as the logits. Sums and counts are formed in `terms`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def token_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each answer token: logits `[A, V]`, labels int64 `[A]`, to float32 `[A]` nats."""
    return F.cross_entropy(logits.float(), labels, reduction="none")


def mask_bce(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Binary cross-entropy of each mask, averaged over its counted pixels.

    Args:
        logits: float `[N, h, w]`.
        targets: float `[N, h, w]`, covered fractions.
        weights: float `[N, h, w]`, how much of each pixel counts.

    Returns:
        float32 `[N]`; 0 for a mask of which nothing counts.
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), targets, weight=weights, reduction="none")
    return _mean(loss, weights)


def mask_dice(logits: Tensor, targets: Tensor, weights: Tensor, smooth: float = 1e-3) -> Tensor:
    """Dice loss of each mask (Milletari et al., arXiv 1606.04797), sums over counted pixels.

    The smoothing of a thousandth of a pixel is the reference system's (its `scale=1000, eps=1e-6`).

    Args:
        logits: float `[N, h, w]`.
        targets: float `[N, h, w]`, covered fractions.
        weights: float `[N, h, w]`, how much of each pixel counts.
        smooth: Added to numerator and denominator, in pixels.

    Returns:
        float32 `[N]`, 0 for a perfect and 1 for a disjoint mask.
    """
    overlap, predicted, wanted = _areas(logits, targets, weights)
    return 1 - (2 * overlap + smooth) / (predicted + wanted + smooth)


def mask_iou(logits: Tensor, targets: Tensor, weights: Tensor, smooth: float = 1e-3) -> Tensor:
    """Soft Jaccard loss of each mask: 1 - IoU of probabilities (Rahman and Wang, ISVC 2016), over counted pixels.

    Args:
        logits: float `[N, h, w]`.
        targets: float `[N, h, w]`, covered fractions.
        weights: float `[N, h, w]`, how much of each pixel counts.
        smooth: Added to numerator and denominator, in pixels.

    Returns:
        float32 `[N]`, 0 for a perfect and 1 for a disjoint mask.
    """
    overlap, predicted, wanted = _areas(logits, targets, weights)
    return 1 - (overlap + smooth) / (predicted + wanted - overlap + smooth)


def mask_tversky(
    logits: Tensor, targets: Tensor, weights: Tensor, alpha: float, beta: float, smooth: float = 1e-3
) -> Tensor:
    """Tversky loss of each mask (Salehi et al., arXiv 1706.05721, equation 4), sums over counted pixels.

    1 - TP / (TP + alpha FP + beta FN); both at 1 it is the soft Jaccard loss, both at 0.5 the Dice loss.

    Args:
        logits: float `[N, h, w]`.
        targets: float `[N, h, w]`, covered fractions.
        weights: float `[N, h, w]`, how much of each pixel counts.
        alpha: What a falsely predicted pixel costs.
        beta: What a missed pixel costs.
        smooth: Added to numerator and denominator, in pixels.

    Returns:
        float32 `[N]`, 0 for a perfect and 1 for a disjoint mask.
    """
    overlap, predicted, wanted = _areas(logits, targets, weights)
    errors = alpha * (predicted - overlap) + beta * (wanted - overlap)
    return 1 - (overlap + smooth) / (overlap + errors + smooth)


def mask_focal(logits: Tensor, targets: Tensor, weights: Tensor, gamma: float, alpha: float) -> Tensor:
    """Focal loss of each mask (Lin et al., arXiv 1708.02002, equation 5), averaged over its counted pixels.

    -alpha_t (1 - p_t)^gamma log(p_t); a pixel covered in part is the mixture of a target and a background pixel. With
    gamma 0 and alpha 0.5 it is half the binary cross-entropy.

    Args:
        logits: float `[N, h, w]`.
        targets: float `[N, h, w]`, covered fractions.
        weights: float `[N, h, w]`, how much of each pixel counts.
        gamma: At least 0; how much less a pixel counts that is right already.
        alpha: 0 to 1, weight of target pixels; background has `1 - alpha`.

    Returns:
        float32 `[N]`; 0 for a mask of which nothing counts.
    """
    inside, outside = F.logsigmoid(logits.float()), F.logsigmoid(-logits.float())
    # The powers are taken as exponentials of log-probabilities: a probability that underflows to 0 has no gradient.
    wanted = alpha * targets * (gamma * outside).exp() * -inside
    unwanted = (1 - alpha) * (1 - targets) * (gamma * inside).exp() * -outside
    return _mean((wanted + unwanted) * weights, weights)


def mask_boundary(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Boundary loss of each mask (Kervadec et al., arXiv 1812.07032), averaged over its counted pixels.

    Every wrong pixel costs its distance from the target's boundary: the mean of phi (p - g), with phi the signed
    distance of `signed_distances`, p the probability and g the target. This is the paper's equation 5 with its
    constant, so that a perfect mask is at 0; the gradient is that of equation 6, which leaves it out. It says nothing
    about a target that is empty or full, which has no boundary: use it beside another loss, as the paper does.

    Args:
        logits: float `[N, h, w]`.
        targets: float `[N, h, w]`, covered fractions; half and more is target.
        weights: float `[N, h, w]`, how much of each pixel counts.

    Returns:
        float32 `[N]`, 0 (perfect) to below 1; 0 for a mask without a boundary or of which nothing counts.
    """
    distances = signed_distances(targets, weights)
    return _mean(distances * (logits.float().sigmoid() - (targets >= 0.5).float()) * weights, weights)


def signed_distances(targets: Tensor, weights: Tensor) -> Tensor:
    """How far each pixel is from the boundary of its target: below 0 inside, above 0 outside.

    The unit is the diagonal of the array, so a value means the same at every resolution. The distance goes from the
    centre of a pixel to that of the nearest counted pixel of the other side, less the half pixel that lies beyond the
    boundary (the authors' code takes off a whole one inside and none outside). Ignored pixels and padding are of
    neither side: where a target runs into them it has no boundary. Computed on the CPU, exactly, without a gradient.

    Args:
        targets: float `[N, h, w]`, covered fractions; half and more is target.
        weights: float `[N, h, w]`; pixels of weight 0 belong to neither side.

    Returns:
        float32 `[N, h, w]`, above -1 and below 1; 0 everywhere where there is no boundary.
    """
    wanted = ((targets >= 0.5) & (weights > 0)).cpu().numpy()
    unwanted = ((targets < 0.5) & (weights > 0)).cpu().numpy()
    distances = np.zeros(wanted.shape, np.float32)
    diagonal = math.hypot(*wanted.shape[1:])
    for index, (inside, outside) in enumerate(zip(wanted, unwanted, strict=True)):
        if inside.any() and outside.any():
            distances[index] = outside * (_distances_to(inside) - 0.5) - inside * (_distances_to(outside) - 0.5)
    return torch.from_numpy(distances / diagonal).to(targets.device)


def _distances_to(there: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest one that is true, bool `[h, w]` to float32 `[h, w]` pixels."""
    return cv2.distanceTransform((~there).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _areas(logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Overlap, predicted and wanted area of each mask in counted pixels, float32 `[N]` each."""
    probability = logits.float().sigmoid() * weights
    overlap = (probability * targets).flatten(1).sum(1)
    return overlap, probability.flatten(1).sum(1), (targets * weights).flatten(1).sum(1)


def _mean(weighted: Tensor, weights: Tensor) -> Tensor:
    """The sum of `weighted` over the sum of `weights` of each mask, `[N, h, w]` to `[N]`; 0 where nothing counts."""
    return weighted.flatten(1).sum(1) / weights.flatten(1).sum(1).clamp_min(1e-6)
