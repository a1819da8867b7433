"""How dense models are scored; free of torch."""

from __future__ import annotations

from pydantic import Field

from segtune.core.config import Config


class DenseEvalConfig(Config):
    """Scoring."""

    batch_size: int = Field(8, ge=1, description="images per batch")
    overlays: int = Field(12, ge=0, description="pictures written per evaluation: best, median and worst images")
    final: bool = Field(True, description="score the best checkpoint at the end of training")
    before: bool = Field(False, description="score the model before training too")
