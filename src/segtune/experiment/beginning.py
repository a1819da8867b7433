"""What a run of either kind begins with: shared, so that a rehearsal refuses what the training does."""

from __future__ import annotations

from typing import Any

from segtune.config import AnyConfig, DenseExperimentConfig
from segtune.data.drawn import require_drawn_as_asked
from segtune.experiment import dense, reasoning


def kind_of(config: AnyConfig) -> Any:
    """The module that composes runs of this kind."""
    return dense if isinstance(config, DenseExperimentConfig) else reasoning


def require_drawn(config: AnyConfig) -> None:
    """Drawn data that a run begins with are those that its configuration records.

    Raises:
        DataError: They were drawn with another size, seed or version, or were not drawn at all.
    """
    data = config.data
    require_drawn_as_asked({"data.train": data.train, "data.val": data.val}, data.root, data.synth)
