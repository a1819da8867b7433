"""The composition root: from a configuration to a trained, scored and described run.

`run` is the course of every run, `scoring` that of an evaluation; what is built for each kind of segmentation stands in
`reasoning` and `dense`. Parts meet here and nowhere else, and nothing here computes: that is the engine's. The names
below are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "DensePrediction",
    "DensePredictor",
    "Prediction",
    "Predictor",
    "evaluate",
    "rehearse",
    "resume",
    "resume_or_train",
    "score",
    "train",
]

if TYPE_CHECKING:
    from segtune.engine.dense_predictor import DensePrediction, DensePredictor
    from segtune.engine.predictor import Prediction, Predictor
    from segtune.engine.scoring import score
    from segtune.experiment.rehearsal import rehearse
    from segtune.experiment.run import resume, resume_or_train, train
    from segtune.experiment.scoring import evaluate


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'segtune.experiment' has no attribute {name!r}")
    from segtune.engine import dense_predictor, predictor, scoring
    from segtune.experiment import rehearsal, run
    from segtune.experiment import scoring as evaluation
    from segtune.models.quiet import hide_loading_bars

    hide_loading_bars()  # here, because the command line and the Python interface both come through this package
    return {
        "Prediction": predictor.Prediction, "Predictor": predictor.Predictor, "score": scoring.score,
        "DensePrediction": dense_predictor.DensePrediction, "DensePredictor": dense_predictor.DensePredictor,
        "train": run.train, "resume": run.resume, "resume_or_train": run.resume_or_train,
        "rehearse": rehearsal.rehearse, "evaluate": evaluation.evaluate,
    }[name]  # fmt: skip
