"""The signals that ask a program to end: what a run saves itself after, and a search passes on to its training."""

from __future__ import annotations

import signal

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)
"""What a person, a terminal that closes and a scheduler send; SIGQUIT still ends a process on the spot."""
