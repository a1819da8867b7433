"""The composition root: from a configuration to a trained, scored and described run.

Everything below is built here and nowhere else; read `train` from top to bottom to see how the parts meet.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState

from segtune.config import ExperimentConfig
from segtune.core import rundir as names
from segtune.core.config import dump_yaml, validate
from segtune.core.environment import describe
from segtune.core.errors import SegtuneError
from segtune.core.log import console, get_logger
from segtune.core.records import Source
from segtune.core.rng import derive
from segtune.core.rundir import RunDir, default_name
from segtune.core.yaml_files import load_mapping
from segtune.data.config import DataConfig
from segtune.data.loader import Draw, ScoringLoader, TrainingLoader
from segtune.data.prepare import Prepared, prepare, prepare_splits
from segtune.data.spec import DataSpec, is_absent
from segtune.data.unchanged import data_facts, require_unchanged
from segtune.engine import processes
from segtune.engine.checkpoint import (
    Checkpoint,
    clean_leftovers,
    load_averages,
    load_training,
    load_weights,
    open_checkpoint,
)
from segtune.engine.config import EvalConfig
from segtune.engine.ema import Ema
from segtune.engine.evaluator import score_baselines
from segtune.engine.inference import MODES, Mode
from segtune.engine.loading import Loaded, build, export_base, find_checkpoint, load, settle_base, usual_device
from segtune.engine.loop import Trainer
from segtune.engine.machine import (
    accelerator_for,
    prepare_allocator,
    prepare_machine,
    require_float32,
    require_one_model,
)
from segtune.engine.optim import build_optimizer, load_optimizer_state, rate_shares
from segtune.engine.predictor import Prediction, Predictor
from segtune.engine.processes import from_first, is_first
from segtune.engine.recompute import recompute_layers
from segtune.engine.scoring import place_of_scores, require_present, score
from segtune.engine.state import History, Settings, TrainerState
from segtune.engine.task import ReasoningTask
from segtune.models.quiet import hide_loading_bars
from segtune.models.trainable import render_table, table, table_dict
from segtune.reports.card import model_card
from segtune.reports.page import write_report
from segtune.reports.summary import BEFORE

__all__ = ["Prediction", "Predictor", "evaluate", "resume", "score", "train"]

_log = get_logger(__name__)

hide_loading_bars()  # here, because the command line and the Python interface both come through this module


@dataclass(slots=True)
class Session:
    """What training and its scoring share: the run, the model and the data."""

    config: ExperimentConfig
    run: RunDir
    loaded: Loaded
    training: Prepared
    validation: Prepared | None
    accelerator: Accelerator


def train(config: ExperimentConfig) -> RunDir:
    """Runs a recipe from beginning to end.

    Args:
        config: What to do.

    Returns:
        The run directory.

    Raises:
        SegtuneError: Anything a person can mend; nothing is trained where it can be known before.
    """
    prepare_allocator()  # before anything may touch a GPU
    processes.join()
    _prepare(config)
    training, validation = _data(config)
    name = config.run.name or default_name(config.recipe, config.run.root)
    with from_first(lambda: RunDir.create(config.run.root, name)) as run:
        try:
            model = settle_base(config.model, config.conversation, config.run.seed, run.path)
            config = config.model_copy(update={"model": model})
            run.write_text(names.CONFIG, dump_yaml(config))
            run.write_json(names.ENVIRONMENT, describe())
            session = _open(config, run, training, validation)
        except BaseException:
            if run.writes:
                shutil.rmtree(run.path, ignore_errors=True)  # nothing has been trained: the name stays free
            raise
        _from_the_start(session)
    return run


def resume(path: str | Path) -> RunDir:
    """Continues an interrupted run from its `last` checkpoint, as if it had not been interrupted.

    Args:
        path: The run directory.

    Raises:
        CheckpointError: It is no run, or its checkpoint is damaged.
        DataError: The data are no longer those that it was trained on.
    """
    prepare_allocator()
    processes.join()
    with from_first(lambda: RunDir.open(path).lock()) as run:
        config = validate(ExperimentConfig, load_mapping(run.config), where=str(run.config))
        last = run.checkpoint("last")
        from_first(lambda: clean_leftovers(last.parent))  # a process killed between two renames had moved it aside
        # with more than one epoch behind it somebody has removed `last`: that is refused below, not begun again
        if not last.exists() and len(History.until(run, config.train.epochs).train) <= 1:
            _say(f"resuming {run.path} from the beginning: it had been stopped before its first checkpoint")
            _prepare(config)
            run.write_jsonl(names.METRICS, [])
            _from_the_start(_open(config, run, *_data(config)))
            return run
        checkpoint = open_checkpoint(last)
        optimizer_tensors, saved = load_training(checkpoint)
        state = TrainerState.from_dict(saved)
        if state.is_over(config.train) and (run.path / names.CARD).is_file():
            _say(f"{run.path} is complete: {state.epoch} of {config.train.epochs} epochs; nothing is left to do")
            return run
        state.require_processes(processes.world())
        _prepare(config)
        data = _data(config)
        from_first(lambda: require_unchanged(run, *data))
        session = _open(config, run, *data)
        load_weights(checkpoint, session.loaded.model, session.loaded.fingerprint)
        history = History.until(run, state.epoch)
        run.write_jsonl(names.METRICS, [r for r in run.read_jsonl(names.METRICS) if r["step"] <= state.step])
        _say(f"resuming {run.path} after epoch {state.epoch} of {config.train.epochs}, step {state.step}")
        _fit(session, state, history, optimizer_tensors, checkpoint)
        _finish(session)
    return run


def evaluate(
    model: str,
    data: str,
    *,
    modes: list[Mode],
    out: Path | None = None,
    first_query_only: bool = False,
    batch_size: int = 4,
    limit: int | None = None,
    overlays: int = 0,
) -> list[dict[str, Any]]:
    """Scores a model on a dataset by the protocol.

    Args:
        model: A run, a checkpoint, a base.
        data: `KIND:DIR@SPLIT`.
        modes: `generate`, `forced` or both.
        out: Where scores, predictions and pictures go; by default the run directory, for a part of the data or
            another checkpoint than the best a folder in it, and the current directory where there is no run.
        first_query_only: Score one query per record, as some papers do.
        batch_size: Images per batch.
        limit: Only so many images.
        overlays: So many pictures.

    Returns:
        One scores document per mode.

    Raises:
        SegtuneError: The model or the data cannot be used.
    """
    processes.join()
    find_checkpoint(model)  # a wrong name is told before the images are read, and a wrong dataset before the model is
    require_present(data)
    prepared = from_first(lambda: prepare(data, DataConfig(train=data), limit=limit, first_query_only=first_query_only))
    loaded = load(model)
    loaded.model.to(usual_device())
    out = out or place_of_scores(model, limit, first_query_only)
    settings = EvalConfig(batch_size=batch_size, overlays=overlays, max_new_tokens=loaded.max_new_tokens)
    documents = score(
        loaded, prepared, out, settings, modes,
        baselines=score_baselines(prepared.source, _training_source(model)) if is_first() else {},
        first_query_only=first_query_only, deviations=() if limit is None else (f"first_{limit}_images",),
    )  # fmt: skip
    _log.info("scores and predictions are in %s", out)
    return documents


def _training_source(model: str) -> Source | None:
    """The training data of a run, whose mean masks are a baseline; None where they are no fixed set or not there."""
    place = Path(model.partition("@")[0]) / names.CONFIG
    if not place.is_file():
        return None
    try:
        config = validate(ExperimentConfig, load_mapping(place), where=str(place)).data
        directory = DataSpec.parse(config.train, root=config.root).directory
        if directory is None or is_absent(directory):
            return None
        return prepare(config.train, config, max_samples=config.max_train_samples).source
    except SegtuneError as error:
        _log.warning("no baselines from mean masks: the run's training data cannot be read (%s)", error.message)
        return None


def _data(config: ExperimentConfig) -> tuple[Prepared, Prepared | None]:
    return from_first(lambda: prepare_splits(config.data, config.run.seed))


def _say(text: str) -> None:
    if is_first():
        console().print(text, highlight=False)


@processes.together()
def _prepare(config: ExperimentConfig) -> None:
    """What concerns the machine alone, before anything is read."""
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    prepare_machine(config.train, config.optim, PartialState().device)


@processes.together()
def _open(config: ExperimentConfig, run: RunDir, training: Prepared, validation: Prepared | None) -> Session:
    """Builds the model, and writes down and shows what will happen before anything does."""
    # Fresh projections and adapters are drawn from the global generator.
    torch.manual_seed(derive(config.run.seed, "model"))
    loaded = build(config.model, config.conversation, run.path, to_train=True)
    loaded.max_new_tokens = config.eval.max_new_tokens
    accelerator = accelerator_for(config.train.precision)
    loaded.model.to(accelerator.device)
    rate_shares(loaded.model, config.optim)  # for its refusals
    recompute_layers(loaded.model, config.train.gradient_checkpointing)
    require_float32(loaded.model, config.train.precision)
    rows = table(loaded.model)
    run.write_json(names.PARAMETERS, table_dict(rows))
    run.write_json(names.DATA, data_facts(training, validation))
    _say(f"run directory: {run.path}")
    _say(render_table(rows))
    for part in (training, validation):
        if part is not None:
            what = part.to_dict()
            _say(f"{what['data']}: {what['images']} images, {what['queries']} queries")
            for item in part.bad:
                _say(f"  left out: {item}")
    if validation is None:
        best = config.train.best
        which = "the newest checkpoint counts as the best" if best.startswith("val_") else f"the best is that by {best}"
        _say(f"no validation data: nothing will be scored, and {which}")
    return Session(config, run, loaded, training, validation, accelerator)


def _from_the_start(session: Session) -> None:
    """Everything that a run does once it stands: scores before, training, scores after."""
    if session.config.eval.before and session.validation is not None:
        _score(session, session.run.path / BEFORE, 0)
    _fit(session, TrainerState(), History())
    _finish(session)


def _fit(
    session: Session,
    state: TrainerState,
    history: History,
    optimizer_tensors: dict[str, torch.Tensor] | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Trains from a state on; a checkpoint gives the optimiser's tensors and averaged weights back."""
    config, loaded = session.config, session.loaded
    require_one_model(processes.gather(loaded.fingerprint))
    pad_id = loaded.conversation.tokenizer.pad_token_id
    data = config.data
    wording = loaded.conversation.wording
    draw = Draw(config.run.seed, wording, data.queries_per_image, data.augment, data.explain, data.text_only_epochs)
    training = TrainingLoader(
        session.training.source, loaded.transform, draw, batch_size=config.train.batch_size, pad_id=pad_id,
        num_workers=config.data.num_workers,
    )  # fmt: skip
    validation = None
    if session.validation is not None:
        validation = ScoringLoader(
            session.validation.source, loaded.transform, batch_size=config.eval.batch_size, pad_id=pad_id,
            num_workers=config.data.num_workers,
        )  # fmt: skip
    optimizer = build_optimizer(loaded.model, config.optim)
    ema = Ema(loaded.model, config.train.ema) if config.train.ema else None
    if checkpoint is not None and optimizer_tensors is not None:
        load_optimizer_state(loaded.model, optimizer, optimizer_tensors, str(checkpoint.path))
        if ema is not None:
            ema.load(load_averages(checkpoint), str(checkpoint.path))
    settings = Settings(config.train, config.optim, config.eval, config.run.seed)
    task = ReasoningTask(loaded.model, loaded.conversation, config.losses, config.train, config.eval)
    prepared = session.accelerator.prepare_optimizer(optimizer, device_placement=False)  # fp16: with its scaler
    Trainer(
        loaded.model, prepared, training, validation, task, session.run, settings,
        session.accelerator, loaded.about(), state=state, history=history, ema=ema,
    ).fit()  # fmt: skip


