"""How a run optimises, validates and stops; free of torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segtune.core.config import Config


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
    best_goal: Literal["max", "min"] = "max"
    log_every: int = Field(10, ge=1, description="steps between rows of metrics.jsonl")
    validate_every: int = Field(1, ge=1, description="epochs between validations")
    validate_generate: bool = Field(True, description="validate in generate mode too")
    max_skipped: int = Field(10, ge=1, description="steps in a row with a non-finite loss or gradient before it stops")


class EvalConfig(Config):
    """Scoring."""

    batch_size: int = Field(4, ge=1, description="images per batch")
    max_new_tokens: int = Field(32, ge=1, description="where a generated answer is cut")
    overlays: int = Field(12, ge=0, description="pictures written per evaluation")
    final: bool = Field(True, description="score the best checkpoint in both modes at the end of training")
    before: bool = Field(False, description="score the base before training too")
