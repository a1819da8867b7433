"""What a person sees while it trains: a bar on a terminal, plain lines elsewhere. Nothing else reads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from segtune.core.log import console, get_logger, new_console

LINE_EVERY_SECONDS = 10.0
_log = get_logger(__name__)


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
        self._live: Live | None = None
        if not quiet and console().is_terminal and not console().is_dumb_terminal:
            # a console of its own: the shared one never wraps, with which a live display cannot count its lines
            screen = new_console()
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True), TextColumn("left"),
                console=screen,
            )  # fmt: skip
            self._task = self._bar.add_task("training", total=total, completed=done, rate="")
            self._facts = Text("", no_wrap=True, overflow="ellipsis")
            self._live = Live(Group(self._bar, self._facts), console=screen, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def step(self, epoch: int, facts: dict[str, float], memory: float | None = None) -> None:
        """Notes one step.

        Args:
            epoch: Counted from 1.
            facts: Losses and the like, shown in this order.
            memory: Peak memory so far in GB (1e9 bytes).
        """
        self.done += 1
        seconds = max(1e-9, time.perf_counter() - self._started)
        rate = (self.done - self._first) / seconds
        text = "  ".join(f"{name} {value:.3f}" for name, value in facts.items())
        text += "" if memory is None else f"  {memory:.2f} GB"
        if self._live is not None:
            self._bar.update(self._task, completed=self.done, description=f"epoch {epoch}", rate=f"{rate:.2f} it/s")
            self._facts.plain = text
        elif not self.quiet and (seconds - self._printed >= LINE_EVERY_SECONDS or self.done == self.total):
            self._printed = seconds
            left = (self.total - self.done) / rate
            self.line(f"epoch {epoch}  step {self.done}/{self.total}  {text}  {rate:.2f} it/s  {_clock(left)} left")

    def line(self, text: str) -> None:
        """Prints a line, above the bar where there is one."""
        if not self.quiet:
            (self._live.console if self._live is not None else console()).print(text, highlight=False)


def scoring_progress(title: str) -> Callable[[int, int], None]:
    """A function that is told images done and images in all, and logs a line now and then.

    Args:
        title: What is being scored.
    """
    started = printed = time.perf_counter()

    def tell(done: int, total: int) -> None:
        """Logs a line where the last one is old enough and there is something left."""
        nonlocal printed
        now = time.perf_counter()
        if done < total and now - printed >= LINE_EVERY_SECONDS:
            printed = now
            left = (now - started) / done * (total - done)
            _log.info("%s: %d of %d images, %s left", title, done, total, _clock(left))

    return tell


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
