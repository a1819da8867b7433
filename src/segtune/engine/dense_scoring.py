"""Scoring a loaded dense model on prepared data, and where its scores are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segtune.core.files import write_json
from segtune.core.rundir import RunDir
from segtune.data.dense.loader import DenseScoringLoader
from segtune.data.dense.prepare import PreparedDense, require_classes
from segtune.engine.dense_config import DenseEvalConfig
from segtune.engine.dense_evaluator import evaluate_dense, write_dense_evaluation, write_dense_pictures
from segtune.engine.dense_loading import DenseLoaded
from segtune.engine.processes import is_first
from segtune.engine.progress import scoring_progress
from segtune.engine.scoring import folder_of_scores


def score_dense(
    loaded: DenseLoaded,
    prepared: PreparedDense,
    out: Path,
    config: DenseEvalConfig,
    *,
    training: PreparedDense | None = None,
    deviations: Sequence[str] = (),
    num_workers: int = 0,
    undefined: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Scores a loaded dense model and writes `eval_*.json`, `predictions/*.jsonl` and pictures.

    Several processes share the images, and the first one writes.

    Args:
        loaded: The model, on its device.
        prepared: The data.
        out: The folder to write into, as `engine.scoring.folder_of_scores` says.
        config: Views, windows, images per batch, number of pictures.
        training: The training data, whose most frequent class is a baseline; None leaves that one out.
        deviations: Departures from the protocol that the scores tell.
        num_workers: Processes that prepare batches.
        undefined: What else has no value, by name, and why: a baseline whose training data are missing.

    Returns:
        The scores document.

    Raises:
        DataError: The data have other classes than the model.
        ConfigError: A mirror image would answer for the wrong class.
    """
    require_classes(prepared.source.classes, loaded.model.classes, str(prepared.spec))
    config.tta.order(loaded.model.classes, loaded.model.binary_classes, loaded.model.sided_classes)  # may refuse
    name, split = prepared.spec.name, prepared.spec.split or "all"
    mode = mode_of(config)
    loader = DenseScoringLoader(
        prepared.source, loaded.transform, batch_size=config.batch_size, num_workers=num_workers
    )
    evaluation = evaluate_dense(
        loaded.model, loader, loaded.transform, config, loaded.model.classes, loaded.foreground,
        progress=scoring_progress(f"scoring {name} {split}, {mode}"),
    )  # fmt: skip
    frequent = None if training is None else int(np.argmax(training.counts.pixels))
    document = evaluation.scorer.result(
        data=name, split=split, mode=mode, frequent_class=frequent, skipped=len(prepared.bad), deviations=deviations
    )
    document["undefined"] |= undefined or {}
    # what `mode` only hints at, and without which nobody could repeat it
    document["inference"] = config.model_dump(mode="json", include={"tta", "window", "overlap"})
    document["data_sha256"] = prepared.digests.sha256
    if is_first():
        place = RunDir(folder_of_scores(out, name, split, [mode], prepared.digests.sha256))
        write_json(place.scores(name, split, mode), document)
        answers = place.predictions(name, split, mode)
        write_dense_evaluation(evaluation, answers)
        write_dense_pictures(
            answers.with_suffix(""), config.overlays, evaluation, prepared.source, background=prepared.background
        )
    return document


def mode_of(config: DenseEvalConfig) -> str:
    """How the predictions come about, as the names of scores files say it: `dense`, `dense-tta`, `dense-windows`."""
    views = "-tta" if len(config.tta.mirrors) > 1 or config.tta.scales != (1.0,) else ""
    return f"dense{views}{'-windows' if config.window is not None else ''}"
