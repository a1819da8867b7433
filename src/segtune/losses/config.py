"""The weights of the losses; free of torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segtune.core.config import Config


class LossConfig(Config):
    """Weights as in the reference system: cross-entropy 1.0, BCE 2.0, Dice 0.5."""

    ce: float = Field(1.0, ge=0, description="cross-entropy on answer tokens")
    bce: float = Field(2.0, ge=0, description="binary cross-entropy on mask pixels")
    dice: float = Field(0.5, ge=0, description="Dice on masks")
    space: Literal["low_res", "model"] = Field("model", description="where masks are compared")
