"""The composition root: from a configuration to a trained, scored and described run.

Everything below is built here and nowhere else; read `train` from top to bottom to see how the parts meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from segtune.config import ExperimentConfig
from segtune.core import rundir as names
from segtune.core.config import dump_yaml, validate
from segtune.core.environment import describe
from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.files import write_json
from segtune.core.input_spec import ConversationConfig
from segtune.core.log import console
from segtune.core.rng import derive
from segtune.core.rundir import RunDir, default_name
from segtune.core.yaml_files import load_mapping
from segtune.data.config import DataConfig
from segtune.data.loader import Draw, ScoringLoader, TrainingLoader
from segtune.data.prepare import Prepared, prepare
from segtune.data.sources.synthetic.corpus import training_texts
from segtune.engine.checkpoint import clean_leftovers, load_training, load_weights, open_checkpoint
from segtune.engine.config import EvalConfig
from segtune.engine.evaluator import Pictures, evaluate_split, score_baselines, write_evaluation
from segtune.engine.inference import MODES, Mode
from segtune.engine.loading import RUN_BASE, Loaded, adopt_base, build, export_base, load
from segtune.engine.loop import History, Settings, Trainer, TrainerState
from segtune.engine.optim import build_optimizer, load_optimizer_state
from segtune.engine.predictor import Prediction, Predictor
from segtune.models.tiny.architecture import write_tiny_base
from segtune.models.trainable import render_table, table, table_dict
from segtune.reports.card import model_card
from segtune.reports.summary import BEFORE

__all__ = ["Prediction", "Predictor", "evaluate", "load_predictor", "resume", "train"]

FROM_NOTHING = "segtune/tiny-random"
"""The base that is not shipped but drawn: random tiny weights, written into the run."""


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
    _set_threads(config)
    training = prepare(config.data.train, config.data, limit=config.data.max_train_images, seed=config.run.seed)
    validation = _validation(config)
    with RunDir.create(config.run.root, config.run.name or default_name(config.recipe, config.run.root)) as run:
        config = _with_base(config, run)
        run.write_text(names.CONFIG, dump_yaml(config))
        run.write_json(names.ENVIRONMENT, describe())
        session = _open(config, run, training, validation)
        if config.eval.before and validation is not None:
            _score(session, run.path / BEFORE, 0)
        _fit(session, TrainerState(), History())
        _finish(session)
    return run


def resume(path: str | Path) -> RunDir:
    """Continues an interrupted run from its `last` checkpoint, as if it had not been interrupted.

    Args:
        path: The run directory.

    Raises:
        CheckpointError: It is no run, or its checkpoint is damaged.
    """
    with RunDir.open(path) as run:
        config = validate(ExperimentConfig, load_mapping(run.config), where=str(run.config))
        last = run.checkpoint("last")
        clean_leftovers(last.parent)  # a process killed between two renames had moved it aside
        checkpoint = open_checkpoint(last)
        optimizer_tensors, saved = load_training(checkpoint)
        state = TrainerState(**saved)
        if state.epoch >= config.train.epochs:
            console().print(f"{run.path} is complete: {state.epoch} of {config.train.epochs} epochs")
            return run
        _set_threads(config)
        training = prepare(config.data.train, config.data, limit=config.data.max_train_images, seed=config.run.seed)
        session = _open(config, run, training, _validation(config))
        load_weights(checkpoint, session.loaded.model, session.loaded.fingerprint)
        history = _history_until(run, state.epoch)
        run.write_jsonl(names.METRICS, [r for r in run.read_jsonl(names.METRICS) if r["step"] <= state.step])
        console().print(f"resuming {run.path} at epoch {state.epoch + 1}, step {state.step}")
        _fit(session, state, history, optimizer_tensors, str(checkpoint.path))
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
        out: Where scores, predictions and pictures go; the run directory where there is one, else the current one.
        first_query_only: Score one query per record, as some papers do.
        batch_size: Images per batch.
        limit: Only so many images.
        overlays: So many pictures.

    Returns:
        One scores document per mode.
    """
    loaded = load(model)
    prepared = prepare(data, DataConfig(train=data), limit=limit, first_query_only=first_query_only)
    run = Path(model.partition("@")[0])
    out = out or (run if (run / names.CONFIG).is_file() else Path())
    config = EvalConfig(batch_size=batch_size, overlays=overlays)
    return score(loaded, prepared, out, config, modes, first_query_only=first_query_only)


def load_predictor(model: str) -> Predictor:
    """A `Predictor` for a run, a checkpoint, a base or `segtune/tiny`."""
    loaded = load(model)
    return Predictor(loaded.model, loaded.conversation, loaded.transform)


