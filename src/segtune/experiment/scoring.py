"""Scoring a model by its name on a dataset by its name: what `segtune evaluate` and `segtune.evaluate` do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segtune.config import DenseExperimentConfig, validate_run
from segtune.core import rundir as names
from segtune.core.errors import ConfigError, SegtuneError
from segtune.core.log import get_logger
from segtune.core.pointers import resolve
from segtune.core.records import Source
from segtune.core.yaml_files import load_mapping
from segtune.data.config import DataConfig
from segtune.data.dense.config import DenseDataConfig
from segtune.data.dense.prepare import PreparedDense, prepare_dense
from segtune.data.prepare import prepare
from segtune.data.spec import DataSpec, is_absent
from segtune.engine import processes
from segtune.engine.checkpoint_files import MANIFEST
from segtune.engine.checkpoint_names import find_checkpoint
from segtune.engine.config import EvalConfig
from segtune.engine.dense_config import DenseEvalConfig
from segtune.engine.dense_loading import is_dense, load_dense_model
from segtune.engine.dense_scoring import score_dense
from segtune.engine.evaluator import score_baselines
from segtune.engine.inference import MODES, Mode
from segtune.engine.loading import load, usual_device
from segtune.engine.processes import from_first, is_first
from segtune.engine.scoring import place_of_scores, require_present, score

_log = get_logger(__name__)


def evaluate(
    model: str,
    data: str,
    *,
    modes: Sequence[Mode] = MODES,
    out: Path | None = None,
    first_query_only: bool = False,
    batch_size: int = 4,
    limit: int | None = None,
    overlays: int = 0,
    inference: DenseEvalConfig | None = None,
) -> list[dict[str, Any]]:
    """Scores a model on a dataset by the protocol.

    Args:
        model: A run, a checkpoint, a base.
        data: `KIND:DIR@SPLIT`.
        modes: `generate`, `forced` or both; a dense model has none.
        out: Where scores, predictions and pictures go; by default the run directory, for a part of the data or
            another checkpoint than the best a folder in it, and the current directory where there is no run.
        first_query_only: Score one query per record, as some papers do.
        batch_size: Images per batch.
        limit: Only so many images.
        overlays: So many pictures.
        inference: Views and windows, of dense models alone.

    Returns:
        One scores document per mode; of a dense model one.

    Raises:
        SegtuneError: The model or the data cannot be used.
    """
    processes.join()
    # a wrong name is told before the images are read, and a wrong dataset before the model is
    checkpoint = find_checkpoint(model)
    require_present(data)
    if is_dense(checkpoint):
        _refuse_questions(modes, first_query_only, model)
        inference = (inference or DenseEvalConfig()).model_copy(update={"batch_size": batch_size, "overlays": overlays})
        return [_evaluate_dense(model, data, inference, out, limit)]
    _refuse_views(inference, model)
    prepared = from_first(lambda: prepare(data, DataConfig(train=data), limit=limit, first_query_only=first_query_only))
    loaded = load(model)
    loaded.model.to(usual_device())
    out = out or place_of_scores(model, limit, first_query_only)
    settings = EvalConfig(batch_size=batch_size, overlays=overlays, max_new_tokens=loaded.max_new_tokens)
    documents = score(
        loaded, prepared, out, settings, list(modes),
        baselines=score_baselines(prepared.source, _training_source(model)) if is_first() else {},
        first_query_only=first_query_only, deviations=() if limit is None else (f"first_{limit}_images",),
    )  # fmt: skip
    _log.info("scores and predictions are in %s", out)
    return documents


def _evaluate_dense(
    model: str, data: str, config: DenseEvalConfig, out: Path | None, limit: int | None
) -> dict[str, Any]:
    """Scores a dense model by `segtune-dense-1`."""
    own = _dense_data(model)
    settings = own or DenseDataConfig(train=data)
    prepared = from_first(lambda: prepare_dense(data, settings.model_copy(update={"root": None}), max_images=limit))
    loaded = load_dense_model(model)
    loaded.model.to(usual_device())
    out = out or place_of_scores(model, limit, first_query_only=False)
    cut = () if limit is None else (f"first_{limit}_images",)
    training = None if own is None else _training_data(own)
    document = score_dense(loaded, prepared, out, config, training=training, deviations=cut)
    _log.info("scores and predictions are in %s", out)
    return document


def _refuse_questions(modes: Sequence[Mode], first_query_only: bool, model: str) -> None:
    """What a dense model does not do is told as well: it answers no questions."""
    if first_query_only or set(modes) != set(MODES):
        raise ConfigError(
            "a dense model answers no questions, so it has no modes and no first query", where=model,
            expected="a model that answers questions", fix="leave --mode and --first-query-only away",
        )  # fmt: skip


def _refuse_views(inference: DenseEvalConfig | None, model: str) -> None:
    """What a model does not do is told, not left out in silence."""
    usual = DenseEvalConfig()
    if inference is not None and (inference.tta != usual.tta or inference.window is not None):
        raise ConfigError(
            "a model that answers questions has no views and no windows", where=model, expected="a dense model",
            fix="leave --flip, --scales and --window away",
        )  # fmt: skip


def _dense_data(model: str) -> DenseDataConfig | None:
    """The data settings of a run, which say what its classes are made of; None where the model is of no run."""
    place = Path(model.partition("@")[0])
    if not (place / names.CONFIG).is_file() and ((inside := resolve(place)) / MANIFEST).is_file():
        place = inside.resolve().parent.parent  # a checkpoint that lies in its run
    place /= names.CONFIG
    if not place.is_file():
        return None
    config = validate_run(load_mapping(place), where=str(place))
    return config.data if isinstance(config, DenseExperimentConfig) else None


def _training_data(settings: DenseDataConfig) -> PreparedDense | None:
    """The training data of a run, whose most frequent class is a baseline; None where they are not there."""
    try:
        directory = DataSpec.parse(settings.train, root=settings.root).directory
        if directory is None or is_absent(directory):
            return None
        return prepare_dense(settings.train, settings, max_images=settings.max_train_images)
    except SegtuneError as error:
        _log.warning("no baseline from the training data: they cannot be read (%s)", error.message)
        return None


def _training_source(model: str) -> Source | None:
    """The training data of a run, whose mean masks are a baseline; None where they are no fixed set or not there."""
    place = Path(model.partition("@")[0]) / names.CONFIG
    if not place.is_file():
        return None
    try:
        config = validate_run(load_mapping(place), where=str(place)).data
        assert isinstance(config, DataConfig), "a dense run is scored by other means"
        directory = DataSpec.parse(config.train, root=config.root).directory
        if directory is None or is_absent(directory):
            return None
        return prepare(config.train, config, max_samples=config.max_train_samples).source
    except SegtuneError as error:
        _log.warning("no baselines from mean masks: the run's training data cannot be read (%s)", error.message)
        return None
