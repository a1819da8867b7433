"""Signals that end a run: between two steps after its state is saved, or at once where nothing is left to save."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from segtune.core.errors import Interrupted

SAME_SIGNAL_SECONDS = 3.0
"""A launcher passes on a signal that its whole group may have got: within this time a second one is the first again."""

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)
"""What a person, a terminal that closes and a scheduler send; SIGQUIT still ends a process on the spot."""


class _Stopped(BaseException):
    """Raised by a signal in the middle of work that may be given up; no handler of ordinary errors catches it."""


class Interrupts:
    """Notes the first signal instead of acting on it; a second one acts at once.

    Used as a context manager around a run; outside the main thread it does nothing.

    Args:
        quiet: Say nothing about it (other processes than the first).
        launched: Several processes were started by a launcher, which repeats signals.
    """

    def __init__(self, *, quiet: bool = False, launched: bool = False) -> None:
        self.received: int | None = None
        self.quiet, self.launched, self._when = quiet, launched, 0.0
        self._previous: dict[int, Any] = {}
        self._process = os.getpid()
        self._may_stop_at_once = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # `nohup` lets a run outlive its terminal by ignoring SIGHUP; that wish stands
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    @contextmanager
    def at_once(self, told: Callable[[int], Interrupted]) -> Iterator[None]:
        """Inside, a signal ends the work immediately, in the middle of a batch or an answer: all of it is repeatable.

        Args:
            told: The error for the number of a signal.

        Raises:
            Interrupted: A signal came inside, or had come before.
        """
        if self.received is not None:
            raise told(self.received)
        before = self._may_stop_at_once
        try:
            self._may_stop_at_once = True
            yield
        except _Stopped:
            pass
        finally:
            self._may_stop_at_once = before
        if self.received is not None:  # also where a library has swallowed it
            raise told(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a process that prepares data: the run ends its workers itself, after it has saved
        if self.received is not None:  # only where it may be the same one again
            if time.monotonic() - self._when > SAME_SIGNAL_SECONDS:
                self._restore()
                signal.raise_signal(number)
            return
        self.received, self._when = number, time.monotonic()
        if not self.quiet:
            now = self._may_stop_at_once
            with contextlib.suppress(OSError):  # whoever read standard error may have gone
                os.write(2, b"\nstopping\n" if now else b"\nstopping after this step and saving; once more loses it\n")
        if not self.launched:
            self._restore()
        if self._may_stop_at_once:
            raise _Stopped

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
