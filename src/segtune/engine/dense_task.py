"""Dense segmentation, as the training loop sees it (`segtune.engine.task.Task`)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from segtune.engine.dense_tracker import DenseTracker
from segtune.losses.dense import DenseObjective
from segtune.losses.objective import Objective
from segtune.models.dense.network import DenseSegmenter


class DenseTask:
    """Classes of pixels, a binary mask, or both.

    Args:
        model: The model.
        objective: Its losses.
        foreground: Labels of the binary foreground; None without that head.
    """

    headlines: tuple[str, ...] = ("loss", "mIoU", "foreground_dice", "val_loss", "val_mIoU", "val_foreground_dice")

    def __init__(self, model: DenseSegmenter, objective: DenseObjective, foreground: tuple[int, ...] | None) -> None:
        self.model, self.foreground = model, foreground
        self.objective: Objective = objective

    def tracker(self, sums: dict[str, Any] | None = None) -> DenseTracker:
        """Losses, scores by class and of the binary mask."""
        if sums:
            return DenseTracker.from_dict(sums)
        classes = len(self.model.classes) if self.model.class_head is not None else 0
        return DenseTracker(classes=classes, foreground=self.foreground)

    def enter_training(self) -> None:
        """Training mode for what trains; a frozen encoder stays in evaluation mode, its buffers with it."""
        self.model.train()

    def scoring_autocast(self) -> AbstractContextManager[Any]:
        """None: dense models are scored in float32 (`engine.dense_inference`)."""
        return nullcontext()

    def validate_further(self, loader: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Nothing: scores in original pixels are the evaluator's."""
        return {}, {}
