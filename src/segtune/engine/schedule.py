"""Learning-rate schedules as functions of the optimiser step: nothing to step, so nothing steps in the wrong unit.

The loop tells how many optimiser steps were made; a schedule that moves by epoch makes epochs of them itself. Only
`plateau` depends on something else, how often its metric has stalled, which the loop keeps with its own state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from segtune.engine.config import OptimConfig

Unit = Literal["step", "epoch"]


def steps_per_epoch(batches: int, accumulate: int, processes: int) -> int:
    """Optimiser steps of an epoch.

    Args:
        batches: Micro-batches of an epoch, of all processes together.
        accumulate: Micro-batches of a process in a step.
        processes: How many share the work.
    """
    return math.ceil(batches / (accumulate * processes))


class Schedule:
    """The learning rate of a run, as a share of its peak.

    Args:
        config: Which shape, its warm-up and its numbers.
        total: Optimiser steps of the whole run.
        steps_per_epoch: Optimiser steps of one epoch.

    Attributes:
        unit: Whether the rate moves at every optimiser step or between epochs; a warm-up always moves by step.
    """

    def __init__(self, config: OptimConfig, total: int, steps_per_epoch: int) -> None:
        self.config, self.total, self.steps_per_epoch = config, total, max(1, steps_per_epoch)
        self.unit, self._shape = _SHAPES[config.schedule]

    def factor(self, step: int, reductions: int = 0) -> float:
        """The share of the peak rate with which an optimiser step is made.

        Args:
            step: Steps made before this one, from 0.
            reductions: How often a plateau has lowered the rate.

        Returns:
            A number in (0, 1], for a `floor` or `min_rate` of 0 also 0. With a warm-up the first step is made with
            1 / warmup_steps, not with 0.
        """
        return self._shape(self, step, reductions) * self._warmup(step)

    def shortcoming(self) -> str:
        """What a person should know before the first step; empty where the rate reaches its peak."""
        if self._warmup(self.total - 1) == 1.0:
            return ""
        return (
            f"optim.warmup_steps={self.config.warmup_steps} is more than the {self.total} steps of this run: "
            f"the learning rate will end at {self._warmup(self.total - 1):.0%} of optim.lr; "
            "lower optim.warmup_steps, or train longer"
        )

    def _warmup(self, step: int) -> float:
        steps = 0 if self.config.schedule == "none" else self.config.warmup_steps
        return (step + 1) / steps if step < steps else 1.0

    def _constant(self, step: int, reductions: int) -> float:
        return 1.0

    def _linear(self, step: int, reductions: int) -> float:
        return max(1.0 - self._progress(step), 1e-8)

    def _cosine(self, step: int, reductions: int) -> float:
        return self._half_cosine(self._progress(step))

    def _warmup_stable_decay(self, step: int, reductions: int) -> float:
        """At the peak, then half a cosine (Hu et al., MiniCPM, arXiv 2404.06395; transformers' `get_wsd_schedule`)."""
        share = self.config.decay_share
        return self._half_cosine(max(0.0, (self._progress(step) - (1 - share)) / share))

    def _restarts(self, step: int, reductions: int) -> float:
        """Cosine with warm restarts (Loshchilov and Hutter, arXiv 1608.03983), by step, after a burn-in at the peak."""
        config = self.config
        unit = 1 if config.period_unit == "step" else self.steps_per_epoch
        since, period = step - config.warmup_steps - config.burn_in_steps, config.period * unit
        while since >= period:
            since, period = since - period, period * config.period_multiplier
        return self._half_cosine(max(0, since) / period)

    def _exponential(self, step: int, reductions: int) -> float:
        return self.config.gamma ** (step // self.steps_per_epoch)

    def _plateau(self, step: int, reductions: int) -> float:
        return max(self.config.plateau_factor**reductions, self.config.min_rate / self.config.lr)

    def _progress(self, step: int) -> float:
        """How much of the time after the warm-up is over, from 0 to 1."""
        warmup = self.config.warmup_steps
        return min(1.0, max(0, step - warmup) / max(1, self.total - warmup))

    def _half_cosine(self, progress: float) -> float:
        floor = self.config.floor
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


_SHAPES: dict[str, tuple[Unit, Callable[[Schedule, int, int], float]]] = {
    "cosine": ("step", Schedule._cosine),
    "linear": ("step", Schedule._linear),
    "warmup_stable_decay": ("step", Schedule._warmup_stable_decay),
    "constant": ("step", Schedule._constant),
    "none": ("step", Schedule._constant),
    "restarts": ("step", Schedule._restarts),
    "exponential": ("epoch", Schedule._exponential),
    "plateau": ("epoch", Schedule._plateau),
}