def score(
    loaded: Loaded,
    prepared: Prepared,
    out: Path,
    config: EvalConfig,
    modes: list[Mode],
    *,
    baselines: dict[str, Any] | None = None,
    first_query_only: bool = False,
) -> list[dict[str, Any]]:
    """Scores a loaded model and writes `eval_*.json`, `predictions/*.jsonl` and pictures below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    place = RunDir(out)
    name, split = Path(prepared.spec.location).name, prepared.spec.split or "all"
    loader = ScoringLoader(
        prepared.source,
        loaded.transform,
        batch_size=config.batch_size,
        pad_id=loaded.conversation.tokenizer.pad_token_id,
    )
    if baselines is None:
        baselines = score_baselines(prepared.source, None)
    documents = []
    for mode in modes:
        pictures = Pictures(place.predictions(name, split, mode).with_suffix(""), config.overlays)
        evaluation = evaluate_split(
            loaded.model, loader, loaded.conversation, mode, max_new_tokens=config.max_new_tokens,
            first_query_only=first_query_only, observe=pictures.observe(prepared.source),
        )  # fmt: skip
        document = evaluation.scorer.result(
            data=name, split=split, mode=mode, skipped=prepared.skipped_queries, baselines=baselines
        )
        write_json(place.scores(name, split, mode), document)
        write_evaluation(evaluation, place.predictions(name, split, mode))
        documents.append(document)
    return documents


def _validation(config: ExperimentConfig) -> Prepared | None:
    if config.data.val is None:
        if config.train.best.startswith("val_") and config.train.best != "val_cIoU":
            raise ConfigError(
                "there is no validation data to compute this from", where="train.best", found=config.train.best
            )
        return None
    return prepare(config.data.val, config.data, limit=config.data.max_val_images, seed=config.run.seed)


def _set_threads(config: ExperimentConfig) -> None:
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)


def _with_base(config: ExperimentConfig, run: RunDir) -> ExperimentConfig:
    """Settles where the model starts: draws random tiny weights into the run, or fills in what the base knows."""
    if config.model.base == FROM_NOTHING:
        wording = config.conversation or ConversationConfig()
        texts = training_texts(config.run.seed, 20_000)
        write_tiny_base(run.path / "base", texts, config.run.seed, wording, config.model.seg_hidden or 128)
        model = config.model.model_copy(update={"base": RUN_BASE, "seg_hidden": config.model.seg_hidden or 128})
    else:
        model = adopt_base(config.model)
    return config.model_copy(update={"model": model})


def _open(config: ExperimentConfig, run: RunDir, training: Prepared, validation: Prepared | None) -> Session:
    """Builds the model, and writes down and shows what will happen before anything does."""
    # Fresh projections and adapters are drawn from the global generator.
    torch.manual_seed(derive(config.run.seed, "model"))
    loaded = build(config.model, config.conversation, run.path)
    accelerator = Accelerator(mixed_precision="no" if config.train.precision == "fp32" else config.train.precision)
    loaded.model.to(accelerator.device)
    rows = table(loaded.model)
    run.write_json(names.PARAMETERS, table_dict(rows))
    facts = {"train": training.to_dict(), "val": validation.to_dict() if validation else None}
    run.write_json(names.DATA, facts)
    out = console()
    out.print(render_table(rows), highlight=False)
    for part in (training, validation):
        if part is not None:
            what = part.to_dict()
            out.print(f"{what['data']}: {what['images']} images, {what['queries']} queries", highlight=False)
            for item in part.bad:
                out.print(f"  left out: {item}", highlight=False)
    return Session(config, run, loaded, training, validation, accelerator)


def _fit(
    session: Session,
    state: TrainerState,
    history: History,
    optimizer_tensors: dict[str, torch.Tensor] | None = None,
    where: str = "",
) -> None:
    config, loaded = session.config, session.loaded
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
            session.validation.source, loaded.transform, batch_size=config.eval.batch_size, pad_id=pad_id
        )
    optimizer = build_optimizer(loaded.model, config.optim)
    if optimizer_tensors is not None:
        load_optimizer_state(loaded.model, optimizer, optimizer_tensors, where)
    settings = Settings(config.train, config.optim, config.losses, config.eval, config.run.seed)
    about = {
        "model": config.model.model_dump(mode="json"), "base": config.model.base or config.model.vlm,
        "fingerprint": loaded.fingerprint, "conversation": loaded.conversation.wording.model_dump(mode="json"),
    }  # fmt: skip
    Trainer(
        loaded.model, optimizer, training, validation, loaded.conversation, session.run, settings,
        session.accelerator, about, state=state, history=history,
    ).fit()  # fmt: skip


def _finish(session: Session) -> None:
    """Scores the best checkpoint, writes the card, exports."""
    config, run = session.config, session.run
    checkpoint = open_checkpoint(run.checkpoint("best"))
    load_weights(checkpoint, session.loaded.model, session.loaded.fingerprint)
    if config.eval.final and session.validation is not None:
        _score(session, run.path, config.eval.overlays)
    run.write_text(names.CARD, model_card(run))
    if config.run.export:
        export_base(session.loaded, Path(config.run.export))
        (Path(config.run.export) / names.CARD).write_text(model_card(run), encoding="utf-8")
        console().print(f"exported to {config.run.export}")


def _score(session: Session, out: Path, overlays: int) -> None:
    """Scores the model as it stands on the validation data, in both modes, beside the trivial baselines."""
    assert session.validation is not None
    baselines = score_baselines(session.validation.source, _for_means(session))
    config = session.config.eval.model_copy(update={"overlays": overlays})
    console().print(f"scoring {len(session.validation.source)} images", highlight=False)
    score(session.loaded, session.validation, out, config, list(MODES), baselines=baselines)


def _for_means(session: Session) -> Any:
    """The training data, where it is a fixed set whose mean masks can be a baseline."""
    return session.training.source if session.training.spec.directory is not None else None


def _history_until(run: RunDir, epoch: int) -> History:
    """The history of the epochs that are complete."""
    if not (run.path / names.HISTORY).is_file():
        return History()
    try:
        saved = run.read_json(names.HISTORY)
        kept = {part: [row for row in saved[part] if row["epoch"] <= epoch] for part in ("train", "val")}
        return History(kept["train"], kept["val"], saved["benchmarks"])
    except (KeyError, TypeError) as error:
        raise CheckpointError("the run's history is damaged", where=str(run.path / names.HISTORY)) from error
