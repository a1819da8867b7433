"""The course of a run: data, model, scores before, the stages of training, scores after, report.

Read `train` from top to bottom to see how the parts meet; `resume` is the same with a checkpoint in between.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from segtune.config import AnyConfig, DenseExperimentConfig, validate_run
from segtune.core import rundir as names
from segtune.core.config import dump_yaml
from segtune.core.environment import describe
from segtune.core.errors import ConfigError
from segtune.core.rundir import RunDir, default_name
from segtune.core.yaml_files import load_mapping
from segtune.engine import processes
from segtune.engine.checkpoint import (
    Checkpoint,
    clean_leftovers,
    load_averages,
    load_training,
    load_weights,
    open_checkpoint,
)
from segtune.engine.config import share_of_step
from segtune.engine.ema import Ema
from segtune.engine.loop import Trainer
from segtune.engine.machine import prepare_allocator, prepare_machine, require_one_model
from segtune.engine.optim import build_optimizer, load_optimizer_state, rate_shares
from segtune.engine.processes import from_first, is_first
from segtune.engine.stages import Stage, plan
from segtune.engine.state import History, Settings, TrainerState
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
    config = _settle_processes(config)
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
        config = _settle_processes(validate_run(load_mapping(run.config), where=str(run.config)))
        last = run.checkpoint("last")
        from_first(lambda: clean_leftovers(last.parent))  # a process killed between two renames had moved it aside
        # with more than one epoch behind it somebody has removed `last`: that is refused below, not begun again
        if not last.exists() and len(History.until(run, config.train.epochs).train) <= 1:
            say(f"resuming {run.path} from the beginning: it had been stopped before its first checkpoint")
            _prepare(config)
            run.write_jsonl(names.METRICS, [])
            _from_the_start(_open(config, run, _kind(config).read_data(config)))
            return run
        checkpoint = open_checkpoint(last)
        optimizer_tensors, saved = load_training(checkpoint)
        state = TrainerState.from_dict(saved)
        if state.is_over(config.train) and (run.path / names.CARD).is_file():
            say(f"{run.path} is complete: {state.epoch} of {config.train.epochs} epochs; nothing is left to do")
            return run
        state.require_processes(processes.world())
        _prepare(config)
        kind = _kind(config)
        data = kind.read_data(config)
        from_first(lambda: kind.require_unchanged(run, data))
        session = _open(config, run, data)
        load_weights(checkpoint, session.model, session.fingerprint, session.trained)
        history = History.until(run, state.epoch)
        run.write_jsonl(names.METRICS, [r for r in run.read_jsonl(names.METRICS) if r["step"] <= state.step])
        say(f"resuming {run.path} after epoch {state.epoch} of {config.train.epochs}, step {state.step}")
        _fit(session, state, history, optimizer_tensors, checkpoint)
        _finish(session)
    return run


def _kind(config: AnyConfig) -> Any:
    """The module that composes runs of this kind."""
    return dense if isinstance(config, DenseExperimentConfig) else reasoning


@processes.together()
def _settle_processes(config: AnyConfig) -> AnyConfig:
    """The configuration with the number of processes that there are in the place of `auto`.

    Raises:
        ConfigError: There are others than `run.num_processes` says, or they cannot share the images of a step.
    """
    wanted, found = config.run.num_processes, processes.world()
    if wanted == 1:
        return config
    if wanted not in ("auto", found):
        raise ConfigError(
            "other processes than the run asks for", where="run.num_processes", expected=str(wanted), found=str(found),
            fix="`segtune train` starts them itself; torchrun has to be told the same number",
        )  # fmt: skip
    if share_of_step(config.train, found) is None:
        raise ConfigError(
            "the processes cannot share the images of a step", where="train.batch_size",
            expected=f"a multiple of {found}, or such a train.accumulate", found=str(config.train.batch_size),
        )  # fmt: skip
    return config.model_copy(update={"run": config.run.model_copy(update={"num_processes": found})})


def _own_share(config: AnyConfig) -> AnyConfig:
    """The configuration for one of the processes that share the images of a step."""
    share = share_of_step(config.train, processes.world())
    if config.run.num_processes == 1 or share is None:  # under a launcher each takes what the recipe says
        return config
    train = config.train.model_copy(update={"batch_size": share[0], "accumulate": share[1]})
    return config.model_copy(update={"train": train})


@processes.together()
def _prepare(config: AnyConfig) -> None:
    """What concerns the machine alone, before anything is read."""
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    prepare_machine(config.train, config.optim, PartialState().device)


@processes.together()
def _open(config: AnyConfig, run: RunDir, data: Any) -> Session:
    """Builds the model, and writes down and shows what will happen before anything does."""
    session = _kind(config).open_session(_own_share(config), run, data)
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
    if session.config.eval.before and session.validation is not None:
        session.score(session.run.path / BEFORE, 0)
    _fit(session, TrainerState(), History())
    _finish(session)


def _fit(
    session: Session,
    state: TrainerState,
    history: History,
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
            load_optimizer_state(session.model, optimizer, optimizer_tensors, str(checkpoint.path))
            if ema is not None:
                ema.load(load_averages(checkpoint), str(checkpoint.path))
        prepared = session.accelerator.prepare_optimizer(optimizer, device_placement=False)  # fp16: with its scaler
        settings = Settings(config.train, config.run.seed, session.trained)
        Trainer(
            session.model, prepared, session.training, session.validation, session.task, session.run, settings, stage,
            session.accelerator, session.about, state=state, history=history, ema=ema,
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


def _finish(session: Session) -> None:
    """Scores the best checkpoint, writes figure, report and card, exports."""
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
