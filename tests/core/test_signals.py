"""A search takes for an interruption what a run saves itself after."""

from __future__ import annotations

from segtune.core.signals import SIGNALS
from segtune.engine import interrupts


def test_a_search_and_a_run_know_the_same_signals() -> None:
    assert SIGNALS == interrupts.SIGNALS
