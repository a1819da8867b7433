"""Where a run stands, what it has recorded, and the settings by which it goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Self

from segtune.core import rundir as names
from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.rundir import RunDir
from segtune.engine.config import FORCED_TWINS, OptimConfig, TrainConfig
from segtune.engine.watch import Watch, is_better


@dataclass
class TrainerState:
    """Where a run stands; with weights and optimiser it is all that a resume needs.

    Attributes:
        epoch: Current epoch, from 0.
        window: Windows of that epoch already trained on.
        step: Optimiser steps made.
        best: Best value so far of the key that decides; None before the first validation.
        best_epoch: Its epoch, counted from 1.
        stage: Current stage, from 0.
        stage_epoch: Epochs of that stage that are over.
        stage_step: Optimiser steps made in that stage.
        stage_best: The key that decides what its best checkpoint is, in that stage.
        best_forced: The value, in that epoch, of the key that breaks ties of the one that decides; None without one.
        skipped: Steps of the current epoch that were skipped.
        skipped_in_row: Steps in a row without finite loss and gradient.
        tracker: Sums of the current epoch.
        reductions: How often a plateau has lowered the learning rate.
        plateau: The metric of the plateau, since it last did.
        stopping: The metric of early stopping.
        scaler: The loss scale of fp16, as PyTorch's GradScaler describes it.
        processes: How many have shared the work.
    """

    epoch: int = 0
    window: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    skipped_in_row: int = 0
    tracker: dict[str, Any] | None = None
    reductions: int = 0
    plateau: Watch = field(default_factory=Watch)
    stopping: Watch = field(default_factory=Watch)
    scaler: dict[str, Any] | None = None
    processes: int = 1
    best_forced: float | None = None
    stage: int = 0
    stage_epoch: int = 0
    stage_step: int = 0
    stage_best: Watch = field(default_factory=Watch)
    skipped: int = 0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        state = cls(**values)
        for name in ("plateau", "stopping", "stage_best"):
            if name in values:
                setattr(state, name, Watch(**values[name]))
        if "stage_epoch" not in values:  # written before there were stages
            state.stage_epoch, state.stage_step = state.epoch, state.step
        return state

    def takes_as_best_of_stage(self, values: dict[str, Any], train: TrainConfig) -> bool:
        """Whether these values are the best of the current stage so far; without a value the newest are."""
        value = values.get(train.best)
        if value is None:
            return self.stage_best.best is None
        self.stage_best = self.stage_best.after(value, highest=train.best_is_highest)
        return self.stage_best.waited == 0

    def next_stage(self) -> None:
        """What a stage counts begins anew; the best of the run and its steps go on."""
        self.stage, self.stage_epoch, self.stage_step = self.stage + 1, 0, 0
        self.reductions, self.plateau, self.stopping, self.stage_best = 0, Watch(), Watch(), Watch()

    def require_processes(self, count: int, told: str = "") -> None:
        """Makes sure that as many processes go on as there were: a step would have another batch, an epoch other steps.

        Args:
            count: How many there are.
            told: The file that tells how many there were, for the message.

        Raises:
            ConfigError: There are more or fewer.
        """
        if count != self.processes:
            raise ConfigError(
                "a run continues with as many processes as it began with", where="--resume",
                expected=f"{self.processes}, as {told} tells" if told else str(self.processes),
                found=f"processes: {self.processes} -> {count}",
                fix=f"start it with `torchrun --nproc-per-node {self.processes} -m segtune train --resume RUN`"
                if self.processes > 1 else "start it without torchrun or accelerate",
            )  # fmt: skip

    def takes_as_best(self, values: dict[str, Any], train: TrainConfig, *, validated: bool) -> bool:
        """Whether these values are better than the best so far, which they then become.

        A model that says `<SEG>` nowhere has 0 in generate mode epoch after epoch, while its masks get better: equal
        values are compared by the key of the same score with the answer given.

        Args:
            values: History keys of the epoch that `epoch` counts; without a value of the key that decides, the first
                epoch stands until there is one.
            train: Which key decides.
            validated: Whether there are validation data; without them a key of training decides as it would with them,
                and where a `val_` key should, the newest is the best there is.
        """
        value, twin = values.get(train.best), values.get(FORCED_TWINS.get(train.best, ""))
        highest = train.best_is_highest
        if not validated and train.best.startswith("val_"):
            better = True  # its value never comes
        elif value is None or math.isnan(value):
            better = self.best_epoch == 0
        elif value == self.best:
            better = is_better(twin, self.best_forced, highest=highest)
        else:
            better = is_better(value, self.best, highest=highest)
        if better:
            self.best, self.best_forced, self.best_epoch = value, twin, self.epoch
        return better

    @staticmethod
    def mark(values: dict[str, Any], train: TrainConfig) -> str:
        """What is said of an epoch that has become the best: nothing where no value decided it (no validation yet)."""
        return "  (best so far)" if is_better(values.get(train.best), None, highest=True) else ""

    def tell(self, values: dict[str, Any], optim: OptimConfig, train: TrainConfig) -> None:
        """Takes in the values of an epoch: a plateau counts, and so does early stopping.

        Args:
            values: History keys of that epoch; a key that it does not have (no validation) says nothing.
            optim: Its schedule.
            train: Its early stopping.
        """
        key = optim.plateau_metric or train.best
        if optim.schedule == "plateau" and key in values:
            self.plateau = self.plateau.after(values[key], highest=train.highest_is_best(key))
            if self.plateau.waited >= optim.plateau_patience:
                self.reductions, self.plateau = self.reductions + 1, Watch(self.plateau.best)
        stop = train.early_stopping
        key = (stop and stop.metric) or train.best
        if stop is not None and key in values:
            highest = train.highest_is_best(key)
            self.stopping = self.stopping.after(values[key], highest=highest, min_gain=stop.min_gain)

    def gave_up(self, train: TrainConfig) -> bool:
        """Whether early stopping ends the run here."""
        return train.early_stopping is not None and self.stopping.waited >= train.early_stopping.patience

    def is_over(self, train: TrainConfig) -> bool:
        """Whether there is nothing left to train."""
        return self.epoch >= train.epochs or self.stage >= max(1, len(train.stages)) or self._ended_before_stages(train)

    def stage_is_over(self, epochs: int, train: TrainConfig) -> bool:
        """Whether the current stage, which has at most so many epochs, ends here."""
        return self.stage_epoch >= epochs or self.gave_up(train)

    def _ended_before_stages(self, train: TrainConfig) -> bool:
        """A run whose checkpoint was written before there were stages, and that had stopped early."""
        return not train.stages and self.gave_up(train)


@dataclass
class History:
    """The rows of `training_history.json`."""

    train: list[dict[str, Any]] = field(default_factory=list)
    val: list[dict[str, Any]] = field(default_factory=list)
    benchmarks: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def until(cls, run: RunDir, epoch: int) -> Self:
        """The history of a run's first epochs; empty where nothing has been recorded.

        Args:
            run: The run directory.
            epoch: The last epoch that counts, from 1.

        Raises:
            CheckpointError: The file is damaged.
        """
        if not (run.path / names.HISTORY).is_file():
            return cls()
        try:
            saved = run.read_json(names.HISTORY)
            kept = {part: [row for row in saved[part] if row["epoch"] <= epoch] for part in ("train", "val")}
            return cls(kept["train"], kept["val"], saved["benchmarks"])
        except (KeyError, TypeError) as error:
            raise CheckpointError("the run's history is damaged", where=str(run.path / names.HISTORY)) from error


@dataclass(frozen=True)
class Settings:
    """The parts of the configuration that the loop reads."""

    train: TrainConfig
    seed: int
    trained: frozenset[str] | None = None
    """Names of the parameters that train in any stage; None for those that train now."""
