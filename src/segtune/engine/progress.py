"""What a person sees while it trains: a bar on a terminal, plain lines elsewhere. Nothing else reads it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from segtune.core.log import console, is_terminal

LINE_EVERY_SECONDS = 10.0


class TrainingProgress:
    """Progress over all optimiser steps of a run.

    Args:
        total: Steps of the whole run.
        done: Steps made before (after a resume).
        quiet: Show nothing (other processes than the first).
    """

    def __init__(self, total: int, done: int = 0, quiet: bool = False) -> None:
        self.total, self.done, self.quiet = total, done, quiet
        self._first, self._started = done, time.perf_counter()
        self._printed = 0.0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if not self.quiet and is_terminal():
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
                TimeRemainingColumn(compact=True), TextColumn("{task.fields[facts]}"), console=console(),
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("training", total=self.total, completed=self.done, facts="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, epoch: int, facts: dict[str, float]) -> None:
        """Notes one step.

        Args:
            epoch: Counted from 1.
            facts: Losses and the like, shown in this order.
        """
        self.done += 1
        seconds = max(1e-9, time.perf_counter() - self._started)
        rate = (self.done - self._first) / seconds
        text = "  ".join(f"{name} {value:.3f}" for name, value in facts.items()) + f"  {rate:.2f} it/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done, description=f"epoch {epoch}", facts=text)
        elif not self.quiet and (seconds - self._printed >= LINE_EVERY_SECONDS or self.done == self.total):
            self._printed = seconds
            left = (self.total - self.done) / rate
            self.line(f"epoch {epoch}  step {self.done}/{self.total}  {text}  {_clock(left)} left")

    def line(self, text: str) -> None:
        """Prints a line, above the bar where there is one."""
        if not self.quiet:
            (self._bar.console if self._bar is not None else console()).print(text, highlight=False)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
