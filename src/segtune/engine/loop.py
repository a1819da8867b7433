"""Training from epoch to epoch: order, validation, history, checkpoints and interruptions.

What a step does stands in `step`; here is only what happens around it. Every random number is derived from the seed
and the step or epoch, so a run that was stopped and resumed ends with the weights of one that was not. Of several
processes each has the whole model and a share of the batches; what is decided is decided from numbers that all share.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from segtune.core import rundir as names
from segtune.core.errors import Interrupted
from segtune.core.files import read_json
from segtune.core.log import get_logger
from segtune.core.rng import derive
from segtune.core.rundir import RunDir
from segtune.engine.checkpoint_files import ABOUT, NotFinite
from segtune.engine.checkpoint_store import LAST, UNVALIDATED
from segtune.engine.ema import Ema
from segtune.engine.endings import Diverged, WindowGivenUp, diverged, interrupted
from segtune.engine.interrupts import Interrupts
from segtune.engine.memory import peak_memory
from segtune.engine.optim import watch_steps
from segtune.engine.processes import gather, is_first, largest, rank, share_buffers, world
from segtune.engine.progress import TrainingProgress
from segtune.engine.saving import Saver
from segtune.engine.schedule import Schedule, steps_per_epoch
from segtune.engine.stages import Stage
from segtune.engine.state import History, Settings, TrainerState
from segtune.engine.step import Observer, StepReport, train_step
from segtune.engine.task import EpochTracker, ScoredBatches, Task, TrainingBatches
from segtune.engine.tracker import Stopwatch
from segtune.engine.validation import validate, whole

_log = get_logger(__name__)


class Trainer:
    """Trains one model in one run directory.

    Args:
        model: Assembled, weights loaded.
        optimizer: Over what trains.
        training: Training batches.
        validation: Validation batches, or None.
        task: The kind of segmentation: losses and metrics.
        run: The run directory, locked by the first process.
        settings: The configuration.
        stage: The part of the run that is trained here.
        accelerator: Device, precision and processes.
        about: Facts for every checkpoint.
        state: Where to go on; fresh by default.
        history: Rows so far.
        ema: Averages the weights; None where nothing is averaged.
        interrupts: Notes signals during the whole run; by default during the stage.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        training: TrainingBatches,
        validation: ScoredBatches | None,
        task: Task,
        run: RunDir,
        settings: Settings,
        stage: Stage,
        accelerator: Accelerator,
        about: dict[str, Any],
        *,
        state: TrainerState | None = None,
        history: History | None = None,
        ema: Ema | None = None,
        interrupts: Interrupts | None = None,
    ) -> None:
        self.model, self.optimizer, self.training, self.validation = model, optimizer, training, validation
        self.task, self.run, self.settings, self.accelerator = task, run, settings, accelerator
        self.stage = stage
        self.state, self.history, self.ema = state or TrainerState(), history or History(), ema
        self.interrupts = interrupts or Interrupts(quiet=not is_first())
        self._own_interrupts = interrupts is None
        self.saver = Saver(run, model, optimizer, accelerator, settings, about, ema)
        self.state.processes = world()
        windows_per_epoch = steps_per_epoch(len(training), settings.train.accumulate, world())
        self.windows_per_epoch, self.total_steps = windows_per_epoch, windows_per_epoch * settings.train.epochs
        self.schedule = Schedule(stage.optim, windows_per_epoch * stage.epochs, windows_per_epoch)
        if accelerator.scaler is not None and self.state.scaler is not None:
            accelerator.scaler.load_state_dict(self.state.scaler)
        self.stopwatch = Stopwatch()
        self._safe: EpochTracker | None = None
        """The metrics of the current epoch where the state is that of a whole step; None while it changes."""
        watch_steps(optimizer, self._leave_safety)

    def fit(self) -> History:
        """Trains to the end of the stage.

        Returns:
            The history.

        Raises:
            Interrupted: A signal came; everything is saved and `--resume` goes on.
            SegtuneError: Loss or gradient stayed non-finite.
        """
        if is_first() and not self.state.stage_step and self.schedule.shortcoming():
            _log.warning(self.schedule.shortcoming())
        progress = TrainingProgress(self.total_steps, self.state.step, quiet=not is_first())
        with self.interrupts if self._own_interrupts else nullcontext(), progress:
            try:
                while self.state.stage == self.stage.index:
                    self._train_epoch(progress)
                    self._end_epoch(progress)
                    self._stop_if_asked()
            except BaseException as error:
                self._rescue(error)
                raise
        return self.history

    def _train_epoch(self, progress: TrainingProgress) -> None:
        state = self.state
        # what a resumed epoch had counted before, one process goes on with
        self._safe = tracker = self.task.tracker(state.tracker if is_first() else None)
        self.task.enter_training()
        self.stopwatch.lap()
        for window in self._windows():
            # Dropout draws from the global generator: seeding it by step makes a resumed run draw the same. Each
            # process draws its own, the first one as if it were alone.
            torch.manual_seed(derive(self.settings.seed, "step", state.step, *([rank()] if rank() else [])))
            rate, seen = self._rate(state.stage_step), self.task.tracker()
            try:
                report = train_step(
                    self.model, window, self.optimizer, rate=rate, clip=self.stage.optim.clip,
                    objective=self.task.objective, accelerator=self.accelerator, observe=self._observer(seen, window),
                )  # fmt: skip
            except WindowGivenUp as given_up:
                self._save_within_epoch(tracker)
                raise interrupted(self.run, state, given_up.number) from None
            self._safe = None
            if not report.skipped:  # what a model answered in a step that was not made counts in no metric
                tracker.merge(seen)
            if self.ema is not None and not report.skipped:
                self.ema.update(state.stage_step)
            self._note(report, window, tracker, rate, progress)
            self._safe = tracker
            self._pause(tracker)
        self._safe = None
        state.tracker = whole(tracker).to_dict()

    def _observer(self, seen: EpochTracker, window: list[Any]) -> Observer:
        """Adds up what the model answers, and gives a window up between two micro-batches when a signal comes.

        The answers of such a window count nowhere, and its gradients are dropped: a resume makes the whole step.
        """
        # several processes have to ask each other equally often; only the last window of an epoch is uneven
        even = world() == 1 or self.state.window < self.windows_per_epoch - 1
        left = len(window)

        def observe(output: Any, batch: Any) -> None:
            """Counts one micro-batch; raises `WindowGivenUp` where a signal came and others are still to be made."""
            nonlocal left
            seen.observe(output, batch)
            left -= 1
            if left and even and (number := largest(self.interrupts.received or 0)):
                raise WindowGivenUp(number)

        return observe

    def _pause(self, tracker: EpochTracker) -> None:
        """After a step: saves where it is time to, and ends where a signal came; all processes decide alike."""
        if self.state.window == self.windows_per_epoch:
            return  # the end of the epoch does both
        due = self.saver.is_due(self.state.step)
        # the signal may have reached one process alone, and clocks differ
        number, save = divmod(largest(2 * (self.interrupts.received or 0) + due), 2)
        if number or save:
            self._save_within_epoch(tracker)
        if number:
            raise interrupted(self.run, self.state, number)

    def _save_within_epoch(self, tracker: EpochTracker) -> None:
        """Saves `last` between two steps; before the first step of an epoch it is saved already, or there is nothing.

        To be called by all processes.
        """
        state = self.state
        if state.window:
            state.tracker = whole(copy.deepcopy(tracker) if world() > 1 else tracker).to_dict()
            self.saver.resumable(state, UNVALIDATED if state.window == self.windows_per_epoch else "")

    def _stop_if_asked(self) -> None:
        """Ends where a signal came to any process; everything is saved."""
        if number := largest(self.interrupts.received or 0):
            raise interrupted(self.run, self.state, number)

    def _leave_safety(self) -> None:
        """The optimiser begins to move the weights: until the step is booked, they belong to no state."""
        self._safe = None

    def _rescue(self, error: BaseException) -> None:
        """Saves the last whole step before an error that is not ours ends the run, as far as that can be done.

        Not where the user asked twice to stop, nor with several processes: the others may be gone, and their share of
        the epoch's metrics with them.
        """
        tracker, asked = self._safe, self.interrupts.received is not None
        if isinstance(error, Interrupted) or not is_first():
            return
        if tracker is not None and world() == 1 and not asked and not isinstance(error, NotFinite | Diverged):
            try:
                self._save_within_epoch(tracker)
            except Exception as failed:  # a full disk, a lost accelerator: the error itself is what must be told
                _log.warning("step %d could not be saved: %s", self.state.step, failed)
        last = self.run.checkpoint(LAST) / ABOUT
        if last.is_file() and not isinstance(error, Diverged):
            step = read_json(last)["step"]
            _log.warning("saved up to step %d; go on with `segtune train --resume %s`", step, self.run.path)

    def _rate(self, step: int) -> float:
        """The main learning rate of the step that follows `step` others of the stage."""
        return self.stage.optim.lr * self.schedule.factor(step, self.state.reductions)

    def _windows(self) -> Iterator[list[Any]]:
        """This process's share of the windows of the current epoch still to come; of the last one maybe nothing."""
        accumulate, first = self.settings.train.accumulate, self.state.window
        batches = self.training.batches(self.state.epoch, first * accumulate * world(), rank(), world())
        for _ in range(first, self.windows_per_epoch):
            yield list(itertools.islice(batches, accumulate))
        next(batches, None)  # a data worker that died during the last step is told as well

    def _note(
        self, report: StepReport, window: list[Any], tracker: EpochTracker, rate: float, progress: TrainingProgress
    ) -> None:
        """Books a step. Reading the numbers waits for the device: the only place where that happens."""
        state = self.state
        terms = {name: float(value) for name, value in report.terms.items()}
        state.step, state.stage_step, state.window = state.step + 1, state.stage_step + 1, state.window + 1
        if report.skipped:
            state.skipped, state.skipped_in_row = state.skipped + 1, state.skipped_in_row + 1
            shares = gather([id for batch in window for id in batch.ids])
            ids = list(itertools.chain(*shares))
            self.run.append_jsonl(names.METRICS, {"step": state.step, "skipped": True, "ids": ids})
            progress.line(f"step {state.step}: loss or gradient is not finite; the step was skipped")
            if state.skipped_in_row >= self.settings.train.max_skipped:
                raise diverged(self.run, state, ids, self.settings.train.precision, self.stage.optim.lr)
            return
        state.skipped_in_row = 0
        tracker.step(terms, self.stopwatch.lap())
        if state.step % self.settings.train.log_every == 0 or state.step == self.total_steps:
            row = {"step": state.step, "epoch": state.epoch + 1, **terms, "lr": rate}
            self.run.append_jsonl(names.METRICS, {**row, "grad_norm": float(report.grad_norm)})
        facts = {name: terms[name] for name in ("loss", *self.task.objective.weights)}
        progress.step(state.epoch + 1, {**facts, **tracker.glance()}, peak_memory()[0])

    def _end_epoch(self, progress: TrainingProgress) -> None:
        """Validation, history, checkpoints; then the next epoch."""
        state, config = self.state, self.settings.train
        share_buffers(self.model)
        epoch = state.epoch + 1
        last_epoch = epoch == config.epochs
        validates = self.validation is not None and (epoch % config.validate_every == 0 or last_epoch)
        number = largest(self.interrupts.received or 0)
        if validates or number:  # a validation can take long, or end for lack of memory: what is trained is safe before
            self.saver.resumable(state, UNVALIDATED)
        if number:
            raise interrupted(self.run, state, number)
        row = self._training_row(self.task.tracker(state.tracker))
        if config.stages:
            row["stage"] = self.stage.index + 1
        self.history.train.append({"epoch": epoch, **row})
        values: dict[str, Any] = dict(row)
        with nullcontext() if self.ema is None else self.ema.applied():
            if validates:
                with self.interrupts.at_once(partial(interrupted, self.run, state)):
                    values |= (val := self._validate())
                self.history.val.append({"epoch": epoch, **val})
            self.run.write_json(self.run.epoch_metrics(epoch).name, {"epoch": epoch, **values})
            self._write_history()
            skipped, state.skipped = state.skipped, 0
            state.epoch, state.stage_epoch, state.window, state.tracker = epoch, state.stage_epoch + 1, 0, None
            better = state.takes_as_best(values, config, validated=self.validation is not None)
            self.saver.weights(self._names(values, better), state, values)
        state.tell(values, self.stage.optim, config)
        gave_up, over = state.gave_up(config), state.stage_is_over(self.stage.epochs, config)
        if over:
            state.next_stage()
        self._save_end_of_epoch()
        shown = {k: values[k] for k in self.task.headlines if k in values}
        text = "  ".join(f"{key} {value:.4f}" for key, value in shown.items() if value is not None)
        progress.line(f"epoch {epoch}/{config.epochs}  {text}{state.mark(values, config) if better else ''}")
        if skipped:
            told = f"{skipped} of {self.windows_per_epoch} steps of this epoch were skipped and changed nothing"
            progress.line(f"warning: {told}; their samples are in {names.METRICS}")
        if gave_up and config.early_stopping is not None and not last_epoch:
            stop = config.early_stopping
            progress.line(f"stopped early: {stop.metric or config.best} had no gain in {stop.patience} values")

    def _names(self, values: dict[str, Any], better: bool) -> list[str]:
        """The names under which the weights of the epoch that is over are kept."""
        config, state = self.settings.train, self.state
        names = ["best"] if better else []
        if config.stages and state.takes_as_best_of_stage(values, config):
            names.append(self.stage.best)
        return names if config.keep == "best" else [*names, f"epoch-{state.epoch:04}"]

    def _save_end_of_epoch(self) -> None:
        """`last` with the outcome of the validation; names of epochs that are no longer kept go before."""
        if self.settings.train.keep != "best" and is_first():
            self.saver.store.keep_epochs(self.settings.train.keep)
        self.saver.resumable(self.state)

    def _training_row(self, tracker: EpochTracker) -> dict[str, Any]:
        steps, seconds = max(1, tracker.steps), max(tracker.seconds, 1e-9)
        memory, kind = peak_memory()
        return {
            **tracker.compute(),
            "lr": self._rate(self.state.stage_step - 1),
            "iter_per_sec": steps / seconds, "avg_iter_time": seconds / steps, "epoch_time": seconds,
            "peak_memory_gb": memory, "memory_kind": kind, "skipped_steps": self.state.skipped,
        }  # fmt: skip

    def _validate(self) -> dict[str, Any]:
        """The validation's row of the history."""
        assert self.validation is not None
        row, benchmarks = validate(self.model, self.validation, self.task, self.accelerator)
        self.history.benchmarks |= benchmarks
        return row

    def _write_history(self) -> None:
        memory, kind = peak_memory()
        self.history.benchmarks |= {"peak_memory_gb": memory, "memory_kind": kind}
        self.run.write_json(names.HISTORY, asdict(self.history))
