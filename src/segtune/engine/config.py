"""How a run optimises, validates and stops; free of torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from segtune.core.config import Config, nearest
from segtune.losses.config import OPTIONAL_TERMS, TERMS

LOSSES = ("loss", *TERMS, *OPTIONAL_TERMS)
METRICS = (
    "cIoU", "gIoU", "generalized_iou", "complete_iou", "P@0.5", "P@0.7", "P@0.9",
    "accuracy", "precision", "recall", "f1", "auroc",
)  # fmt: skip
GENERATED = ("val_generate_gIoU", "val_generate_cIoU", "val_emission_rate")
BEST_KEYS = (*(f"val_{name}" for name in (*LOSSES, *METRICS)), *GENERATED, *LOSSES, *METRICS)
"""Keys of the history by which checkpoints can be compared."""


class OptimConfig(Config):
    """AdamW and its schedule, which is stepped once per optimiser step."""

    lr: float = Field(1e-4, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = Field(100, ge=0, description="steps over which the rate rises linearly from 0")
    floor: float = Field(0.01, ge=0, le=1, description="final rate of the cosine schedule, as a share of lr")


class TrainConfig(Config):
    """The loop."""

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(1, ge=1, description="images per micro-batch")
    accumulate: int = Field(1, ge=1, description="micro-batches per optimiser step")
    precision: Literal["fp32", "bf16"] = "fp32"
    best: str = Field("val_cIoU", description="history key that decides what the best checkpoint is")
    best_goal: Literal["max", "min"] | None = Field(None, description="default: min for losses, max for all else")
    log_every: int = Field(10, ge=1, description="steps between rows of metrics.jsonl")
    validate_every: int = Field(1, ge=1, description="epochs between validations")
    validate_generate: bool = Field(True, description="validate in generate mode too")
    max_skipped: int = Field(10, ge=1, description="steps in a row with a non-finite loss or gradient before it stops")

    @property
    def best_is_highest(self) -> bool:
        """Whether the largest value of `best` is the best one."""
        return (self.best_goal or ("min" if self.best.removeprefix("val_") in LOSSES else "max")) == "max"

    @model_validator(mode="after")
    def _best_is_known(self) -> Self:
        """A key that no epoch has would be noticed only when the run ends without a best checkpoint."""
        if self.best not in BEST_KEYS:
            near = nearest(self.best, BEST_KEYS, 1)
            raise ValueError(
                f"best is no key of the history: {self.best!r}; "
                + (f"did you mean {near[0]}?" if near else f"known: {', '.join(BEST_KEYS)}")
            )
        if self.best in GENERATED and not self.validate_generate:
            raise ValueError(f"best={self.best} needs train.validate_generate=true")
        return self


class EvalConfig(Config):
    """Scoring."""

    batch_size: int = Field(4, ge=1, description="images per batch")
    max_new_tokens: int = Field(32, ge=1, description="where a generated answer is cut")
    overlays: int = Field(12, ge=0, description="pictures written per evaluation: best, median and worst answers")
    final: bool = Field(True, description="score the best checkpoint in both modes at the end of training")
    before: bool = Field(False, description="score the base before training too")
