"""What an epoch of training or validation of a dense model amounts to: losses and metrics, from sums and counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from segtune.core.types import DenseBatch, DenseOutput
from segtune.engine.tracker import FULL_AUROC_SIDE, StepSums
from segtune.losses.config import BINARY_TERMS, CLASS_TERMS
from segtune.losses.dense import to_labels
from segtune.metrics.counts import count_pixels
from segtune.metrics.dense import BinaryState, ConfusionState
from segtune.metrics.dense_scores import FOREGROUND
from segtune.ops.labels import binary_table


@dataclass
class DenseTracker(StepSums):
    """Running sums of one epoch.

    Predictions are compared in model pixels: cheap, close to the original, and the same for training and validation.
    Scores in original pixels are the evaluator's.

    Attributes:
        classes: How many the head for classes tells apart; 0 without that head.
        foreground: Indices of the classes that the binary head finds; None without that head.
    """

    classes: int = 0
    foreground: tuple[int, ...] | None = None
    confusion: ConfusionState = field(init=False)
    binary: BinaryState = field(default_factory=BinaryState)

    def __post_init__(self) -> None:
        self.confusion = ConfusionState(self.classes)

    def observe(self, output: DenseOutput, batch: DenseBatch) -> None:
        """Adds the predictions of one output, in model pixels; logits of any size."""
        size = batch.labels.shape[-2:]
        labels = batch.labels.cpu().numpy()
        with torch.no_grad():
            if output.classes is not None and self.classes:
                predicted = to_labels(output.classes.detach(), size).argmax(1).to(torch.uint8)
                self.confusion.update(predicted.cpu().numpy(), labels)
            if output.binary is not None and self.foreground is not None:
                logits = to_labels(output.binary.detach()[:, None], size)[:, 0]
                self._observe_binary(logits.cpu().numpy(), binary_table(self.foreground)[labels])

    def _observe_binary(self, logits: np.ndarray, targets: np.ndarray) -> None:
        """Adds binary masks: logits float32 and targets uint8, `[B, h, w]` each."""
        # Of large images every fourth pixel is enough for a curve during training; evaluation uses all of them.
        stride = 1 if max(targets.shape[-2:]) <= FULL_AUROC_SIDE else 2
        for one, target in zip(logits, targets, strict=True):
            self.binary.update_counts(count_pixels(one > 0, target))
            if np.isfinite(one).all():
                self.binary.auroc.update(one[::stride, ::stride], target[::stride, ::stride])

    def glance(self) -> dict[str, float]:
        """What the progress line shows of the epoch so far."""
        shown = {"mIoU": self.confusion.compute()["mIoU"] or 0.0} if self.classes else {}
        if self.foreground is not None:
            shown["dice"] = self.binary.compute()["dice"] or 0.0
        return shown

    def merge(self, other: DenseTracker) -> None:
        """Adds what another process has seen; the losses of a step are those of all processes already."""
        self.confusion.merge(other.confusion)
        self.binary.merge(other.binary)

    def compute(self, prefix: str = "") -> dict[str, float | None]:
        """The history row, keys with `prefix`.

        Returns:
            `loss` and the loss terms of the heads (means over steps; None where every step was skipped),
            `CLASS_METRICS` and `BINARY_METRICS` (of `engine.config`) of the heads that are there.
        """
        binary = self.foreground is not None
        terms = (*(CLASS_TERMS if self.classes else ()), *(BINARY_TERMS if binary else ()))
        row = self.means(terms)
        row |= self.confusion.compute() if self.classes else {}
        row |= {FOREGROUND + name: value for name, value in self.binary.compute().items()} if binary else {}
        return {prefix + name: value for name, value in row.items()}

    def to_dict(self) -> dict[str, Any]:
        """The sums as JSON values, so that a resumed epoch goes on counting."""
        return {
            "classes": self.classes, "foreground": None if self.foreground is None else list(self.foreground),
            **self.sums(), "confusion": self.confusion.to_dict(), "binary": self.binary.to_dict(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DenseTracker:
        """The inverse of `to_dict`."""
        tracker = cls(
            classes=values["classes"],
            foreground=None if values["foreground"] is None else tuple(values["foreground"]),
            loss_sums=values["loss_sums"], steps=values["steps"], seconds=values["seconds"],
            binary=BinaryState.from_dict(values["binary"]),
        )  # fmt: skip
        tracker.confusion = ConfusionState.from_dict(values["confusion"])
        return tracker
