"""Ctrl-C and SIGTERM end a run between two steps, after its state is saved."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

SAME_SIGNAL_SECONDS = 3.0
"""A launcher passes on a signal that its whole group may have got: within this time a second one is the first again."""


class Interrupts:
    """Notes the first SIGINT or SIGTERM instead of acting on it; a second one acts at once.

    Used as a context manager around training; outside the main thread it does nothing.

    Args:
        quiet: Say nothing about it (other processes than the first).
        launched: Several processes were started by a launcher, which repeats signals.
    """

    def __init__(self, *, quiet: bool = False, launched: bool = False) -> None:
        self.received: int | None = None
        self.quiet, self.launched, self._when = quiet, launched, 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:  # only where it may be the same one again
            if time.monotonic() - self._when > SAME_SIGNAL_SECONDS:
                self._restore()
                signal.raise_signal(number)
            return
        self.received, self._when = number, time.monotonic()
        if not self.quiet:
            os.write(2, b"\nstopping after this step and saving; once more stops at once and loses it\n")
        if not self.launched:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
