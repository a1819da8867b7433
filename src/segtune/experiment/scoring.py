"""Scoring a model by its name on a dataset by its name: what `segtune evaluate` and `segtune.evaluate` do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segtune.config import DenseExperimentConfig
from segtune.core.errors import ConfigError
from segtune.core.log import get_logger
from segtune.data.config import DataConfig, ImageConfig
from segtune.data.dense.config import DenseDataConfig
from segtune.data.dense.prepare import prepare_dense
from segtune.data.drawn import is_drawn
from segtune.data.lengths import require_fitting_texts
from segtune.data.prepare import Prepared, prepare
from segtune.data.spec import DataSpec
from segtune.engine import processes
from segtune.engine.base_notes import tell_what_it_knows
from segtune.engine.checkpoint_names import find_checkpoint
from segtune.engine.config import EvalConfig
from segtune.engine.dense_config import DenseEvalConfig
from segtune.engine.dense_loading import is_dense, load_dense_model
from segtune.engine.dense_scoring import score_dense
from segtune.engine.evaluator import score_baselines
from segtune.engine.inference import MODES, Mode
from segtune.engine.loading import load, usual_device
from segtune.engine.processes import from_first, is_first
from segtune.engine.run_images import images_of, trained_on_told
from segtune.engine.scoring import place_of_scores, require_present, score
from segtune.experiment import own_data

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
    root: str | Path | None = None,
    max_pixels: int | None = None,
    grey_bits: int | None = None,
) -> list[dict[str, Any]]:
    """Scores a model on a dataset by the protocol.

    Args:
        model: A run, a checkpoint, a base.
        data: `KIND:DIR@SPLIT`.
        modes: `generate`, `forced` or both; a dense model has none.
        out: Where scores, predictions and pictures go; else see `place_of_scores`.
        first_query_only: Score one query per record, as some papers do.
        batch_size: Images per batch.
        limit: Only so many images.
        overlays: So many pictures.
        inference: Views and windows, of dense models alone.
        root: Links in the dataset may lead anywhere below this directory.
        max_pixels: The largest picture that is read, if not as in its run (see `images_of`).
        grey_bits: The bits of grey pictures of 16 bits, likewise.

    Returns:
        One scores document per mode; of a dense model one.

    Raises:
        SegtuneError: The model or the data cannot be used.
    """
    processes.join()  # then names are told before images are read, and wrong data before the model is
    checkpoint = find_checkpoint(model)
    require_present(data)
    image = images_of(model, max_pixels, grey_bits)
    if is_dense(checkpoint):
        _refuse_questions(modes, first_query_only, model)
        inference = (inference or DenseEvalConfig()).model_copy(update={"batch_size": batch_size, "overlays": overlays})
        return [_evaluate_dense(model, _named(data, root, image), inference, out, limit)]
    _refuse_views(inference, model)
    named = DataConfig.model_validate(_named(data, root, image))
    prepared = from_first(lambda: prepare(named.train, named, limit=limit, first_query_only=first_query_only))
    _tell((*prepared.warnings, *trained_on_told(model, data, prepared.pictures)))
    if not is_drawn(prepared.spec):
        tell_what_it_knows(model)
    sizes = EvalConfig(batch_size=batch_size, overlays=overlays)
    return _evaluate_reasoning(model, prepared, sizes, list(modes), out, limit, first_query_only=first_query_only)


def _evaluate_reasoning(
    model: str,
    prepared: Prepared,
    sizes: EvalConfig,
    modes: list[Mode],
    out: Path | None,
    limit: int | None,
    *,
    first_query_only: bool,
) -> list[dict[str, Any]]:
    """Scores a reasoning model by `segtune-1`."""
    loaded = load(model)
    require_fitting_texts(prepared.source, loaded.conversation)
    loaded.model.to(usual_device())
    out = out or place_of_scores(model, limit, first_query_only)
    own = from_first(lambda: own_data.reasoning_data(model))
    means = None if own.data is None else own.data.source
    documents = score(
        loaded,
        prepared,
        out,
        sizes.model_copy(update={"max_new_tokens": loaded.max_new_tokens}),
        modes,
        baselines=score_baselines(prepared.source, means) if is_first() else {},
        first_query_only=first_query_only,
        deviations=() if limit is None else (f"first_{limit}_images",),
        undefined=_missing(own.missing, "mean_mask", "mean_mask_same_words"),
    )
    _log.info("scores and predictions are in %s", out)
    return documents


def _named(data: str, root: str | Path | None, image: ImageConfig) -> dict[str, Any]:
    """The settings by which a dataset is opened; where there is a root, the path does not depend on it."""
    if root is None:
        return {"train": data, "root": None, "image": image}
    spec = DataSpec.parse(data)
    if spec.directory is not None:
        data = str(replace(spec, location=str(spec.directory.expanduser().absolute())))
    return {"train": data, "root": str(Path(root).expanduser().absolute()), "image": image}


def _tell(warnings: Sequence[str]) -> None:
    """Warns of what is usable but probably not meant; of several processes the first one does."""
    for warning in warnings if is_first() else ():
        _log.warning("%s", warning)


def _evaluate_dense(
    model: str, data: dict[str, Any], config: DenseEvalConfig, out: Path | None, limit: int | None
) -> dict[str, Any]:
    """Scores a dense model by `segtune-dense-1`."""
    run = own_data.config_of(model)
    trained = run.data if isinstance(run, DenseExperimentConfig) else None
    settings = DenseDataConfig(**data) if trained is None else trained.model_copy(update=data)
    prepared = from_first(lambda: prepare_dense(settings.train, settings, max_images=limit))
    _tell((*prepared.notes, *trained_on_told(model, data["train"], prepared.pictures)))
    loaded = load_dense_model(model)
    loaded.model.to(usual_device())
    out = out or place_of_scores(model, limit, first_query_only=False)
    cut = () if limit is None else (f"first_{limit}_images",)
    own = from_first(lambda: own_data.dense_data(model))
    missing = _missing(own.missing, "most_frequent_class")
    config = loaded.as_trained(config)
    document = score_dense(loaded, prepared, out, config, training=own.data, deviations=cut, undefined=missing)
    _log.info("scores and predictions are in %s", out)
    return document


def _missing(reason: str, *baselines: str) -> dict[str, str]:
    """Why baselines are missing, for the scores and the person who asked for them."""
    if reason:
        _log.warning("without the baselines %s: %s", " and ".join(baselines), reason)
    return {f"baselines.{name}": reason for name in baselines if reason}


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
    if inference is not None and (
        inference.tta.model_fields_set & {"mirror"} or inference.tta != usual.tta or inference.window is not None
    ):
        raise ConfigError(
            "a model that answers questions has no views and no windows", where=model, expected="a dense model",
            fix="leave --flip, --mirror, --scales and --window away",
        )  # fmt: skip
