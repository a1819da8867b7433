"""Where messages go: results to standard output, everything about the work to standard error.

On a terminal messages are coloured; elsewhere (a file, a pipe, a batch system) each is one plain line. Library code
asks for `get_logger(__name__)` and never prints; only commands call `setup`.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_ROOT = "segtune"


def get_logger(name: str = _ROOT) -> logging.Logger:
    """The logger of a module, below the package's own.

    Args:
        name: `__name__` of the module.
    """
    return logging.getLogger(name if name.split(".")[0] == _ROOT else f"{_ROOT}.{name}")


def is_terminal() -> bool:
    """Whether standard error is a terminal that can show colours and move its cursor."""
    stream = sys.stderr
    return bool(stream and stream.isatty()) and os.environ.get("TERM") != "dumb"


@functools.cache
def console(*, stderr: bool = False) -> Console:
    """The shared console. Text is shown as it is: brackets are no markup and numbers get no colour by themselves.

    Args:
        stderr: For messages about the work; otherwise for results.
    """
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True)


def setup(level: str = "INFO") -> None:
    """Sends the package's messages to standard error; a second call only changes the level.

    Args:
        level: `DEBUG`, `INFO`, `WARNING` or `ERROR`. On a process of a distributed run other than the first
            (environment variable `RANK`), at least `WARNING`.
    """
    root = logging.getLogger(_ROOT)
    chosen = logging.getLevelName(level.upper())
    if not isinstance(chosen, int):
        raise ValueError(f"no such level: {level}")
    root.setLevel(max(chosen, logging.WARNING) if os.environ.get("RANK", "0") != "0" else chosen)
    root.propagate = False
    if not any(handler.get_name() == _ROOT for handler in root.handlers):  # others may have added theirs
        handler = _handler()
        handler.set_name(_ROOT)
        root.addHandler(handler)


class _PlainHandler(logging.StreamHandler):
    """Writes to what standard error is at that moment, not to what it was at the start."""

    @property
    def stream(self) -> TextIO:
        """Standard error as it is now."""
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """Ignored: the base class sets it once."""


def _handler() -> logging.Handler:
    if is_terminal():
        from rich.logging import RichHandler

        # the console of the progress bar, so that a message appears above the bar and not inside it
        return RichHandler(console=console(stderr=True), show_path=False, show_level=False, log_time_format="[%X]")
    handler = _PlainHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_name_severity)
    return handler


def _name_severity(record: logging.LogRecord) -> bool:
    """Writes `warning:` or `error:` before messages that are more than information."""
    if record.levelno >= logging.WARNING and not getattr(record, "severity_named", False):
        record.msg = f"{record.levelname.lower()}: {record.msg}"
        record.severity_named = True
    return True
