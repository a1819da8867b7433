"""The course of a run: data, model, scores before, the stages of training, scores after, report.

Read `train` from top to bottom to see how the parts meet; `resume` is the same with a checkpoint in between.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from segtune.config import AnyConfig, DenseExperimentConfig, validate_run
from segtune.core import rundir as names
from segtune.core.config import dump_yaml
from segtune.core.environment import describe
from segtune.core.errors import CheckpointError
from segtune.core.files import remove_temporaries
from segtune.core.rundir import RunDir, default_name
from segtune.core.yaml_files import load_mapping
from segtune.engine import processes
from segtune.engine.checkpoint import Checkpoint, load_averages, load_training, load_weights, open_checkpoint
from segtune.engine.checkpoint_files import OPTIMIZER, STATE
from segtune.engine.checkpoint_store import CheckpointStore, clean_leftovers, open_newest, resumable
from segtune.engine.ema import Ema
from segtune.engine.endings import interrupted
from segtune.engine.interrupts import Interrupts
from segtune.engine.loop import Trainer, windows_per_epoch
from segtune.engine.machine import prepare_allocator, prepare_machine, require_one_model
from segtune.engine.optim import build_optimizer, load_optimizer_state, rate_shares
from segtune.engine.processes import from_first, is_first
from segtune.engine.stages import Stage, plan
from segtune.engine.state import History, Settings, TrainerState
from segtune.engine.state_file import require_consistent, require_same_model, state_from
from segtune.experiment import dense, reasoning
from segtune.experiment.session import Session, say
from segtune.models.trainable import render_table, table, table_dict
from segtune.reports.card import model_card
from segtune.reports.page import write_report
from segtune.reports.summary import BEFORE


def train(config: AnyConfig) -> RunDir:
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
    kind = _kind(config)
    data = kind.read_data(config)
    name = config.run.name or default_name(config.recipe, config.run.root)
    with from_first(lambda: RunDir.create(config.run.root, name)) as run:
        try:
            config = kind.settle(config, run)
            run.write_text(names.CONFIG, dump_yaml(config))
            run.write_json(names.ENVIRONMENT, describe())
            session = _open(config, run, data)
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
        config = validate_run(load_mapping(run.config), where=str(run.config))
        from_first(lambda: _clean(run))
        # with more than one epoch behind it somebody has removed `last`: that is refused below, not begun again
        if not resumable(run.checkpoints) and len(History.until(run, config.train.epochs).train) <= 1:
            say(f"resuming {run.path} from the beginning: it had been stopped before its first checkpoint")
            _prepare(config)
            run.write_jsonl(names.METRICS, [])
            _from_the_start(_open(config, run, _kind(config).read_data(config)))
            return run
        checkpoint, passed_over = from_first(lambda: open_newest(run.checkpoints))
        optimizer_tensors, saved = load_training(checkpoint)
        state = state_from(saved, str(checkpoint.path / STATE))
        for damage in passed_over:
            say(f"warning: {damage}; going on from step {state.step} in {checkpoint.path}")
        if state.is_over(config.train) and (run.path / names.CARD).is_file():
            say(f"{run.path} is complete: {state.epoch} of {config.train.epochs} epochs; nothing is left to do")
            return run
        state.require_processes(processes.world())
        _prepare(config)
        kind = _kind(config)
        data = kind.read_data(config)
        from_first(lambda: kind.require_unchanged(run, data))
        session = _open(config, run, data, checkpoint)
        _require_own(session, state, checkpoint)
        load_weights(checkpoint, session.model, session.fingerprint, session.trained)
        from_first(lambda: CheckpointStore(run.checkpoints, config.train.save_total_limit).restore(checkpoint))
        history = History.until(run, state.epoch)
        run.write_jsonl(names.METRICS, _until(run, state.step))
        say(f"resuming {run.path} after epoch {state.epoch} of {config.train.epochs}, step {state.step}")
        with _interrupts() as interrupts:
            _fit(session, state, history, interrupts, optimizer_tensors, checkpoint)
            _finish(session, state, interrupts)
    return run


def _clean(run: RunDir) -> None:
    """Removes what a killed process has left half-written, and puts back what it had moved aside."""
    clean_leftovers(run.checkpoints)
    remove_temporaries(run.path)


def _until(run: RunDir, step: int) -> list[dict[str, Any]]:
    """The rows of the metrics up to a step; those after it are written again."""
    rows = run.read_jsonl(names.METRICS)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or type(row.get("step")) is not int:
            raise CheckpointError(
                "this row has no step", where=f"{run.path / names.METRICS}, line {number}", found=str(row)[:80],
                fix="remove the line",
            )  # fmt: skip
    return [row for row in rows if row["step"] <= step]


def _require_own(session: Session, state: TrainerState, checkpoint: Checkpoint) -> None:
    """Raises `CheckpointError` where a checkpoint says what cannot be of this run."""
    train = session.config.train
    windows = windows_per_epoch(session.training, train)
    require_same_model(checkpoint.about, session.about, str(checkpoint.path))
    require_consistent(
        state, train, plan(train, session.config.optim), windows, session.accelerator.scaler is not None,
        session.task, str(checkpoint.path / STATE),
    )  # fmt: skip


def _interrupts() -> Interrupts:
    """Signals, noted during the whole run."""
    return Interrupts(quiet=not is_first(), launched=processes.world() > 1)


def _kind(config: AnyConfig) -> Any:
    """The module that composes runs of this kind."""
    return dense if isinstance(config, DenseExperimentConfig) else reasoning


@processes.together()
def _prepare(config: AnyConfig) -> None:
    """What concerns the machine alone, before anything is read."""
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    prepare_machine(config.train, config.optim, PartialState().device)


@processes.together()
def _open(config: AnyConfig, run: RunDir, data: Any, resumed: Checkpoint | None = None) -> Session:
    """Builds the model, and writes down and shows what will happen before anything does."""
    session = _kind(config).open_session(config, run, data, resumed)
    stages = plan(config.train, config.optim)
    for stage in stages:  # for its refusals: a stage that cannot be is told before the first one begins
        session.enter_stage(stage)
        rate_shares(session.model, stage.optim, session.components)
    session.enter_stage(stages[0])
    rows = table(session.model)
    run.write_json(names.PARAMETERS, table_dict(rows))
    say(f"run directory: {run.path}")
    if len(stages) == 1:
        say(render_table(rows))
    session.describe()
    return session


def _from_the_start(session: Session) -> None:
    """Everything that a run does once it stands: scores before, training, scores after."""
    state = TrainerState()
    with _interrupts() as interrupts:
        if session.config.eval.before and session.validation is not None:
            with interrupts.at_once(partial(interrupted, session.run, state)):
                session.score(session.run.path / BEFORE, 0)
        _fit(session, state, History(), interrupts)
        _finish(session, state, interrupts)


def _fit(
    session: Session,
    state: TrainerState,
    history: History,
    interrupts: Interrupts,
    optimizer_tensors: dict[str, torch.Tensor] | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Trains from a state on, stage by stage; a checkpoint gives optimiser and averaged weights of its stage back."""
    require_one_model(processes.gather(session.fingerprint))
    config = session.config
    stages = plan(config.train, config.optim)
    begun = state.stage if state.stage_step else None  # the stage that the checkpoint is in the middle of
    while not state.is_over(config.train):
        stage = stages[state.stage]
        _enter(session, stage, len(stages))
        optimizer = build_optimizer(session.model, stage.optim, session.components)
        ema = Ema(session.model, config.train.ema) if config.train.ema else None
        if checkpoint is not None and optimizer_tensors is not None and stage.index == begun:
            where = str(checkpoint.path / OPTIMIZER)
            load_optimizer_state(session.model, optimizer, optimizer_tensors, where, steps=state.stage_step)
            if ema is not None:
                ema.load(load_averages(checkpoint), str(checkpoint.path))
        prepared = session.accelerator.prepare_optimizer(optimizer, device_placement=False)  # fp16: with its scaler
        settings = Settings(config.train, config.run.seed, session.trained)
        Trainer(
            session.model, prepared, session.training, session.validation, session.task, session.run, settings, stage,
            session.accelerator, session.about, state=state, history=history, ema=ema, interrupts=interrupts,
        ).fit()  # fmt: skip


