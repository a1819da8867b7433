"""What the training loop must be told about the kind of segmentation that it trains, and nothing else.

The loop knows batches, steps, epochs, checkpoints and interruptions. What a batch is worth, what an epoch amounts to
and what a validation measures beyond losses is here, once for each kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self

from segtune.data.conversation import Conversation
from segtune.data.loader import ScoringLoader
from segtune.engine.config import EvalConfig, TrainConfig
from segtune.engine.evaluator import evaluate_split
from segtune.engine.recompute import enter_training
from segtune.engine.tracker import Tracker
from segtune.losses.config import LossConfig
from segtune.losses.objective import Objective
from segtune.losses.terms import ReasoningObjective
from segtune.models.reasoning import ReasoningSegmenter


class TrainingBatches(Protocol):
    """Batches for training, in an order that the epoch decides."""

    def __len__(self) -> int:
        """Batches per epoch."""
        ...

    def batches(self, epoch: int, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Any]:
        """Those of an epoch from batch `start` on; of several processes each takes its share."""
        ...


class ScoredBatches(Protocol):
    """Batches for validation: every sample once."""

    def batches(self, rank: int = 0, world: int = 1) -> Iterator[Any]:
        """Those of one process."""
        ...


class EpochTracker(Protocol):
    """Running sums of one epoch; `segtune.engine.tracker.Tracker` is one."""

    steps: int
    seconds: float

    def observe(self, output: Any, batch: Any) -> None:
        """Adds an output."""
        ...

    def step(self, terms: dict[str, float], seconds: float) -> None:
        """Adds the losses and the duration of a step."""
        ...

    def glance(self) -> dict[str, float]:
        """What the progress line shows of the epoch so far."""
        ...

    def compute(self, prefix: str = "") -> dict[str, float | None]:
        """The history row, keys with `prefix`."""
        ...

    def merge(self, other: Self) -> None:
        """Adds what another process has seen."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The sums as JSON values."""
        ...


class Task(Protocol):
    """A kind of segmentation, as the loop sees it.

    Attributes:
        objective: The losses.
        headlines: Keys of the history that the line of an epoch shows, where it has them.
    """

    objective: Objective
    headlines: tuple[str, ...]

    def tracker(self, sums: dict[str, Any] | None = None) -> EpochTracker:
        """A new tracker, or one that goes on from what `to_dict` gave."""
        ...

    def enter_training(self) -> None:
        """Puts the model into training mode, as far as it trains."""
        ...

    def scoring_autocast(self) -> AbstractContextManager[Any]:
        """The precision in which a validation runs the model: that in which its checkpoints are scored."""
        ...

    def validate_further(self, loader: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a validation measures beyond losses and a tracker: keys of the history row, and of its benchmarks."""
        ...


@dataclass
class ReasoningTask:
    """Reasoning segmentation: words and masks, validated teacher-forced and, where asked for, in generate mode.

    Args:
        model: The model.
        conversation: For generated answers.
        losses: Weights and parameters.
        train: Whether the validation generates.
        eval: Where a generated answer is cut.
    """

    model: ReasoningSegmenter
    conversation: Conversation
    losses: LossConfig
    train: TrainConfig
    eval: EvalConfig
    headlines: tuple[str, ...] = ("loss", "gIoU", "val_loss", "val_gIoU", "val_generate_gIoU")

    def __post_init__(self) -> None:
        self.objective: Objective = ReasoningObjective(self.losses, self.model.seg_id)

    def tracker(self, sums: dict[str, Any] | None = None) -> Tracker:
        """Losses, scores of masks and boxes, pixel metrics."""
        return Tracker.from_dict(sums) if sums else Tracker()

    def enter_training(self) -> None:
        """Training mode for what trains; layers that are recomputed are told so."""
        enter_training(self.model)

    def scoring_autocast(self) -> AbstractContextManager[Any]:
        """That of training."""
        return self.model.scoring_autocast()

    def validate_further(self, loader: ScoringLoader) -> tuple[dict[str, Any], dict[str, Any]]:
        """The protocol's scores in generate mode, and the time that an answer takes."""
        if not self.train.validate_generate:
            return {}, {}
        evaluation = evaluate_split(
            self.model, loader, self.conversation, "generate", max_new_tokens=self.eval.max_new_tokens,
            keep_predictions=False,
        )  # fmt: skip
        metrics = evaluation.scorer.result(data="", split="val", mode="generate")["metrics"]
        seconds = evaluation.seconds / max(1, len(evaluation.scorer))
        row = {
            "val_generate_gIoU": metrics["gIoU"], "val_generate_cIoU": metrics["cIoU"],
            "val_emission_rate": metrics["emission_rate"], "val_avg_inference_time_s": seconds,
        }  # fmt: skip
        return row, {"avg_inference_time_s": seconds}
