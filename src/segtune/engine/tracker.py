"""What an epoch of training or validation amounts to: losses and teacher-forced metrics, from sums and counts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch.nn.functional as F

from segtune.core.types import Batch, SegmentationOutput
from segtune.metrics.counts import count_pixels
from segtune.metrics.states import AurocState, IouState, PixelState


@dataclass
class Tracker:
    """Running sums of one epoch.

    The masks are compared in model pixels: cheap, close to the original, and the same for training and validation.
    Scores in original pixels are the evaluator's.
    """

    loss_sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    iou: IouState = field(default_factory=IouState)
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
        for one in counts:
            self.pixels.update(one)
        if np.isfinite(logits).all():
            # Every fourth pixel is enough for a curve during training; evaluation uses all of them.
            self.auroc.update(logits[:, ::2, ::2], wanted[:, ::2, ::2])

    def step(self, terms: dict[str, float], seconds: float) -> None:
        """Adds the losses and the duration of one step."""
        for name, value in terms.items():
            self.loss_sums[name] = self.loss_sums.get(name, 0.0) + value
        self.steps += 1
        self.seconds += seconds

    def compute(self, prefix: str = "") -> dict[str, float | None]:
        """The history row: mean losses, gIoU, cIoU, pixel metrics and AUROC, keys with `prefix`."""
        row: dict[str, float | None] = {name: total / max(1, self.steps) for name, total in self.loss_sums.items()}
        row |= {**self.iou.compute(), **self.pixels.compute(), "auroc": self.auroc.compute()}
        return {prefix + name: value for name, value in row.items()}

    def to_dict(self) -> dict[str, Any]:
        """The sums as JSON values, so that a resumed epoch goes on counting."""
        return {
            "loss_sums": self.loss_sums, "steps": self.steps, "seconds": self.seconds, "iou": self.iou.to_dict(),
            "pixels": self.pixels.to_dict(), "auroc": self.auroc.to_dict(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Tracker:
        """The inverse of `to_dict`."""
        return cls(
            values["loss_sums"], values["steps"], values["seconds"], IouState.from_dict(values["iou"]),
            PixelState.from_dict(values["pixels"]), AurocState.from_dict(values["auroc"]),
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
