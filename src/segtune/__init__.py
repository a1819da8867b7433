"""segtune: fine-tune, score and run segmentation models, for questions about images and for classes of pixels.

The names of the Python interface are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["DensePredictor", "Predictor", "__version__", "evaluate", "train"]

if TYPE_CHECKING:
    from segtune.experiment import DensePredictor, Predictor, evaluate, train


def __getattr__(name: str) -> Any:
    if name in __all__:
        from segtune import experiment

        return getattr(experiment, name)
    raise AttributeError(f"module 'segtune' has no attribute {name!r}")
