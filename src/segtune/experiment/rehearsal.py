"""What `segtune train --dry-run` finds out: all that a training refuses before it builds its model."""

from __future__ import annotations

import shutil
from pathlib import Path

from accelerate import PartialState

from segtune.config import AnyConfig, DenseExperimentConfig, ExperimentConfig
from segtune.core.errors import CheckpointError, WrongKindOfModel
from segtune.core.log import get_logger
from segtune.core.rundir import RunDir, default_name
from segtune.data.dense.prepare import prepare_dense_splits
from segtune.data.prepare import named_dataset, prepare_splits
from segtune.data.spec import is_absent
from segtune.engine.checkpoint_names import find_checkpoint
from segtune.engine.dense_loading import is_dense
from segtune.engine.loading import FROM_NOTHING, settle_base
from segtune.engine.machine import prepare_machine
from segtune.models.dense.config import EMBEDDED
from segtune.models.dense.encoder import require_encoder
from segtune.models.hub import is_hub_name, look_up
from segtune.models.quantize import require_bitsandbytes

_log = get_logger(__name__)

_MOST_READ = 2_000
"""Images, or pairs of an image and a query, of a split that are decoded: a share of bad ones is seen among so many."""


def rehearse(config: AnyConfig) -> list[str]:
    """Makes the checks of a training in its order, up to the model, and leaves nothing behind.

    Args:
        config: What would be done.

    Returns:
        What cannot be known from here, one sentence each.

    Raises:
        SegtuneError: What the training would raise: machine, packages, data, name of the run, or what it starts from.
    """
    prepare_machine(config.train, config.optim, PartialState().device)
    _require_data(config)
    _require_place(config)
    if isinstance(config, DenseExperimentConfig):
        return _unknown_of_dense(config)
    return _unknown_of_reasoning(config)


def _require_data(config: AnyConfig) -> None:
    """Reads the data as a training does, of a large split the first part. What would be drawn is not drawn."""
    for name in filter(None, (config.data.train, config.data.val)):
        spec = named_dataset(name, config.data.root)
        if spec.kind == "synth" and is_absent(spec.location):
            _log.info("data: %s would be drawn", spec)
            return
    if isinstance(config, DenseExperimentConfig):
        keys = ("max_train_images", "max_val_images")
        parts: tuple = prepare_dense_splits(config.data.model_copy(update=_bounded(config, *keys)), config.run.seed)
    else:
        keys = ("max_train_samples", "max_val_samples")
        parts = prepare_splits(config.data.model_copy(update=_bounded(config, *keys)), config.run.seed)
    for part in filter(None, parts):
        _log.info("data: %s, %d images can be read, %d items are bad", part.spec, len(part.source), len(part.bad))


def _bounded(config: AnyConfig, *keys: str) -> dict[str, int]:
    """The limits of both splits, neither above what is read here."""
    return {key: min(getattr(config.data, key) or _MOST_READ, _MOST_READ) for key in keys}


def _require_place(config: AnyConfig) -> None:
    """Makes the run directory as a training does, and removes it, and the folders above that were not there."""
    root = Path(config.run.root)
    new = [folder for folder in (root, *root.parents) if not folder.exists()]
    run = RunDir.create(root, config.run.name or default_name(config.recipe, root))
    run.release()
    shutil.rmtree(run.path, ignore_errors=True)
    for folder in new:
        folder.rmdir()


def _unknown_of_reasoning(config: ExperimentConfig) -> list[str]:
    """What is not known of the parts of a reasoning model; raises where one of them is not there."""
    model = config.model
    if model.base is not None and model.base != FROM_NOTHING:
        settle_base(model, config.conversation, config.run.seed, Path())
        if is_dense(find_checkpoint(model.base)):
            raise WrongKindOfModel("this model tells classes apart; it answers no questions", where="model.base")
    require_bitsandbytes(model.quantize)
    return _looked_up(model.vlm, model.vision, model.language, model.mask_model)


def _unknown_of_dense(config: DenseExperimentConfig) -> list[str]:
    """What is not known of the encoder of a dense model; raises where it is not there or does not fit."""
    model = config.model
    unknown = [] if model.encoder in EMBEDDED or not is_hub_name(model.encoder) else _looked_up(model.encoder)
    if not unknown:
        require_encoder(model)
    if model.start is not None and not is_dense(find_checkpoint(model.start)):
        raise CheckpointError("this model answers questions; it does not tell classes apart", where="model.start")
    return unknown


def _looked_up(*names: str | None) -> list[str]:
    """What is not known of these models; raises where one is a path without a model, or the hub has none such."""
    for name in filter(None, names):
        if not is_hub_name(name) and not (Path(name) / "config.json").is_file():
            raise CheckpointError(
                "this checkpoint cannot be loaded",
                where=name,
                expected="a directory with config.json and model.safetensors, or a hub id",
                found="no config.json in it" if Path(name).is_dir() else "no such directory",
            )
    return [note for name in filter(None, names) if (note := look_up(name))]
