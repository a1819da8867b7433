"""Watching a metric: its best value so far, and how long ago that was."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Watch:
    """What is known about a metric.

    Attributes:
        best: Its best value; None before the first.
        waited: Values since then.
    """

    best: float | None = None
    waited: int = 0

    def after(self, value: float | None, *, highest: bool, min_gain: float = 0.0) -> Watch:
        """What is known after one more value.

        Args:
            value: None or NaN where the metric is undefined, which is no gain.
            highest: Whether the largest value is the best.
            min_gain: A value counts as better only where it exceeds the best by more than this.
        """
        if is_better(value, self.best, highest=highest, min_gain=min_gain):
            return Watch(value, 0)
        return Watch(self.best, self.waited + 1)


def is_better(value: float | None, best: float | None, *, highest: bool, min_gain: float = 0.0) -> bool:
    """Whether a value is better than the best so far; an undefined one never is, and any other beats an undefined."""
    if value is None or math.isnan(value):
        return False
    if best is None or math.isnan(best):
        return True
    return value > best + min_gain if highest else value < best - min_gain
