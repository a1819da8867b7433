"""The signals that a run saves itself after, and that a search passes on."""

from __future__ import annotations

import signal

from segtune.core.signals import SIGNALS


def test_those_that_ask_a_program_to_end_are_known() -> None:
    wanted = {"SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"}
    assert {signal.Signals(number).name for number in SIGNALS} == wanted
    assert signal.SIGQUIT not in SIGNALS
