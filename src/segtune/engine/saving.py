"""What a run saves while it trains, and when it is time to: the checkpoints of `checkpoint_store` from a live model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from segtune.core import pointers
from segtune.core.errors import CheckpointError
from segtune.core.rundir import RunDir
from segtune.engine.checkpoint import restate_checkpoint, save_checkpoint
from segtune.engine.checkpoint_store import LAST, UNVALIDATED, WEIGHTS, CheckpointStore, is_of
from segtune.engine.ema import Ema
from segtune.engine.optim import optimizer_state
from segtune.engine.processes import is_first, together
from segtune.engine.state import Settings, TrainerState


class Saver:
    """Saves a model in training. All processes have the same weights, and the first one writes them.

    Args:
        run: The run directory.
        model: The model.
        optimizer: Over what trains.
        accelerator: Its loss scale is saved.
        settings: How often is saved, and how much stays.
        about: Facts for every checkpoint.
        ema: Averaged weights, saved beside the model's own.
    """

    def __init__(
        self,
        run: RunDir,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        settings: Settings,
        about: dict[str, Any],
        ema: Ema | None,
    ) -> None:
        self.run, self.model, self.optimizer, self.accelerator = run, model, optimizer, accelerator
        self.settings, self.about, self.ema = settings, about, ema
        self._saved_at = time.monotonic()

    @property
    def store(self) -> CheckpointStore:
        """The run's checkpoints."""
        return CheckpointStore(self.run.checkpoints, self.settings.train.save_total_limit)

    def is_due(self, step: int) -> bool:
        """Whether `train.save_steps` or `train.save_minutes` asks for a save after so many steps."""
        train = self.settings.train
        waited = time.monotonic() - self._saved_at
        return (train.save_steps is not None and step % train.save_steps == 0) or (
            train.save_minutes is not None and waited >= 60 * train.save_minutes
        )

    def resumable(self, state: TrainerState, kind: str = "") -> None:
        """Saves what a resume needs as `last`, unless `last` has it already; to be called by all processes.

        The others wait until it is saved. One that left earlier might be ended by a signal that the system repeats, and
        the death of one ends the first process too, in the middle of what it writes.

        Args:
            state: Where the run stands; its loss scale is filled in.
            kind: `UNVALIDATED` where the epoch is trained and its end is still to be done, else nothing.

        Raises:
            NotFinite: Weights, averages or moments are not finite; what was saved before stays.
            Elsewhere: The first process could not save it, and tells why.
        """
        scaler = self.accelerator.scaler
        state.scaler = None if scaler is None else scaler.state_dict()
        with together():
            if is_first():
                self._save(state, kind)
        self._saved_at = time.monotonic()  # in all of them: the first one that takes a save for due makes all save

    def _save(self, state: TrainerState, kind: str) -> None:
        store, last = self.store, pointers.resolve(self.run.checkpoints / LAST)
        if is_of(last, state.step, kind):
            return
        place = store.place(state.step, kind)
        about = {**self._about(state, {}), "names": store.names()}
        if not (not kind and is_of(last, state.step, UNVALIDATED) and _restated(last, place, about, state)):
            save_checkpoint(
                place, self.model, about, trained=self.settings.trained, state=asdict(state),
                optimizer=optimizer_state(self.model, self.optimizer),
                averages=None if self.ema is None else self.ema.state(),
            )  # fmt: skip
        store.point(LAST, place)
        store.tidy()

    def weights(self, names: Sequence[str], state: TrainerState, values: dict[str, Any]) -> None:
        """Saves the weights alone, as they are in the model now, under one or several names.

        Args:
            names: `best`, `stage-1-best`, `epoch-0003`; none saves nothing.
            state: Whose epoch and step they are.
            values: History values of that epoch.

        Raises:
            NotFinite: As in `resumable`.
        """
        if not names or not is_first():
            return
        place = self.store.place(state.step, WEIGHTS)
        save_checkpoint(place, self.model, self._about(state, values), trained=self.settings.trained)
        for name in names:
            self.store.point(name, place)

    def _about(self, state: TrainerState, values: dict[str, Any]) -> dict[str, Any]:
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
        return {**self.about, "epoch": state.epoch, "step": state.step, "metrics": numbers}


def _restated(source: Path, place: Path, about: dict[str, Any], state: TrainerState) -> bool:
    """Whether a validation's outcome could be written beside tensors that are on the disk already."""
    try:
        restate_checkpoint(source, place, about, asdict(state))
    except CheckpointError:  # damaged meanwhile: the model still has all of it
        return False
    return True
