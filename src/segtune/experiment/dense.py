"""What a run of dense segmentation is made of: labelled images, an encoder with a decoder, classes or a binary mask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segtune.config import DenseExperimentConfig
from segtune.core.errors import ConfigError
from segtune.core.rng import derive
from segtune.core.rundir import RunDir
from segtune.data.dense.loader import DenseScoringLoader, DenseTrainingLoader
from segtune.data.dense.prepare import PreparedDense, prepare_dense_splits, training_weights
from segtune.data.dense.views import texts_of_classes
from segtune.data.unchanged import write_facts
from segtune.engine.checkpoint import Checkpoint
from segtune.engine.dense_loading import DenseLoaded, absolute_paths, build_loaded
from segtune.engine.dense_scoring import score_dense
from segtune.engine.dense_task import DenseTask
from segtune.engine.machine import accelerator_for, require_float32
from segtune.engine.processes import from_first
from segtune.engine.recompute import recompute_layers
from segtune.engine.stages import Stage, plan
from segtune.experiment.session import Session, findings, say
from segtune.losses.dense import DenseObjective
from segtune.models.dense.blocks import Blocks, require_frozen_as_declared, unfreeze
from segtune.models.dense.network import require_heads
from segtune.ops.sides import sided_classes

Data = tuple[PreparedDense, PreparedDense | None]
"""Training data and, where there are any, validation data."""


def read_data(config: DenseExperimentConfig) -> Data:
    """The data of a run, readable and counted; raises as `data.dense.prepare.prepare_dense_splits` does."""
    return from_first(lambda: prepare_dense_splits(config.data, config.run.seed))


def require_fit(config: DenseExperimentConfig, data: Data) -> None:
    """Refuses settings that do not go with the classes of the data; nothing of the model need be there.

    Args:
        config: What to do.
        data: From `read_data`.

    Raises:
        ConfigError: A head for a class that the data do not have, or a mirror image that would answer for another one.
        DataError: A class that should be weighted has no pixel.
    """
    source = data[0].source
    training_weights(data[0], config.data)
    require_heads(config.model, source.classes)
    config.eval.tta.order(source.classes, config.model.binary_classes, sided_classes(texts_of_classes(source)))


def settle(config: DenseExperimentConfig, run: RunDir) -> DenseExperimentConfig:
    """Paths of what it starts from, made absolute: a run can be used from any directory."""
    return config.model_copy(update={"model": absolute_paths(config.model)})


def open_session(config: DenseExperimentConfig, run: RunDir, data: Data, resumed: Checkpoint | None = None) -> Session:
    """Builds model and loaders, and says what the data are.

    Args:
        config: What to do.
        run: The run directory.
        data: From `read_data`.
        resumed: The checkpoint from which the run goes on, and whose weights will be put in next.

    Raises:
        CheckpointError: Weights are missing or do not fit.
        ConfigError: Heads, blocks or sizes that the data or the encoder cannot have.
        DataError: A class that should be weighted has no pixel.
    """
    training, validation = data
    require_fit(config, data)
    weights = training_weights(training, config.data)
    write_facts(run, training, validation)
    torch.manual_seed(derive(config.run.seed, "model"))  # what is new is drawn from the global generator
    loaded = _build(config, training.source.classes, None if resumed is None else resumed.about)
    loaded.model.sided_classes = sided_classes(texts_of_classes(training.source))
    accelerator = accelerator_for(config.train.precision)
    loaded.model.to(accelerator.device)
    recompute_layers(loaded.model, config.train.gradient_checkpointing)
    require_float32(loaded.model, config.train.precision)
    objective = DenseObjective(
        config.losses, multiclass=config.model.multiclass, foreground=loaded.foreground,
        class_weights=None if weights is None else torch.from_numpy(weights),
    )  # fmt: skip
    batches = DenseTrainingLoader(
        training.source, loaded.transform, seed=config.run.seed, batch_size=config.train.batch_size,
        augment=config.data.augment, balance=training.counts if config.data.balanced else None,
        num_workers=config.data.num_workers, cache_bytes=config.data.cache_bytes,
    )  # fmt: skip
    scored = None if validation is None else DenseScoringLoader(
        validation.source, loaded.transform, batch_size=config.eval.batch_size, num_workers=config.data.num_workers,
        cache_bytes=config.data.cache_bytes,
    )  # fmt: skip
    return Session(
        config, run, loaded.model, loaded.about(), loaded.fingerprint, loaded.trained, accelerator,
        DenseTask(loaded.model, objective, loaded.foreground), batches, scored,
        describe=partial(_describe, config, training, validation),
        enter_stage=partial(_enter_stage, config, loaded), score=partial(_score, config, loaded, training, validation),
        export=lambda directory: loaded.model.encoder.save(directory),
    )  # fmt: skip


def _build(config: DenseExperimentConfig, classes: tuple[str, ...], resumed: dict[str, Any] | None) -> DenseLoaded:
    """The model with the most of its encoder that trains in any stage: what checkpoints have to hold.

    Raises:
        ConfigError: Among others, a stage asks for more blocks than there are; it is told by its name.
    """
    stages = plan(config.train, config.optim)
    largest = max(stages, key=lambda stage: float("inf" if _blocks(config, stage) == "all" else _blocks(config, stage)))
    with _told_by_name(config, largest):
        return build_loaded(config.model, classes, _blocks(config, largest), resumed)


def _blocks(config: DenseExperimentConfig, stage: Stage) -> Blocks:
    """How much of the encoder trains in a stage."""
    return config.model.unfreeze if stage.unfreeze is None else stage.unfreeze


def _enter_stage(config: DenseExperimentConfig, loaded: DenseLoaded, stage: Stage) -> None:
    """What trains in a stage, declared and then asserted."""
    blocks = _blocks(config, stage)
    with _told_by_name(config, stage):
        unfreeze(loaded.model, blocks)
    loaded.model.train()
    require_frozen_as_declared(loaded.model, blocks)


@contextmanager
def _told_by_name(config: DenseExperimentConfig, stage: Stage) -> Iterator[None]:
    """A number of blocks that cannot be is told with the stage that asks for it, where there are stages."""
    try:
        yield
    except ConfigError as error:
        if not config.train.stages or not error.where.startswith("unfreeze="):
            raise
        where = f"train.stages, {stage.name}: {error.where}"
        raise ConfigError(error.message, where=where, expected=error.expected) from error


def _describe(config: DenseExperimentConfig, training: PreparedDense, validation: PreparedDense | None) -> None:
    """Says what the data are: images, pixels of each class, weights, and what is left out."""
    for part in (training, validation):
        if part is None:
            say("no validation data: nothing will be scored")
            continue
        say(f"{part.spec}: {len(part.source)} images")
        for line in findings(part):
            say(line)
    say(training.counts.table(training_weights(training, config.data)))


def _score(
    config: DenseExperimentConfig,
    loaded: DenseLoaded,
    training: PreparedDense,
    validation: PreparedDense | None,
    out: Path,
    overlays: int,
) -> None:
    """Scores the model as it stands on the validation data, beside the trivial baselines."""
    assert validation is not None
    settings = config.eval.model_copy(update={"overlays": overlays})
    say(f"scoring {len(validation.source)} images")
    most = config.data.max_val_images
    cut = () if most is None else (f"first_{most}_images",)
    score_dense(
        loaded, validation, out, settings, training=training, deviations=cut, num_workers=config.data.num_workers
    )
