"""Training from epoch to epoch: order, validation, history, checkpoints and interruptions.

What a step does stands in `step`; here is only what happens around it. Every random number is derived from the seed
and the step or epoch, so a run that was stopped and resumed ends with the weights of one that was not. Of several
processes each has the whole model and a share of the batches; what is decided is decided from numbers that all share.
"""

from __future__ import annotations

import itertools
import shutil
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import nn

from segtune.core import rundir as names
from segtune.core.errors import Interrupted, SegtuneError
from segtune.core.files import read_json
from segtune.core.log import get_logger
from segtune.core.rng import derive
from segtune.core.rundir import RunDir
from segtune.engine.checkpoint import ABOUT, save_checkpoint
from segtune.engine.ema import Ema
from segtune.engine.interrupts import Interrupts
from segtune.engine.memory import peak_memory
from segtune.engine.optim import optimizer_state
from segtune.engine.processes import gather, is_first, largest, rank, share_buffers, world
from segtune.engine.progress import TrainingProgress
from segtune.engine.schedule import Schedule, steps_per_epoch
from segtune.engine.stages import Stage
from segtune.engine.state import History, Settings, TrainerState
from segtune.engine.step import StepReport, train_step
from segtune.engine.task import EpochTracker, Task
from segtune.engine.tracker import Stopwatch
from segtune.losses.objective import add_counts

_log = get_logger(__name__)


class TrainingBatches(Protocol):
    """Batches for training, in an order that the epoch decides."""

    def __len__(self) -> int:
        """Batches per epoch."""
        ...

    def batches(self, epoch: int, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Any]:
        """Those of an epoch from batch `start` on; of several processes each takes its share."""
        ...


