"""What is known of a trial, free of Optuna."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["running", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One trial of a study.

    Attributes:
        number: From 0, in the order in which trials began.
        state: `running` also where its process is gone and nobody has taken it up yet.
        point: Index of its point.
        settings: Key of the recipe to value.
        value: The best value of the metric, of a pruned trial the last; None of others.
        reported: Epoch to value of the metric, as far as the trial has come.
        message: Why it failed.
        retry_of: The failed trial whose point it runs again.
        pruned_at: The epoch after which it was found not worth going on.
        seconds: Time of its training steps, validation not included; None where it is not known.
    """

    number: int
    state: State
    point: int
    settings: dict[str, Any]
    value: float | None = None
    reported: dict[int, float] = field(default_factory=dict)
    message: str = ""
    retry_of: int | None = None
    pruned_at: int | None = None
    seconds: float | None = None


def best_first(trials: Iterable[Trial], *, highest: bool) -> list[Trial]:
    """The complete trials, best first; of equal values the earlier one."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    sign = -1 if highest else 1
    return sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def standing(trials: Iterable[Trial]) -> list[Trial]:
    """The trials that count: without the failed ones whose point was begun again."""
    trials = list(trials)
    again = {trial.retry_of for trial in trials}
    return [trial for trial in trials if trial.number not in again]


def is_finite(value: Any) -> bool:
    """Whether a value of a history is a number that can be compared."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
