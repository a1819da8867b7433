"""The losses of dense segmentation as sums and counts.

As in `terms`: a term is a sum over elements and the number of elements, known from the labels alone, so that neither
accumulation nor the number of processes changes the result. Classes and masks are compared in model pixels; ignored
pixels count nowhere. What a term is averaged over:

- `ce`: pixels, each with the weight of its class, as `torch.nn.functional.cross_entropy` has it;
- `focal`, `binary_bce`, `binary_focal`: pixels;
- `dice`: pairs of an image and a class that occurs in it;
- `binary_dice`: images with foreground.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segtune.core.records import IGNORE
from segtune.core.types import DenseBatch, DenseOutput
from segtune.losses.config import DenseLossConfig
from segtune.losses.functional import mask_dice, mask_focal
from segtune.ops.labels import binary_table

LABELS = 256
"""How many values a label can have, `IGNORE` among them."""


class DenseObjective:
    """The losses of dense segmentation (`segtune.losses.objective.Objective`).

    Args:
        config: Weights and parameters.
        multiclass: Whether the model has a head for classes.
        foreground: Indices of the classes that the binary head finds; None without that head.
        class_weights: float `[C]`, for `ce`; None is 1 for every class.
    """

    def __init__(
        self,
        config: DenseLossConfig,
        *,
        multiclass: bool,
        foreground: Sequence[int] | None,
        class_weights: Tensor | None = None,
    ) -> None:
        self.config, self.foreground, self.class_weights = config, foreground, class_weights
        terms = config.terms(classes=multiclass, binary=foreground is not None)
        self.weights = {term: float(getattr(config, term)) for term in terms}

    def counts(self, batch: DenseBatch) -> dict[str, float]:
        """As `dense_counts`, of the heads that are there."""
        counts = dense_counts(batch, self.config, class_weights=self.class_weights, foreground=self.foreground)
        return {term: counts[term] for term in self.weights}

    def sums(self, output: DenseOutput, batch: DenseBatch) -> dict[str, Tensor]:
        """As `dense_loss_sums`."""
        return dense_loss_sums(output, batch, self.config, self.class_weights, self.foreground)


def dense_counts(
    batch: DenseBatch,
    config: DenseLossConfig,
    *,
    class_weights: Tensor | None = None,
    foreground: Sequence[int] | None = None,
) -> dict[str, float]:
    """What each term of a batch is averaged over, before any forward.

    Args:
        batch: Its labels.
        config: Which terms there are, and whether class 0 is in the Dice loss.
        class_weights: float `[C]`, at least 0; None is 1 for every class.
        foreground: Indices of the classes that the binary head finds; None without that head.

    Returns:
        A number for each of `config.terms(classes=True, binary=foreground is not None)`, 0 where nothing counts. The
        count of `ce` is the summed weight of its pixels.
    """
    pixels = _histogram(batch.labels)[:, :IGNORE]
    weighted = pixels.sum(0)
    if class_weights is not None:
        weighted = weighted[: len(class_weights)] * class_weights.to(weighted)
    counted = pixels.sum()
    counts = {"ce": weighted.sum(), "focal": counted, "binary_bce": counted, "binary_focal": counted}
    counts["dice"] = (pixels[:, 0 if config.dice_background else 1 :] > 0).sum()
    if foreground is not None:
        counts["binary_dice"] = (pixels[:, sorted(set(foreground))].sum(1) > 0).sum()
    return {term: float(counts[term]) for term in config.terms(classes=True, binary=foreground is not None)}


def dense_loss_sums(
    output: DenseOutput,
    batch: DenseBatch,
    config: DenseLossConfig,
    class_weights: Tensor | None = None,
    foreground: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """The sum of each term over a batch, without the weights of the terms.

    Args:
        output: What the model returned for `batch`; logits of any size, brought to that of the labels (bilinear).
        batch: Its labels, below C.
        config: Which terms, and their parameters.
        class_weights: float `[C]` on any device, for `ce`; None is 1 for every class.
        foreground: Indices of the classes that the binary head finds.

    Returns:
        The terms of the heads that `output` has, by name; float32 scalars with gradients.

    Raises:
        ValueError: There are binary logits and no `foreground` to compare them with.
    """
    sums: dict[str, Tensor] = {}
    if output.classes is not None:
        sums |= _class_sums(output.classes, batch.labels, config, class_weights)
    if output.binary is not None:
        if foreground is None:
            raise ValueError("a binary head is there, and no classes that make up its foreground")
        sums |= _binary_sums(output.binary, batch.labels, config, foreground)
    return sums


def to_labels(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Brings logits to model pixels.

    Args:
        logits: float `[B, C, h', w']`, low-res.
        size: (height, width) of the labels, in model pixels.

    Returns:
        float32 `[B, C, h, w]`, bilinear, corners not aligned.
    """
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits.float()
    return F.interpolate(logits.float(), size=tuple(size), mode="bilinear", align_corners=False)


