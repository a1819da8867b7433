"""Signs of life between the processes of a run, and which of them tells a failure.

A process that has ended is noticed by its connections. One that is stopped (SIGSTOP, a frozen machine) keeps them, and
the others would wait in their next common operation. So a thread of each process counts up a number in the store of
the launcher and watches the number of the next process. The time that the first process works alone (it draws, checks,
scores baselines, saves) does not matter: its thread goes on counting.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from datetime import timedelta
from typing import Protocol

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from segtune.core.log import get_logger
from segtune.core.visible import visible

USUAL_SECONDS = 600
"""Without a sign of life for so long a process is given up, where no configuration says otherwise."""

_LONGEST_BEAT = 5.0
"""Seconds between two signs of life; less where a process is given up earlier."""

_LEFT = 1 << 40
"""Taken from the number of a process that leaves in order, after which nobody waits for its signs."""

_log = get_logger(__name__)


class Counters(Protocol):
    """Numbers that all processes share: what a heart needs of a store of PyTorch."""

    def add(self, key: str, amount: int, /) -> int:
        """Adds to a number, 0 at first; returns the sum."""
        ...


class Heart:
    """Gives signs of life and watches those of the next process.

    Args:
        counters: The shared numbers.
        rank: Of this process.
        world: How many there are.
        give_up: Called in the thread with the number of the silent process and the seconds of silence.
        seconds: Silence after which a process is given up.
    """

    def __init__(
        self,
        counters: Counters,
        rank: int,
        world: int,
        give_up: Callable[[int, float], None],
        seconds: float = USUAL_SECONDS,
    ) -> None:
        self.counters, self.rank, self.watched = counters, rank, (rank + 1) % world
        self.give_up, self.seconds = give_up, seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Leaves in order; does nothing a second time."""
        if not self._over.is_set():
            self._over.set()
            try:
                self.counters.add(self._key(self.rank), -_LEFT)
            except Exception as error:  # the launcher may have gone before: then nobody is watched any more
                _log.debug("the store of the launcher does not answer: %s", error)

    def claim(self) -> bool:
        """Whether this process is the first one that tells a failure; the others then stay silent."""
        try:
            return self.counters.add("failed", 1) == 1
        except Exception:  # better told twice than not at all
            return True

    def _beat(self) -> None:
        seen, silent, last = -1, 0.0, time.monotonic()
        while not self._over.wait(pause := min(_LONGEST_BEAT, self.seconds / 5)):
            try:
                self.counters.add(self._key(self.rank), 1)
                number = self.counters.add(self._key(self.watched), 0)
            except Exception as error:  # the launcher has ended: connections alone tell from now on
                _log.debug("the store of the launcher does not answer: %s", error)
                return
            now = time.monotonic()
            # where this process was stopped itself, it has not watched either
            silent, last = silent + min(now - last, 2 * pause), now
            if number < 0:
                return
            if number != seen:
                seen, silent = number, 0.0
            elif silent >= self.seconds and not self._over.is_set():
                self.give_up(self.watched, silent)
                return

    @staticmethod
    def _key(rank: int) -> str:
        return f"alive/{rank}"


_heart: Heart | None = None


def begin(environment: MutableMapping[str, str] = os.environ) -> None:
    """Starts the heart of this process, where a launcher of PyTorch keeps a store; a second call does nothing."""
    global _heart
    if _heart is not None or environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    try:
        address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        wait = timedelta(seconds=60)
        store = TCPStore(address, port, is_master=False, timeout=wait, wait_for_workers=False)
    except (KeyError, ValueError, RuntimeError) as error:
        _log.debug("no signs of life, because the store of the launcher cannot be reached: %s", error)
        return
    # a launcher that starts all processes anew keeps its store
    attempt = f"{environment.get('TORCHELASTIC_RUN_ID', '')}/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    counters = PrefixStore(f"segtune/{attempt}", store)
    _heart = Heart(counters, int(environment["RANK"]), int(environment["WORLD_SIZE"]), _end)
    atexit.register(_heart.stop)
    _heart.start()


def give_up_after(seconds: float) -> None:
    """Sets the silence after which another process is given up."""
    if _heart is not None:
        _heart.seconds = seconds


def may_tell() -> bool | None:
    """Whether this process is the first one that tells a failure; None where the processes do not know of each other.

    It may be asked once, by who tells it then.
    """
    return None if _heart is None else _heart.claim()


def silence(rank: int, seconds: float) -> str:
    """What is told of a process that gives no sign of life."""
    return (
        f"process {rank} has given no sign of life for {seconds:.0f} seconds\n"
        "  found: it is stopped (SIGSTOP), or its machine or the network hangs\n"
        "  fix: see to that process or machine, then go on from the last checkpoint with `segtune train --resume RUN`; "
        "run.ddp_timeout=SECONDS waits longer"
    )


def _end(rank: int, seconds: float) -> None:
    """Tells it and ends this process at once: its main thread may wait in an operation that nothing interrupts."""
    if may_tell() is not False:
        sys.stdout.flush()
        print(visible(f"error: {silence(rank, seconds)}"), file=sys.stderr, flush=True)
    os._exit(1)
