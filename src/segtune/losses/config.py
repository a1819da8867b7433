"""The losses: their weights, their parameters and where masks are compared; free of torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from segtune.core.config import Config

TERMS = ("ce", "bce", "dice")
"""Always computed, so that every history has them, whatever their weight."""

OPTIONAL_TERMS = ("focal", "iou", "tversky", "boundary")
"""Computed, logged and in the history only where they have a weight."""


def require_weight(losses: LossConfig) -> None:
    """Refuses losses none of which has a weight, because their sum teaches nothing.

    Args:
        losses: Of a recipe.

    Raises:
        ValueError: All weights are 0.
    """
    if all(getattr(losses, term) == 0 for term in (*TERMS, *OPTIONAL_TERMS)):
        raise ValueError(
            f"every weight in losses is 0, so nothing would be learned; give one of {', '.join(TERMS)} more"
        )


class LossConfig(Config):
    """Weights and parameters. The defaults are the reference system's: cross-entropy 1.0, BCE 2.0, Dice 0.5."""

    ce: float = Field(1.0, ge=0, description="weight of the cross-entropy on answer tokens")
    bce: float = Field(2.0, ge=0, description="weight of the binary cross-entropy on mask pixels")
    dice: float = Field(0.5, ge=0, description="weight of the Dice loss on masks")
    focal: float = Field(0.0, ge=0, description="weight of the focal loss on mask pixels")
    focal_gamma: float = Field(2.0, ge=0, description="how much less a pixel counts that is right already")
    focal_alpha: float = Field(0.25, ge=0, le=1, description="weight of target pixels; background has 1 minus it")
    iou: float = Field(0.0, ge=0, description="weight of the soft Jaccard loss on masks")
    tversky: float = Field(0.0, ge=0, description="weight of the Tversky loss on masks")
    tversky_alpha: float = Field(0.3, ge=0, description="what a falsely predicted pixel costs in the Tversky loss")
    tversky_beta: float = Field(0.7, ge=0, description="what a missed pixel costs in the Tversky loss")
    boundary: float = Field(0.0, ge=0, description="weight of the boundary loss on masks")
    space: Literal["low_res", "model", "original"] = Field("model", description="pixels in which masks are compared")
    ignore: Literal["honour", "negative"] = Field(
        "honour", description="pixels marked as ignored count for nothing, or as background (the reference's rule)"
    )

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms that are computed: `TERMS`, and the optional ones that have a weight."""
        return (*TERMS, *(term for term in OPTIONAL_TERMS if getattr(self, term) > 0))

    @model_validator(mode="after")
    def _tversky_sees_errors(self) -> Self:
        """With both at 0 the loss is 0 for every prediction."""
        if self.tversky_alpha + self.tversky_beta <= 0:
            raise ValueError("tversky_alpha and tversky_beta are both 0; one of them must be above 0")
        return self