def _enter(session: Session, stage: Stage, count: int) -> None:
    """Declares what trains in a stage; of several stages each is told with its table, which the run keeps."""
    session.enter_stage(stage)
    if count == 1:
        return
    rows = table(session.model)
    if is_first():
        session.run.write_json(f"parameters_stage_{stage.index + 1}.json", table_dict(rows))
    say(f"stage {stage.index + 1} of {count}, {stage.name}: {stage.epochs} epochs, rate {stage.optim.lr:g}")
    say(render_table(rows))


def _finish(session: Session, state: TrainerState, interrupts: Interrupts) -> None:
    """Scores the best checkpoint, writes figure, report and card, exports; a resume does all of it again."""
    with interrupts.at_once(partial(interrupted, session.run, state)):
        _complete(session)


def _complete(session: Session) -> None:
    config, run = session.config, session.run
    processes.gather(None)  # until the first one has saved it
    checkpoint = open_checkpoint(run.checkpoint("best"))
    load_weights(checkpoint, session.model, session.fingerprint, session.trained)
    if config.eval.final and session.validation is not None:
        session.score(run.path, config.eval.overlays)
    if not is_first():
        return
    write_report(run.path)
    run.write_text(names.CARD, model_card(run))
    if config.run.export:
        session.export(Path(config.run.export))
        (Path(config.run.export) / names.CARD).write_text(model_card(run), encoding="utf-8")
        say(f"exported to {config.run.export}")
