"""Ctrl-C, SIGTERM and the like during a search: passed on to the training, which saves itself; then the search ends."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

from segtune.core.signals import SIGNALS


class Signals:
    """Notes signals instead of acting on them; outside the main thread it does nothing.

    A training runs in a session of its own, so a terminal's Ctrl-C reaches the search alone and the training gets each
    signal once.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._waiting: list[int] = []
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def pass_on(self, training: subprocess.Popen[bytes]) -> None:
        """Sends the training what has come since the last call; a closed terminal is a SIGTERM to it."""
        while self._waiting:
            number = self._waiting.pop(0)
            training.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    def pause(self, seconds: float) -> bool:
        """Waits; whether a signal has come, now or before."""
        end = time.monotonic() + seconds
        while self.received is None and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
        return self.received is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            os.write(2, b"\nstopping: the training saves itself; a second Ctrl-C stops it at once\n")
        self.received = self.received or number
        self._waiting.append(number)