def _finish(session: Session) -> None:
    """Scores the best checkpoint, writes figure, report and card, exports."""
    config, run = session.config, session.run
    processes.gather(None)  # until the first one has saved it
    checkpoint = open_checkpoint(run.checkpoint("best"))
    load_weights(checkpoint, session.loaded.model, session.loaded.fingerprint)
    if config.eval.final and session.validation is not None:
        _score(session, run.path, config.eval.overlays)
    if not is_first():
        return
    write_report(run.path)
    run.write_text(names.CARD, model_card(run))
    if config.run.export:
        export_base(session.loaded, Path(config.run.export))
        (Path(config.run.export) / names.CARD).write_text(model_card(run), encoding="utf-8")
        _say(f"exported to {config.run.export}")


def _score(session: Session, out: Path, overlays: int) -> None:
    """Scores the model as it stands on the validation data, in both modes, beside the trivial baselines."""
    assert session.validation is not None
    training = session.training  # where it is a fixed set, its mean masks are a baseline
    means = training.source if training.spec.directory is not None else None
    baselines = score_baselines(session.validation.source, means) if is_first() else {}
    config = session.config.eval.model_copy(update={"overlays": overlays})
    _say(f"scoring {len(session.validation.source)} images")
    most = session.config.data.max_val_samples
    cut = () if most is None else (f"first_{most}_samples",)
    score(
        session.loaded, session.validation, out, config, list(MODES), baselines=baselines, deviations=cut,
        num_workers=session.config.data.num_workers,
    )  # fmt: skip
