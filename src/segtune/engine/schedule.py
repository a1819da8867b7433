"""Learning-rate schedules as pure functions of the optimiser step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from segtune.engine.config import OptimConfig


def rate_factor(step: int, total: int, config: OptimConfig) -> float:
    """The share of the peak rate with which an optimiser step is made.

    Args:
        step: Steps made before this one, from 0.
        total: Steps of the whole run.
        config: Shape, warm-up and floor.

    Returns:
        A number in (0, 1]: linear warm-up to 1 over `warmup_steps`, then constant, linear to 0, or half a cosine down
        to `floor`. The first step is made with 1 / warmup_steps, not with 0.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - config.warmup_steps) / max(1, total - config.warmup_steps))
    if config.schedule == "linear":
        return max(1.0 - progress, 1e-8)
    return config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * progress))
