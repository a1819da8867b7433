"""The course of a run: data, model, scores before, the stages of training, scores after, report.

Read `train` from top to bottom to see how the parts meet; `resume` is the same with a checkpoint in between.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from segtune.config import AnyConfig
from segtune.core import rundir as names
from segtune.core.config import diff, dump_yaml
from segtune.core.environment import describe
from segtune.core.files import remove_temporaries
from segtune.core.rundir import RunDir, default_name
from segtune.data.unchanged import digests_of, require_unchanged
from segtune.engine import heartbeat, processes
from segtune.engine.checkpoint import Checkpoint, load_averages, load_training, open_checkpoint
from segtune.engine.checkpoint_files import ABOUT, AVERAGES, OPTIMIZER, STATE
from segtune.engine.checkpoint_store import CheckpointStore, clean_leftovers, open_newest, resumable
from segtune.engine.ema import Ema
from segtune.engine.endings import interrupted
from segtune.engine.interrupts import Interrupts
from segtune.engine.loop import Trainer
from segtune.engine.machine import prepare_allocator, prepare_machine, require_one_model
from segtune.engine.optim import build_optimizer, load_optimizer_state, prepared, rate_shares
from segtune.engine.processes import from_first, is_first
from segtune.engine.schedule import steps_per_epoch
from segtune.engine.stages import Stage, plan
from segtune.engine.state import History, Settings, TrainerState
from segtune.engine.state_file import require_consistent, require_same_model, state_from
from segtune.engine.state_recorded import require_recorded
from segtune.experiment import continuing
from segtune.experiment.again import changed, find_run, load_run
from segtune.experiment.beginning import kind_of, require_drawn
from segtune.experiment.session import Session, say
from segtune.experiment.sharing import own_share, settle_processes
from segtune.experiment.witnesses import require_processes
from segtune.models.pretrained import without_hub
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
    config = settle_processes(config)
    _prepare(config)
    kind = kind_of(config)
    from_first(lambda: require_drawn(config))
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


def resume(path: str | Path, changes: Sequence[str] = (), *, wanted: AnyConfig | None = None) -> RunDir:
    """Continues an interrupted run from its `last` checkpoint, as if it had not been interrupted.

    Args:
        path: The run directory.
        changes: Settings that the command line names, `key=value`; only those of `MAY_CHANGE` may be others than the
            run's.
        wanted: The whole configuration of a command that is given again: it has to agree with that of the run, but for
            the `changes`, which it has in it. None takes the run's.

    Raises:
        CheckpointError: It is no run, its checkpoint is damaged, or its base is another.
        ConfigError: The settings are no longer those that it was trained with, or a change is not allowed.
        DataError: The data are no longer those that it was trained on.
    """
    prepare_allocator()
    processes.join()
    # a run directory may come from anybody and fetches nothing; a recipe is the person's own, and names its base
    with from_first(lambda: RunDir.open(path).lock()) as run, without_hub() if wanted is None else nullcontext():
        found = settle_processes(load_run(run))
        config = found if wanted is None and not changes else changed(run, found, changes, wanted)
        rows = diff(found, config)
        from_first(lambda: _clean(run))
        # with more than one epoch behind it somebody has removed `last`: that is refused below, not begun again
        if not resumable(run.checkpoints) and len(History.until(run, found.train.epochs).train) <= 1:
            continuing.require_allowed(run, rows, changes, digests=False)
            say(f"resuming {run.path} from the beginning: it had been stopped before its first checkpoint")
            _prepare(config)
            from_first(lambda: require_drawn(config))
            run.write_jsonl(names.METRICS, [])
            session = _open(config, run, kind_of(config).read_data(config))
            _take(run, config, TrainerState(processes=processes.world()), rows)
            _from_the_start(session)
            return run
        checkpoint, passed_over = from_first(lambda: open_newest(run.checkpoints))
        for damage in passed_over:
            say(f"warning: {damage}; going on from step {checkpoint.about['step']} in {checkpoint.path}")
        _continue(run, checkpoint, found, config, changes)
    return run


def resume_or_train(config: AnyConfig, overrides: Sequence[str] = ()) -> RunDir:
    """Goes on with the run that the same command has begun before, or begins it.

    Args:
        config: What to do. With a `run.name` the run of that name goes on, and has to have these settings; without one
            the newest run of this recipe with these settings that is not complete.
        overrides: The settings that the command line names; of these `MAY_CHANGE` may be others than the run's.

    Returns:
        The run directory. A run that is complete is left alone.

    Raises:
        SegtuneError: As `train` and `resume`.
    """
    prepare_allocator()
    processes.join()
    config = settle_processes(config)
    path = from_first(lambda: find_run(config, overrides))
    if path is None:
        say("--resume auto: there is no such run yet that could go on; a new one begins")
        return train(config)
    say(f"--resume auto: {path} is there")
    return resume(path, overrides, wanted=config)


def _continue(run: RunDir, checkpoint: Checkpoint, found: AnyConfig, config: AnyConfig, changes: Sequence[str]) -> None:
    """Goes on from a checkpoint, once settings, processes, data and base are known to be those that it was trained on.

    Args:
        run: The run, locked.
        checkpoint: Its newest.
        found: What `config.yaml` says.
        config: The same with the changes that are wanted.
        changes: What the command line names.
    """
    optimizer_tensors, saved = load_training(checkpoint)
    state = state_from(saved, str(checkpoint.path / STATE))
    rows, told = diff(found, config), checkpoint.about
    unknown = [continuing.require_settings(run, found, told, checkpoint.path)]
    digests = continuing.digests_told(told)
    continuing.require_allowed(run, rows, changes, digests=bool(digests))
    before = continuing.epochs_of(told, found)
    continuing.reopen(state, before, config.train, config.optim, run)
    if state.is_over(config.train) and (run.path / names.CARD).is_file():
        say(f"{run.path} is complete: {state.epoch} of {config.train.epochs} epochs; nothing is left to do")
        return
    require_processes(state, processes.world(), checkpoint)
    _prepare(config)
    data = kind_of(config).read_data(config)
    unknown.append(from_first(lambda: require_unchanged(run, data[0], data[1], digests)))
    session = _open(config, run, data, checkpoint)
    history = _require_own(session, state, checkpoint)
    continuing.require_same_base(str(checkpoint.path / ABOUT), told, session.fingerprint)
    session.take(checkpoint)
    from_first(lambda: CheckpointStore(run.checkpoints, config.train.save_total_limit).restore(checkpoint))
    run.write_jsonl(names.METRICS, continuing.rows_until(run, state.step))
    for line in filter(None, unknown):
        say(f"a run from before: {line}")
    _take(run, config, state, rows)
    per_epoch = steps_per_epoch(len(session.training), session.config.train.accumulate, processes.world())
    if line := continuing.rates_told(state, before, config.train, config.optim, per_epoch):
        say(line)
    say(f"resuming {run.path} after epoch {state.epoch} of {config.train.epochs}, step {state.step}")
    with _interrupts() as interrupts:
        _fit(session, state, history, interrupts, optimizer_tensors, checkpoint)
        _finish(session, state, interrupts)


def _take(run: RunDir, config: AnyConfig, state: TrainerState, rows: Sequence[continuing.Row]) -> None:
    """Writes the changes of a resume into the run, says them, and says which packages are others."""
    versions = continuing.other_versions(run)
    if versions:
        told = ", ".join(f"{name} {was} -> {now}" for name, (was, now) in versions.items())
        say(f"other versions than when the run began: {told}")
    for key, was, now in rows:
        say(f"changed from here on: {key}: {was} -> {now}")
    continuing.record(run, state, rows, versions)
    if rows:
        run.write_text(names.CONFIG, dump_yaml(config))
    if run.writes:
        (run.path / names.CARD).unlink(missing_ok=True)  # it is written last: a run that has one is complete


def _clean(run: RunDir) -> None:
    """Removes what a killed process has left half-written, and puts back what it had moved aside."""
    clean_leftovers(run.checkpoints)
    remove_temporaries(run.path)


def _require_own(session: Session, state: TrainerState, checkpoint: Checkpoint) -> History:
    """The history up to a checkpoint; raises `CheckpointError` where it says what cannot be of this run."""
    train, history = session.config.train, History.until(session.run, state.epoch)
    stages = plan(train, session.config.optim)
    steps = steps_per_epoch(len(session.training), train.accumulate, processes.world())
    require_same_model(checkpoint.about, session.about, str(checkpoint.path))
    require_consistent(
        state, train, stages, steps, session.accelerator.scaler is not None, session.task, str(checkpoint.path / STATE)
    )
    require_recorded(state, train, stages, history, checkpoint)
    return history


def _interrupts() -> Interrupts:
    """Signals, noted during the whole run."""
    return Interrupts(quiet=not is_first())


@processes.together()
def _prepare(config: AnyConfig) -> None:
    """What concerns the machine alone, before anything is read."""
    heartbeat.give_up_after(config.run.ddp_timeout)
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    prepare_machine(config.train, config.optim, PartialState().device)


@processes.together()
def _open(config: AnyConfig, run: RunDir, data: Any, resumed: Checkpoint | None = None) -> Session:
    """Builds the model, and writes down and shows what will happen before anything does."""
    session = kind_of(config).open_session(own_share(config), run, data, resumed)
    stages = plan(config.train, config.optim)
    for stage in stages:  # for its refusals: a stage that cannot be is told before the first one begins
        session.enter_stage(stage)
        rate_shares(session.model, stage.optim, session.components)
    session.enter_stage(stages[0])
    rows = table(session.model)
    run.write_json(names.PARAMETERS, table_dict(rows))
    session.about = {**session.about, **continuing.about(config, digests_of(*data))}
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
                ema.load(load_averages(checkpoint), str(checkpoint.path / AVERAGES))
        optimizer = prepared(session.accelerator, optimizer)
        settings = Settings(config.train, config.run.seed, session.trained)
        Trainer(
            session.model, optimizer, session.training, session.validation, session.task, session.run, settings, stage,
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
    session.take(checkpoint)
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
