"""A stopped process is noticed by its silence, and one failure is told by one process."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from segtune.engine.heartbeat import Heart, begin, give_up_after, may_tell, silence


class Shared:
    """The counters of a launcher, in one process."""

    def __init__(self) -> None:
        self.values: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.broken = False

    def add(self, key: str, amount: int) -> int:
        """Adds to a number."""
        if self.broken:
            raise RuntimeError("Connection reset by peer")
        with self.lock:
            self.values[key] += amount
            return self.values[key]


def _hearts(shared: Shared, world: int, seconds: float = 0.5) -> tuple[list[Heart], list[tuple[int, int]]]:
    """Started hearts, and what they will give up: who and whom."""
    given_up: list[tuple[int, int]] = []

    def heart(rank: int) -> Heart:
        return Heart(shared, rank, world, lambda whom, silent: given_up.append((rank, whom)), seconds)

    hearts = [heart(rank) for rank in range(world)]
    for one in hearts:
        one.start()
    return hearts, given_up


def test_processes_that_live_wait_for_each_other() -> None:
    hearts, given_up = _hearts(Shared(), 3)
    time.sleep(1.2)
    for one in hearts:
        one.stop()
    assert not given_up


def test_a_silent_process_is_given_up_by_the_one_before_it() -> None:
    hearts, given_up = _hearts(Shared(), 3)
    time.sleep(0.2)
    hearts[1]._over.set()  # stopped: it neither beats nor leaves
    time.sleep(1.5)
    assert given_up[0] == (0, 1)  # and as that one would end then, the next one may follow
    for one in hearts:
        one.stop()


def test_one_that_leaves_in_order_is_not_missed() -> None:
    hearts, given_up = _hearts(Shared(), 2)
    time.sleep(0.2)
    hearts[1].stop()
    hearts[1].stop()
    time.sleep(1.2)
    assert not given_up
    hearts[0].stop()


def test_one_that_never_came_is_given_up() -> None:
    given_up: list[int] = []
    heart = Heart(Shared(), 0, 2, lambda whom, silent: given_up.append(whom), 0.3)
    heart.start()
    time.sleep(1.0)
    assert given_up == [1]


def test_who_was_stopped_itself_accuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGSTOP and SIGCONT of all processes the clock has gone on, and nobody has beaten."""
    hearts, given_up = _hearts(Shared(), 2)
    time.sleep(0.2)
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 3600)
    time.sleep(0.6)
    for one in hearts:
        one.stop()
    assert not given_up


def test_without_the_launcher_nobody_is_given_up() -> None:
    shared = Shared()
    hearts, given_up = _hearts(shared, 2)
    shared.broken = True
    time.sleep(1.0)
    assert not given_up
    assert hearts[0].claim()
    hearts[0].stop()


def test_one_of_them_tells() -> None:
    shared = Shared()
    hearts = [Heart(shared, rank, 3, lambda whom, silent: None) for rank in range(3)]
    assert [one.claim() for one in hearts] == [True, False, False]


def test_a_process_that_is_alone_has_no_heart() -> None:
    begin({"WORLD_SIZE": "1"})
    begin({"TORCHELASTIC_USE_AGENT_STORE": "True"})  # without an address
    give_up_after(1)
    assert may_tell() is None
    assert "process 1 has given no sign of life for 600 seconds" in silence(1, 600.4)
    assert "run.ddp_timeout" in silence(1, 600)
