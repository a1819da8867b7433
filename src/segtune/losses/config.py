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


CLASS_TERMS = ("ce", "dice")
"""The terms of a head that tells classes apart: always computed where there is one."""

BINARY_TERMS = ("binary_bce", "binary_dice")
"""The terms of a binary head: always computed where there is one."""

OPTIONAL_DENSE_TERMS = ("focal", "binary_focal")
"""One for each head; computed, logged and in the history only where they have a weight."""

_HEADS = {"classes": (*CLASS_TERMS, "focal"), "binary": (*BINARY_TERMS, "binary_focal")}


class DenseLossConfig(Config):
    """Weights and parameters of the losses of dense segmentation.

    A classic choice, `lambda x Dice + weighted cross-entropy`, is `ce=1 dice=LAMBDA`; with the focal loss in its place,
    `ce=1 dice=0 focal=LAMBDA`.
    """

    ce: float = Field(1.0, ge=0, description="weight of the cross-entropy on classes, itself weighted by class")
    dice: float = Field(1.0, ge=0, description="weight of the Dice loss on classes")
    focal: float = Field(0.0, ge=0, description="weight of the focal loss on classes")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each label spread over all classes, ce only")
    dice_background: bool = Field(True, description="false leaves class 0 out of the Dice loss on classes")
    focal_gamma: float = Field(2.0, ge=0, description="how much less a pixel counts that is right already")
    focal_alpha: float = Field(
        0.25, ge=0, le=1, description="binary: weight of foreground, background has 1 minus it; classes: a factor"
    )
    binary_bce: float = Field(1.0, ge=0, description="weight of the binary cross-entropy on pixels")
    binary_dice: float = Field(1.0, ge=0, description="weight of the Dice loss on binary masks")
    binary_focal: float = Field(0.0, ge=0, description="weight of the focal loss on binary pixels")

    def terms(self, *, classes: bool, binary: bool) -> tuple[str, ...]:
        """The terms that are computed.

        Args:
            classes: Whether the model has a head for classes.
            binary: Whether it has a head for a binary mask.

        Returns:
            The terms of the heads, each head's optional one only with a weight.
        """
        names = [*(_HEADS["classes"] if classes else ()), *(_HEADS["binary"] if binary else ())]
        return tuple(name for name in names if name not in OPTIONAL_DENSE_TERMS or getattr(self, name) > 0)

    def require_weights(self, *, classes: bool, binary: bool) -> None:
        """Refuses losses that would leave a head of the model untrained.

        Args:
            classes: Whether the model has a head for classes.
            binary: Whether it has a head for a binary mask.

        Raises:
            ValueError: A head is there, and all terms of it have the weight 0.
        """
        for head, there in (("classes", classes), ("binary", binary)):
            names = _HEADS[head]
            if there and all(getattr(self, name) == 0 for name in names):
                raise ValueError(
                    f"the model has the head {head!r} and every loss of it has the weight 0, so it would learn "
                    f"nothing; give one of {', '.join(names)} more"
                )

    @model_validator(mode="after")
    def _something_is_learned(self) -> Self:
        """Whatever the heads, a sum of nothing teaches nothing."""
        names = [name for head in _HEADS.values() for name in head]
        if all(getattr(self, name) == 0 for name in names):
            raise ValueError(f"every weight is 0, so nothing would be learned; give one of {', '.join(names)} more")
        return self