class ScoredBatches(Protocol):
    """Batches for validation: every sample once."""

    def batches(self, rank: int = 0, world: int = 1) -> Iterator[Any]:
        """Those of one process."""
        ...


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
    ) -> None:
        self.model, self.optimizer, self.training, self.validation = model, optimizer, training, validation
        self.task, self.run, self.settings, self.accelerator = task, run, settings, accelerator
        self.stage = stage
        self.about, self.state, self.history, self.ema = about, state or TrainerState(), history or History(), ema
        self.state.processes = world()
        windows_per_epoch = steps_per_epoch(len(training), settings.train.accumulate, world())
        self.windows_per_epoch, self.total_steps = windows_per_epoch, windows_per_epoch * settings.train.epochs
        self.schedule = Schedule(stage.optim, windows_per_epoch * stage.epochs, windows_per_epoch)
        if accelerator.scaler is not None and self.state.scaler is not None:
            accelerator.scaler.load_state_dict(self.state.scaler)
        self.stopwatch = Stopwatch()

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
        with Interrupts(quiet=not is_first(), launched=world() > 1) as interrupts, progress:
            while self.state.stage == self.stage.index:
                self._train_epoch(progress, interrupts)
                self._end_epoch(progress)
                if number := largest(interrupts.received or 0):  # it came during the validation
                    raise self._interrupted(number)
        return self.history

    def _train_epoch(self, progress: TrainingProgress, interrupts: Interrupts) -> None:
        state = self.state
        # what a resumed epoch had counted before, one process goes on with
        tracker = self.task.tracker(state.tracker if is_first() else None)
        self.task.enter_training()
        self.stopwatch.lap()
        for window in self._windows():
            # Dropout draws from the global generator: seeding it by step makes a resumed run draw the same. Each
            # process draws its own, the first one as if it were alone.
            torch.manual_seed(derive(self.settings.seed, "step", state.step, *([rank()] if rank() else [])))
            rate, seen = self._rate(state.stage_step), self.task.tracker()
            report = train_step(
                self.model, window, self.optimizer, rate=rate, clip=self.stage.optim.clip,
                objective=self.task.objective, accelerator=self.accelerator, observe=seen.observe,
            )  # fmt: skip
            if not report.skipped:  # what a model answered in a step that was not made counts in no metric
                tracker.merge(seen)
            if self.ema is not None and not report.skipped:
                self.ema.update(state.stage_step)
            self._note(report, window, tracker, rate, progress)
            if number := largest(interrupts.received or 0):  # the signal may have reached one process alone
                state.tracker = _whole(tracker).to_dict()
                self._save_last()
                raise self._interrupted(number)
        state.tracker = _whole(tracker).to_dict()

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
                raise self._diverged(ids)
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
        tracker = self.task.tracker(state.tracker)
        row = self._training_row(tracker)
        if config.stages:
            row["stage"] = self.stage.index + 1
        self.history.train.append({"epoch": epoch, **row})
        values: dict[str, Any] = dict(row)
        last_epoch = epoch == config.epochs
        with nullcontext() if self.ema is None else self.ema.applied():
            if self.validation is not None and (epoch % config.validate_every == 0 or last_epoch):
                values |= (val := self._validate())
                self.history.val.append({"epoch": epoch, **val})
            self.run.write_json(self.run.epoch_metrics(epoch).name, {"epoch": epoch, **values})
            self._write_history()
            skipped, state.skipped = state.skipped, 0
            state.epoch, state.stage_epoch, state.window, state.tracker = epoch, state.stage_epoch + 1, 0, None
            better = state.takes_as_best(values, config, validated=self.validation is not None)
            if better:
                self._save("best", values)
            if config.stages and state.takes_as_best_of_stage(values, config):
                self._save(self.stage.best, values)
            if config.keep != "best":
                self._keep_epoch(epoch, config.keep, values)
        state.tell(values, self.stage.optim, config)
        gave_up, over = state.gave_up(config), state.stage_is_over(self.stage.epochs, config)
        if over:
            state.next_stage()
        self._save_last()
        shown = {k: values[k] for k in self.task.headlines if k in values}
        text = "  ".join(f"{key} {value:.4f}" for key, value in shown.items() if value is not None)
        progress.line(f"epoch {epoch}/{config.epochs}  {text}{state.mark(values, config) if better else ''}")
        if skipped:
            told = f"{skipped} of {self.windows_per_epoch} steps of this epoch were skipped and changed nothing"
            progress.line(f"warning: {told}; their samples are in {names.METRICS}")
        if gave_up and config.early_stopping is not None and not last_epoch:
            stop = config.early_stopping
            progress.line(f"stopped early: {stop.metric or config.best} had no gain in {stop.patience} values")

    def _keep_epoch(self, epoch: int, count: int, values: dict[str, Any]) -> None:
        """Saves an epoch's checkpoint and then removes the oldest beyond `count`."""
        self._save(f"epoch-{epoch:04}", values)
        if not is_first():
            return
        kept = sorted(self.run.checkpoints.glob("epoch-*"), key=lambda path: (len(path.name), path.name))
        for old in kept[:-count]:
            shutil.rmtree(old)

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
        """Losses and metrics as in training, and what the kind of segmentation measures besides."""
        assert self.validation is not None
        objective = self.task.objective
        tracker, seconds = self.task.tracker(), Stopwatch()
        sums: dict[str, float] = {}
        counts = add_counts(objective, ())
        self.model.eval()
        with torch.inference_mode():
            for batch in self.validation.batches(rank(), world()):
                batch = batch.to(self.accelerator.device)
                with self.task.scoring_autocast():
                    output = self.model(batch)
                tracker.observe(output, batch)
                for term, value in objective.sums(output, batch).items():
                    sums[term] = sums.get(term, 0.0) + float(value)
                counts = _added([counts, objective.counts(batch)])
        tracker, sums, counts = _whole(tracker), _added(gather(sums)), _added(gather(counts))
        means = {term: value / (counts[term] or 1.0) for term, value in sums.items()}
        means["loss"] = sum(weight * means.get(term, 0.0) for term, weight in objective.weights.items())
        tracker.step(means, seconds.lap())
        further, benchmarks = self.task.validate_further(self.validation)
        self.history.benchmarks |= benchmarks
        self.task.enter_training()
        return {**tracker.compute("val_"), **further}

    def _write_history(self) -> None:
        memory, kind = peak_memory()
        self.history.benchmarks |= {"peak_memory_gb": memory, "memory_kind": kind}
        self.run.write_json(names.HISTORY, asdict(self.history))

    def _about(self, values: dict[str, Any]) -> dict[str, Any]:
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
        return {**self.about, "epoch": self.state.epoch, "step": self.state.step, "metrics": numbers}

    def _save(self, name: str, values: dict[str, Any], **more: Any) -> None:
        """Saves the weights; all processes have the same ones, and the first writes them."""
        if is_first():
            save_checkpoint(
                self.run.checkpoint(name), self.model, self._about(values), trained=self.settings.trained, **more
            )

    def _save_last(self) -> None:
        scaler = self.accelerator.scaler
        self.state.scaler = None if scaler is None else scaler.state_dict()
        self._save(
            "last", {}, optimizer=optimizer_state(self.model, self.optimizer), state=asdict(self.state),
            averages=None if self.ema is None else self.ema.state(),
        )  # fmt: skip

    def _diverged(self, ids: list[str]) -> SegtuneError:
        """Why training ends after so many skipped steps, and what is left of it."""
        run, settings, last = self.run.path, self.settings, self.run.checkpoint("last") / ABOUT
        precision = "" if settings.train.precision == "fp32" else " or train.precision=fp32"
        saved = f"{run}@last has the weights after step {read_json(last)['step']}" if last.is_file() else (
            "no weights had been saved yet"
        )  # fmt: skip
        return SegtuneError(
            f"{self.state.skipped_in_row} steps in a row gave a loss or gradient that is not finite",
            where=f"step {self.state.step}", found=f"samples {', '.join(ids[:4])}",
            fix="look at these samples, or begin a new run with a lower rate: "
            f"`segtune train {run} run.name=NAME optim.lr={self.stage.optim.lr / 3:.1g}`{precision}; "
            f"a resume would repeat these steps with the settings of this run. {saved}",
        )  # fmt: skip

    def _interrupted(self, number: int) -> Interrupted:
        return Interrupted(
            f"stopped by {signal.Signals(number).name} after step {self.state.step}; everything is saved",
            signal_number=number, fix=f"go on with `segtune train --resume {self.run.path}`",
        )  # fmt: skip


def _whole(tracker: EpochTracker) -> EpochTracker:
    """What all processes have seen together, with the first one's times."""
    first, *others = gather(tracker)
    for other in others:
        first.merge(other)
    return first


def _added(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums of what several processes have by the same names; a process without batches has none."""
    return {name: sum(part.get(name, 0) for part in parts) for name in dict.fromkeys(itertools.chain(*parts))}