def cross_entropy_sum(
    log_probability: Tensor, labels: Tensor, class_weights: Tensor | None, label_smoothing: float
) -> Tensor:
    """Summed cross-entropy with smoothed labels (Szegedy et al., arXiv 1512.00567, section 7), weighted by class.

    Divided by the summed weight of the pixels it is `torch.nn.functional.cross_entropy`: with smoothing e, a pixel of
    class t costs `(1 - e) w_t (-log p_t) + e / C sum_c w_c (-log p_c)`.

    Args:
        log_probability: float32 `[B, C, h, w]`.
        labels: int64 `[B, h, w]`.
        class_weights: float `[C]`, or None.
        label_smoothing: e, 0 to below 1.

    Returns:
        A float32 scalar, nats.
    """
    weights = None if class_weights is None else class_weights.to(log_probability)
    total = F.nll_loss(log_probability, labels, weight=weights, ignore_index=IGNORE, reduction="sum")
    if not label_smoothing:
        return total
    each = log_probability if weights is None else log_probability * weights[:, None, None]
    spread = -each.sum(1).masked_fill(labels == IGNORE, 0).sum()
    return (1 - label_smoothing) * total + label_smoothing / log_probability.shape[1] * spread


def focal_sum(log_probability: Tensor, labels: Tensor, gamma: float, alpha: float) -> Tensor:
    """Summed focal loss over classes (Lin et al., arXiv 1708.02002, equation 5): -alpha (1 - p_t)^gamma log(p_t).

    Among many classes none is the background, so alpha is one factor for all of them; with gamma 0 and alpha 1 it is
    the cross-entropy without weights.

    Args:
        log_probability: float32 `[B, C, h, w]`.
        labels: int64 `[B, h, w]`.
        gamma: At least 0; how much less a pixel counts that is right already.
        alpha: 0 to 1.

    Returns:
        A float32 scalar.
    """
    ignored = labels == IGNORE
    wanted = log_probability.gather(1, labels.masked_fill(ignored, 0)[:, None])[:, 0]
    # expm1 keeps a small rest exact; at a rest of 0 a root (gamma below 1) would have an infinite slope
    rest = (-torch.expm1(wanted)).clamp_min(1e-12)
    return (-alpha * rest.pow(gamma) * wanted).masked_fill(ignored, 0).sum()


def dice_sum(probability: Tensor, labels: Tensor, *, background: bool, smooth: float = 1e-3) -> Tensor:
    """Summed Dice loss of every pair of an image and a class that occurs in its labels.

    1 - 2 sum(p g) / (sum(p) + sum(g)) over counted pixels, after Milletari et al. (arXiv 1606.04797), with plain sums
    below as in Drozdzal et al. (arXiv 1608.04117; the former squares them). A class that does not occur in an image
    has no pair: its Dice loss would be 1 whatever the prediction. It is not free to be predicted, because its
    probability is taken from the classes that are there.

    Args:
        probability: float32 `[B, C, h, w]`, 0 to 1.
        labels: int64 `[B, h, w]`.
        background: False leaves class 0 out.
        smooth: Added above and below, in pixels.

    Returns:
        A float32 scalar; 0 where no class occurs.
    """
    first = 0 if background else 1
    counted = (labels != IGNORE)[:, None]
    index = torch.arange(first, probability.shape[1], device=labels.device)[:, None, None]
    wanted = labels[:, None] == index  # [B, C, h, w]; never true where ignored, as no class is
    part = probability[:, first:]
    overlap = (part * wanted).sum((2, 3))
    areas = (part * counted).sum((2, 3)) + wanted.sum((2, 3))
    present = wanted.flatten(2).any(2)
    return ((1 - (2 * overlap + smooth) / (areas + smooth)) * present).sum()


def _class_sums(logits: Tensor, labels: Tensor, config: DenseLossConfig, weights: Tensor | None) -> dict[str, Tensor]:
    log_probability = F.log_softmax(to_labels(logits, labels.shape[-2:]), dim=1)
    index = labels.long()
    sums = {"ce": cross_entropy_sum(log_probability, index, weights, config.label_smoothing)}
    sums["dice"] = dice_sum(log_probability.exp(), index, background=config.dice_background)
    if config.focal > 0:
        sums["focal"] = focal_sum(log_probability, index, config.focal_gamma, config.focal_alpha)
    return sums


def _binary_sums(
    logits: Tensor, labels: Tensor, config: DenseLossConfig, foreground: Sequence[int]
) -> dict[str, Tensor]:
    logits = to_labels(logits[:, None], labels.shape[-2:])[:, 0]
    targets = torch.from_numpy(binary_table(foreground)).to(labels.device)[labels.long()]
    wanted, counted = (targets == 1).float(), (targets != IGNORE).float()
    sums = {"binary_bce": F.binary_cross_entropy_with_logits(logits, wanted, weight=counted, reduction="sum")}
    # an empty mask has no overlap to gain, as a class that does not occur: its pixels are the other terms' matter
    sums["binary_dice"] = (mask_dice(logits, wanted, counted) * wanted.flatten(1).any(1)).sum()
    if config.binary_focal > 0:
        each = mask_focal(logits, wanted, counted, config.focal_gamma, config.focal_alpha)
        sums["binary_focal"] = (each * counted.sum((1, 2))).sum()
    return sums


def _histogram(labels: Tensor) -> Tensor:
    """How many pixels of each image have each label, uint8 `[B, h, w]` to float64 `[B, LABELS]` on the CPU."""
    images = len(labels)
    start = LABELS * torch.arange(images, device=labels.device)[:, None]
    counts = torch.bincount((labels.flatten(1).long() + start).flatten(), minlength=LABELS * images)
    return counts.view(images, LABELS).cpu().double()  # on the CPU: not every accelerator has float64
