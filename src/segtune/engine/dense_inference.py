"""From an image to the class and the foreground of each original pixel: the one path of evaluation and prediction.

Everything a model says about an image is one map of *logits*, of any size, that covers it. Views of test-time
augmentation are joined into such a map by the mean of their probabilities, sliding windows by the weighted mean of
their logits; then it is brought to the original size and decided, in strips of rows, so that probabilities of all
classes never stand in memory for a whole photograph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segtune.core.errors import SegtuneError
from segtune.core.types import DenseBatch, DenseOutput
from segtune.data.dense.transforms import DenseTransform
from segtune.data.dense.views import Box
from segtune.engine.dense_config import DenseInferenceConfig, TtaConfig
from segtune.engine.dense_windows import WindowMap, WindowPlan
from segtune.models.dense.network import DenseSegmenter

STRIP = 1 << 22
"""Numbers of a strip of logits in original pixels; a few temporaries of that size stand beside it."""

_WHOLE = DenseInferenceConfig()


@dataclass(frozen=True, slots=True, eq=False)
class DenseAnswer:
    """What a dense model says about an image, in original pixels: nine bytes for each of them at most.

    Attributes:
        labels: uint8 `[h, w]`, the most probable class; None without a head for classes.
        confidence: float32 `[h, w]`, the probability of that class; None without that head.
        binary_logits: float32 `[h, w]`, above 0 is foreground; None without a binary head.
    """

    labels: np.ndarray | None
    confidence: np.ndarray | None
    binary_logits: np.ndarray | None


@torch.inference_mode()
def segment(
    model: DenseSegmenter, transform: DenseTransform, image: np.ndarray, config: DenseInferenceConfig = _WHOLE
) -> DenseAnswer:
    """Segments one image, with views and windows as configured.

    A window is a part of the image of `config.window` original pixels, brought to the size of the model: the same
    things are then as large as in training, where whole photographs were. Windows lie on a grid that covers the image;
    one that is as large as the image, or larger, is the image, as without windows. Scales resize what the encoder
    sees: the larger view is made of the original pixels and shows more of them.

    Args:
        model: In evaluation mode.
        transform: Prepares its input.
        image: uint8 `[h, w, 3]`, RGB.
        config: Views and windows.

    Raises:
        SegtuneError: The model's answer is NaN.
    """
    height, width = image.shape[:2]
    answer = partial(_answer_boxes, model, transform, image, config)
    plan = None if config.window is None else WindowPlan.of((height, width), config.window, transform.size, config)
    if plan is None or plan.count == 1:
        logits: RowMap = _Whole(answer([None])[0])
    else:
        logits = WindowMap(plan, answer, config.batch_size)
    return _decide(logits, (height, width), model)


@torch.inference_mode()
def segment_batch(model: DenseSegmenter, batch: DenseBatch, *, tta: TtaConfig = _WHOLE.tta) -> list[DenseAnswer]:
    """Segments whole images that a loader has prepared; the same answers as `segment` gives, several at once.

    Args:
        model: In evaluation mode.
        batch: On the model's device; its labels are not looked at.
        tta: By which axes the images are mirrored in turn; the answers are averaged. Its scales are not looked at.

    Raises:
        SegtuneError: The model's answer is NaN.
    """
    logits = _joined(model, [batch.pixels], tta)
    sizes = [(item.image.shape[0], item.image.shape[1]) for item in batch.items]
    return [_decide(_Whole(one), size, model) for one, size in zip(logits, sizes, strict=True)]


class RowMap(Protocol):
    """Logits that cover an image and are asked for from top to bottom.

    Attributes:
        size: (height, width) of the map.
    """

    size: tuple[int, int]

    def rows(self, first: int, last: int) -> Tensor:
        """Float32 `[K, last - first, width]`; `first` never falls from one call to the next."""
        ...


class _Whole:
    """Logits `[K, h, w]` that are all there."""

    def __init__(self, logits: Tensor) -> None:
        self.logits, self.size = logits, (logits.shape[-2], logits.shape[-1])

    def rows(self, first: int, last: int) -> Tensor:
        """Float32 `[K, last - first, w]`, a view of the logits."""
        return self.logits[:, first:last]


def _answer_boxes(
    model: DenseSegmenter,
    transform: DenseTransform,
    image: np.ndarray,
    config: DenseInferenceConfig,
    boxes: Sequence[Box | None],
) -> Tensor:
    """The joined logits `[n, K, h', w']` of parts of an image; None is the whole."""
    device = next(model.parameters()).device
    height, width = transform.size
    # scales that come to the same size are one view; the model's own size fits as it is
    sizes = dict.fromkeys(
        transform.size if scale == 1 else model.fitting_size((scale * height, scale * width))
        for scale in config.tta.scales
    )
    views = [torch.stack([transform.pixels(image, size=size, box=box) for box in boxes]).to(device) for size in sizes]
    return _joined(model, views, config.tta)


def _joined(model: DenseSegmenter, views: Sequence[Tensor], tta: TtaConfig) -> Tensor:
    """One map of logits from several views of the same images.

    The mean over views of probabilities (softmax of classes, sigmoid of the binary mask), each first brought to the
    size of the largest, written as logits again: log mean p for classes, log mean p - log mean (1 - p) for the mask.

    Args:
        model: In evaluation mode.
        views: Float `[B, 3, h_i, w_i]`, model pixels.
        tta: By which axes each view is mirrored in turn, and its answer back. What a mirror image shows as a left hand
            is a right one, so the answers for classes that differ by a side change places too.

    Returns:
        float32 `[B, K, h', w']`: the classes, then the binary mask. Of a single view these are its own logits.
    """
    order = tta.order(model.classes, model.binary_classes, model.sided_classes)
    order = order if model.class_head is not None else ()
    maps = [
        _reordered(_stacked(model.decode(view.flip(axes))).flip(axes), order if -1 in axes else ())
        for axes in tta.mirrors
        for view in views
    ]
    if len(maps) == 1:
        return maps[0]
    size = tuple(max(map_.shape[axis] for map_ in maps) for axis in (-2, -1))
    classes = maps[0].shape[1] - (model.binary_head is not None)
    total: Tensor | None = None
    for map_ in maps:
        same = map_ if map_.shape[-2:] == size else F.interpolate(map_, size=size, mode="bilinear")
        log_p = _log_probabilities(same, classes)
        total = log_p if total is None else torch.logaddexp(total, log_p)
    assert total is not None
    if classes == maps[0].shape[1]:
        return total - math.log(len(maps))
    binary = total[:, classes : classes + 1] - total[:, classes + 1 :]
    return torch.cat([total[:, :classes] - math.log(len(maps)), binary], dim=1)


def _reordered(logits: Tensor, order: Sequence[int]) -> Tensor:
    """Logits `[B, K, h, w]` of which the first channels are put into an order; the rest stay."""
    if tuple(order) == tuple(range(len(order))):
        return logits
    return logits[:, [*order, *range(len(order), logits.shape[1])]]


def _log_probabilities(logits: Tensor, classes: int) -> Tensor:
    """Of logits `[B, K, h, w]`: log p of the classes and, where there is a binary mask, of it and of its absence."""
    parts = [logits[:, :classes].log_softmax(dim=1)] if classes else []
    binary = logits[:, classes:]
    return torch.cat([*parts, F.logsigmoid(binary), F.logsigmoid(-binary)], dim=1)


def _stacked(output: DenseOutput) -> Tensor:
    """The logits of both heads in one tensor `[B, K, h', w']`: the classes, then the binary mask."""
    parts = [output.classes] if output.classes is not None else []
    parts += [output.binary[:, None]] if output.binary is not None else []
    return torch.cat(parts, dim=1).float()


def _decide(logits: RowMap, size: tuple[int, int], model: DenseSegmenter) -> DenseAnswer:
    """Brings logits to original pixels (bilinear) and decides there, in strips of rows."""
    (height, width), count = size, len(model.classes) if model.class_head is not None else 0
    labels, confidence = (np.empty(size, kind) if count else None for kind in (np.uint8, np.float32))
    binary = np.empty(size, np.float32) if model.binary_head is not None else None
    step = max(1, STRIP // (width * (count + 1)))
    for top in range(0, height, step):
        strip = slice(top, min(top + step, height))
        values = _original_rows(logits, strip, size)
        if labels is not None and confidence is not None:
            best, winner = values[:count].max(dim=0)
            labels[strip] = winner.to(torch.uint8).cpu().numpy()
            confidence[strip] = (best - values[:count].logsumexp(dim=0)).exp().cpu().numpy()
        if binary is not None:
            binary[strip] = values[count].cpu().numpy()
    if any(values is not None and np.isnan(values).any() for values in (confidence, binary)):
        raise SegtuneError(
            "the model's answer is not a number (NaN)", expected="finite logits",
            fix="its training has diverged or its weights are damaged: take an earlier checkpoint",
        )  # fmt: skip
    return DenseAnswer(labels, confidence, binary)


def _original_rows(logits: RowMap, strip: slice, size: tuple[int, int]) -> Tensor:
    """Float32 `[K, rows, w]`: rows of what bilinear interpolation (corners not aligned) makes of the whole map."""
    wanted = torch.arange(strip.start, strip.stop, dtype=torch.float64)
    places = ((wanted + 0.5) * (logits.size[0] / size[0]) - 0.5).clamp(0, logits.size[0] - 1)
    above = places.floor().long()
    below = (above + 1).clamp(max=logits.size[0] - 1)
    first = int(above[0])
    rows = logits.rows(first, int(below[-1]) + 1)
    share = (places - above).to(rows)[:, None]
    mixed = torch.lerp(rows[:, (above - first).to(rows.device)], rows[:, (below - first).to(rows.device)], share)
    if logits.size[1] == size[1]:
        return mixed
    return F.interpolate(mixed[None], size=(mixed.shape[1], size[1]), mode="bilinear")[0]
