"""What `segtune train --dry-run` finds out: all that a training refuses before it builds its model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from accelerate import PartialState

from segtune.config import AnyConfig, DenseExperimentConfig, ExperimentConfig
from segtune.core.errors import CheckpointError, WrongKindOfModel
from segtune.core.log import get_logger
from segtune.core.rundir import RunDir, default_name
from segtune.data.dense.prepare import PreparedDense
from segtune.data.prepare import Prepared, named_dataset
from segtune.data.spec import is_absent
from segtune.engine.checkpoint_names import find_checkpoint
from segtune.engine.dense_loading import find_start, is_dense
from segtune.engine.loading import FROM_NOTHING, settle_base
from segtune.engine.machine import prepare_machine
from segtune.engine.words import read_conversation
from segtune.experiment import dense, reasoning
from segtune.experiment.beginning import kind_of, require_drawn
from segtune.experiment.session import findings
from segtune.models.dense.config import EMBEDDED
from segtune.models.dense.encoder import require_encoder
from segtune.models.hub import is_hub_name, look_up
from segtune.models.pretrained import without_hub
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
        SegtuneError: What the training would raise: machine, packages, data, name of the run, what it starts from, or
            settings that do not go with the data.
    """
    prepare_machine(config.train, config.optim, PartialState().device)
    data = _read_data(config)
    _require_place(config)
    if isinstance(config, DenseExperimentConfig):
        return _unknown_of_dense(config, data)
    return _unknown_of_reasoning(config, data)


def _read_data(config: AnyConfig) -> Any:
    """The data as a training reads them, of a large split the first part; None where they would be drawn."""
    require_drawn(config)
    for name in filter(None, (config.data.train, config.data.val)):
        spec = named_dataset(name, config.data.root)
        if spec.kind == "synth" and is_absent(spec.location):
            _log.info("data: %s would be drawn", spec)
            return None
    keys = ("max_train_images", "max_val_images") if _is_dense(config) else ("max_train_samples", "max_val_samples")
    bounded = config.model_copy(update={"data": config.data.model_copy(update=_bounded(config, *keys))})
    data = kind_of(config).read_data(bounded)
    for part, key in zip(data, keys, strict=True):
        if part is None:
            continue
        cut = f", of the first {_MOST_READ:,} images alone" if _is_cut(part, getattr(config.data, key)) else ""
        _log.info(
            "data: %s, %d images can be read, %d items are bad%s", part.spec, len(part.source), len(part.bad), cut
        )
        for line in findings(part):
            _log.info("%s", line)
    return data


def _is_dense(config: AnyConfig) -> bool:
    return isinstance(config, DenseExperimentConfig)


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


def _unknown_of_reasoning(config: ExperimentConfig, data: reasoning.Data | None) -> list[str]:
    """What is not known of the parts of a reasoning model, and of texts for it; raises where one is not there."""
    model = config.model
    if model.base is not None and model.base != FROM_NOTHING:
        settle_base(model, config.conversation, config.run.seed, Path())
        if is_dense(find_checkpoint(model.base)):
            raise WrongKindOfModel("this model tells classes apart; it answers no questions", where="model.base")
    require_bitsandbytes(model.quantize)
    unknown = _looked_up(model.vlm, model.vision, model.language, model.mask_model)
    if data is not None and any(part.spec.directory is not None for part in filter(None, data)):
        unknown += _unknown_of_texts(config, data)
    return unknown


def _unknown_of_texts(config: ExperimentConfig, data: reasoning.Data) -> list[str]:
    """Whether the texts of the data fit is known where a tokenizer lies on this machine; raises where they do not."""
    model, question = config.model, "whether the texts fit the context of {}: its tokenizer {}"
    if model.base == FROM_NOTHING:
        return [question.format(FROM_NOTHING, "is made by the training")]
    remote = [name for name in (model.vlm, model.language) if name is not None and is_hub_name(name)]
    try:
        with without_hub():
            conversation = read_conversation(model, config.conversation)
    except CheckpointError:
        if not remote:
            raise
        return [question.format(remote[0], "is not on this machine")]
    reasoning.require_fit(config, data, conversation)
    return []


def _unknown_of_dense(config: DenseExperimentConfig, data: dense.Data | None) -> list[str]:
    """What is not known of a dense model; raises where its encoder is not there, or it does not go with the data."""
    model, unknown = config.model, []
    if data is not None:
        settings = config
        if (
            config.data.class_weights != "none"
            and data[0].counts.absent
            and _is_cut(data[0], config.data.max_train_images)
        ):
            absent = ", ".join(data[0].counts.absent)
            unknown.append(f"whether there is a pixel of {absent}: the first {_MOST_READ:,} images have none")
            none = config.data.model_copy(update={"class_weights": "none"})
            settings = config.model_copy(update={"data": none})
        dense.require_fit(settings, data)
    remote = [] if model.encoder in EMBEDDED or not is_hub_name(model.encoder) else _looked_up(model.encoder)
    if not remote:
        require_encoder(model)
    if model.start is not None:
        find_start(model.start, None if data is None else data[0].source.classes)
    return unknown + remote


def _is_cut(part: PreparedDense | Prepared, asked: int | None) -> bool:
    """Whether a training that asks for so many images may see classes that are not among those read here."""
    more = asked is None or asked > _MOST_READ
    return more and isinstance(part, PreparedDense) and len(part.source) + len(part.bad) >= _MOST_READ


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
