"""What an epoch of training or validation amounts to: losses and teacher-forced metrics, from sums and counts."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch.nn.functional as F

from segtune.core.types import Batch, SegmentationOutput
from segtune.losses.config import TERMS
from segtune.metrics.boxes import BoxState
from segtune.metrics.counts import count_pixels
from segtune.metrics.states import AurocState, FoundState, IouState, PixelState

FULL_AUROC_SIDE = 512
"""Up to this side of the model square every pixel enters the AUROC of an epoch."""


@dataclass
class StepSums:
    """What the steps of an epoch add up to, whatever they train.

    Attributes:
        loss_sums: The sum of each loss term over the steps.
        steps: How many.
        seconds: How long they took together.
    """

    loss_sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0

    def step(self, terms: dict[str, float], seconds: float) -> None:
        """Adds the losses and the duration of one step."""
        for name, value in terms.items():
            self.loss_sums[name] = self.loss_sums.get(name, 0.0) + value
        self.steps += 1
        self.seconds += seconds

    def means(self, terms: Iterable[str]) -> dict[str, float | None]:
        """`loss` and each term as the mean over the steps; None where every step was skipped."""
        row: dict[str, float | None] = dict.fromkeys(("loss", *terms))
        return row | {name: total / max(1, self.steps) for name, total in self.loss_sums.items()}

    def sums(self) -> dict[str, Any]:
        """The sums as JSON values, by the names of the attributes."""
        return {"loss_sums": self.loss_sums, "steps": self.steps, "seconds": self.seconds}


@dataclass
class Tracker(StepSums):
    """Running sums of one epoch.

    The masks are compared in model pixels: cheap, close to the original, and the same for training and validation.
    Scores in original pixels are the evaluator's.
    """

    iou: IouState = field(default_factory=IouState)
    found: FoundState = field(default_factory=FoundState)
    boxes: BoxState = field(default_factory=BoxState)
    pixels: PixelState = field(default_factory=PixelState)
    auroc: AurocState = field(default_factory=AurocState)

    def observe(self, output: SegmentationOutput, batch: Batch) -> None:
        """Adds the masks of one output."""
        masks = output.masks
        if not len(masks.logits):
            return
        targets = batch.targets[masks.query]
        side = targets.shape[-1]
        logits = F.interpolate(masks.logits.detach()[:, None], size=(side, side), mode="bilinear")[:, 0].cpu().numpy()
        wanted = targets.cpu().numpy()
        counts = [count_pixels(logit > 0, target) for logit, target in zip(logits, wanted, strict=True)]
        self.iou.update(counts)
        self.found.update(counts)
        for one in counts:
            self.pixels.update(one)
        for logit, target in zip(logits, wanted, strict=True):
            self.boxes.update(logit > 0, target)
        if np.isfinite(logits).all():
            # Of large squares every fourth pixel is enough for a curve during training; evaluation uses all of them.
            stride = 1 if side <= FULL_AUROC_SIDE else 2
            self.auroc.update(logits[:, ::stride, ::stride], wanted[:, ::stride, ::stride])

    def glance(self) -> dict[str, float]:
        """What the progress line shows of the epoch so far."""
        return {"gIoU": self.iou.compute()["gIoU"] or 0.0}

    def merge(self, other: Tracker) -> None:
        """Adds the masks that another process has seen; the losses of a step are those of all processes already."""
        for name in ("iou", "found", "boxes", "pixels", "auroc"):
            getattr(self, name).merge(getattr(other, name))

    def compute(self, prefix: str = "") -> dict[str, float | None]:
        """The history row, keys with `prefix`.

        Returns:
            `loss`, the loss terms (means over steps; None where every step was skipped), gIoU, cIoU, `P@t`, the scores
            of boxes with their `no_box`, the pixel metrics and AUROC.
        """
        row = self.means(TERMS)
        row |= {**self.iou.compute(), **self.found.compute(), **self.boxes.compute(), **self.pixels.compute()}
        row["auroc"] = self.auroc.compute()
        return {prefix + name: value for name, value in row.items()}

    def to_dict(self) -> dict[str, Any]:
        """The sums as JSON values, so that a resumed epoch goes on counting."""
        return {
            **self.sums(), "iou": self.iou.to_dict(), "found": self.found.to_dict(), "boxes": self.boxes.to_dict(),
            "pixels": self.pixels.to_dict(), "auroc": self.auroc.to_dict(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Tracker:
        """The inverse of `to_dict`."""
        return cls(
            loss_sums=values["loss_sums"], steps=values["steps"], seconds=values["seconds"],
            iou=IouState.from_dict(values["iou"]), found=FoundState.from_dict(values["found"]),
            boxes=BoxState.from_dict(values["boxes"]), pixels=PixelState.from_dict(values["pixels"]),
            auroc=AurocState.from_dict(values["auroc"]),
        )  # fmt: skip


class Stopwatch:
    """Seconds since it was last read."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds
