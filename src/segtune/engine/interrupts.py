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
from segtune.core.signals import SIGNALS

SAME_SIGNAL_SECONDS = 3.0
"""A launcher passes on a Ctrl-C that its whole group may have got: within this time a second one is the first again."""


class _Stopped(BaseException):
    """Raised by a signal in the middle of work that may be given up; no handler of ordinary errors catches it."""


class Interrupts:
    """Notes the first signal instead of acting on it, and no other one disturbs the saving but a second Ctrl-C.

    Systems repeat signals: SIGXCPU comes with every second of CPU time beyond the limit, SIGHUP twice from a terminal
    that closes, SIGTERM after SIGUSR1 from a scheduler, and a launcher passes on what its processes have got already.
    Only a person sends SIGINT a second time after seconds, having read that it loses what is not saved.

    Used as a context manager around a run; outside the main thread it does nothing.

    Args:
        quiet: Say nothing about it (other processes than the first).
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.received: int | None = None
        self.quiet = quiet
        self._asked: float | None = None
        """When the first SIGINT came."""
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
        first, now = self.received is None, time.monotonic()
        by_hand = number == signal.SIGINT
        if by_hand and self._asked is not None:
            if now - self._asked > SAME_SIGNAL_SECONDS:
                self._restore()
                signal.raise_signal(number)
            return
        if by_hand:
            self._asked = now
        if first:
            self.received = number
        if first or by_hand:  # the first Ctrl-C is told what a second one does, whatever came before it
            self._tell(first=first, by_hand=by_hand)
        if first and self._may_stop_at_once:
            raise _Stopped

    def _tell(self, *, first: bool, by_hand: bool) -> None:
        if self.quiet:
            return
        text = "stopping after this step and saving" if first else "still saving"
        text += "; once more loses it" if by_hand else ""
        if self._may_stop_at_once:
            text = "stopping"  # all is saved
        with contextlib.suppress(OSError):  # whoever read standard error may have gone
            os.write(2, f"\n{text}\n".encode())

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
