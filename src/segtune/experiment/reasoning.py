"""What a run of reasoning segmentation is made of: questions and masks, a VLM with a mask decoder, two modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from segtune.config import ExperimentConfig
from segtune.core.rng import derive
from segtune.core.rundir import RunDir
from segtune.data.conversation import Conversation
from segtune.data.lengths import require_fitting_texts
from segtune.data.loader import Draw, ScoringLoader, TrainingLoader
from segtune.data.prepare import Prepared, prepare_splits
from segtune.data.unchanged import write_facts
from segtune.engine.checkpoint import Checkpoint
from segtune.engine.evaluator import score_baselines
from segtune.engine.inference import MODES
from segtune.engine.loading import Loaded, build, export_base, settle_base
from segtune.engine.machine import accelerator_for, require_float32
from segtune.engine.processes import from_first, is_first
from segtune.engine.recompute import recompute_layers
from segtune.engine.scoring import score
from segtune.engine.stages import Stage
from segtune.engine.task import ReasoningTask
from segtune.engine.trained import trained_names
from segtune.experiment.session import Session, findings, say
from segtune.models.config import TrainSettings
from segtune.models.trainable import apply_trainable, require_trainable_as_declared

Data = tuple[Prepared, Prepared | None]
"""Training data and, where there are any, validation data."""


def read_data(config: ExperimentConfig) -> Data:
    """The data of a run, known to be readable; raises as `data.prepare.prepare` does."""
    return from_first(lambda: prepare_splits(config.data, config.run.seed))


def require_fit(config: ExperimentConfig, data: Data, conversation: Conversation) -> None:
    """Refuses texts that do not fit the context of the model.

    Args:
        config: What to do.
        data: From `read_data`.
        conversation: Of the model; only its tokenizer has to be there.

    Raises:
        DataError: The files of such texts are listed.
    """
    training, validation = data
    require_fitting_texts(training.source, conversation, explain=config.data.explain > 0)
    if validation is not None:
        require_fitting_texts(validation.source, conversation)


def settle(config: ExperimentConfig, run: RunDir) -> ExperimentConfig:
    """What the recipe leaves open about where it starts, settled; raises `CheckpointError` where there is no base."""
    model = settle_base(config.model, config.conversation, config.run.seed, run.path)
    return config.model_copy(update={"model": model})


def open_session(config: ExperimentConfig, run: RunDir, data: Data, resumed: Checkpoint | None = None) -> Session:
    """Builds model and loaders, and says what the data are.

    Args:
        config: What to do.
        run: The run directory.
        data: From `read_data`.
        resumed: The checkpoint from which the run goes on, and whose weights will be put in next.

    Raises:
        CheckpointError: Weights are missing or do not fit.
        ConfigError: Settings that the model cannot have.
    """
    training, validation = data
    # Fresh projections and adapters are drawn from the global generator.
    torch.manual_seed(derive(config.run.seed, "model"))
    loaded = build(config.model, config.conversation, run.path, to_train=True)
    loaded.max_new_tokens = config.eval.max_new_tokens
    loaded.score_in(config.train.precision)
    require_fit(config, data, loaded.conversation)
    trained = trained_names(loaded.model)
    accelerator = accelerator_for(config.train.precision)
    loaded.model.to(accelerator.device)
    recompute_layers(loaded.model, config.train.gradient_checkpointing)
    require_float32(loaded.model, config.train.precision)
    write_facts(run, training, validation)
    pad_id = loaded.conversation.tokenizer.pad_token_id
    batches = TrainingLoader(
        training.source, loaded.transform, _draw(config, loaded), batch_size=config.train.batch_size, pad_id=pad_id,
        num_workers=config.data.num_workers,
    )  # fmt: skip
    scored = None if validation is None else ScoringLoader(
        validation.source, loaded.transform, batch_size=config.eval.batch_size, pad_id=pad_id,
        num_workers=config.data.num_workers,
    )  # fmt: skip
    task = ReasoningTask(loaded.model, loaded.conversation, config.losses, config.train, config.eval)
    return Session(
        config, run, loaded.model, loaded.about(), loaded.fingerprint, trained, accelerator, task, batches, scored,
        describe=lambda: _describe(config, training, validation),
        enter_stage=lambda stage: _enter_stage(loaded, stage),
        score=lambda out, overlays: _score(config, loaded, training, validation, out, overlays),
        export=lambda directory: export_base(loaded, directory),
    )  # fmt: skip


def _draw(config: ExperimentConfig, loaded: Loaded) -> Draw:
    data = config.data
    return Draw(
        config.run.seed, loaded.conversation.wording, data.queries_per_image, data.augment, data.explain,
        data.text_only_epochs,
    )  # fmt: skip


def _describe(config: ExperimentConfig, training: Prepared, validation: Prepared | None) -> None:
    """Says what the data are, and what of them is left out."""
    for part in (training, validation):
        if part is not None:
            what = part.to_dict()
            say(f"{what['data']}: {what['images']} images, {what['queries']} queries")
            for line in findings(part):
                say(line)
    if validation is None:
        best = config.train.best
        which = "the newest checkpoint counts as the best" if best.startswith("val_") else f"the best is that by {best}"
        say(f"no validation data: nothing will be scored, and {which}")


def _enter_stage(loaded: Loaded, stage: Stage) -> None:
    """What trains in a stage, declared and then asserted: the components of the run, but for those that rest in it."""
    settings = TrainSettings.model_validate({**loaded.config.train.model_dump(), **stage.train})
    apply_trainable(loaded.model, settings)
    require_trainable_as_declared(loaded.model, settings)


def _score(
    config: ExperimentConfig,
    loaded: Loaded,
    training: Prepared,
    validation: Prepared | None,
    out: Path,
    overlays: int,
) -> None:
    """Scores the model as it stands on the validation data, in both modes, beside the trivial baselines."""
    assert validation is not None
    means = training.source if training.spec.directory is not None else None  # of a fixed set, mean masks are one
    baselines: dict[str, Any] = score_baselines(validation.source, means) if is_first() else {}
    settings = config.eval.model_copy(update={"overlays": overlays})
    say(f"scoring {len(validation.source)} images")
    most = config.data.max_val_samples
    cut = () if most is None else (f"first_{most}_samples",)
    score(
        loaded, validation, out, settings, list(MODES), baselines=baselines, deviations=cut,
        num_workers=config.data.num_workers,
    )  # fmt: skip
