"""Where messages go: results to standard output, everything about the work to standard error.

On a terminal messages are coloured; elsewhere (a file, a pipe, a batch system) each is one plain line. Library code
asks for `get_logger(__name__)` and never prints; only commands call `setup`.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from segtune.core.visible import visible

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
    """The shared console, see `new_console`.

    Args:
        stderr: For messages about the work; otherwise for results.
    """
    return new_console(stderr=stderr, soft_wrap=True)


def new_console(**options: Any) -> Console:
    """A console that shows text as it is.

    Brackets are no markup, `:car:` is no picture, numbers get no colour by themselves, and control characters in names
    and words are shown in place of being sent to the terminal.

    Args:
        options: Further options of `rich.console.Console`.
    """
    from rich.console import Console

    class VisibleConsole(Console):
        """A console that prints no control characters of others."""

        def print(self, *objects: Any, **how: Any) -> None:
            """Prints objects; of strings, what is visible."""
            super().print(*(visible(one) if isinstance(one, str) else one for one in objects), **how)

    return VisibleConsole(markup=False, highlight=False, emoji=False, **options)


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
        screen = console(stderr=True)
        rich = RichHandler(console=screen, show_path=False, show_level=False, log_time_format="[%X]")
        rich.addFilter(_make_visible)
        return rich
    handler = _PlainHandler()
    handler.addFilter(_make_visible)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_name_severity)
    return handler


def _make_visible(record: logging.LogRecord) -> bool:
    """Writes the message out, with control characters shown."""
    record.msg, record.args = visible(record.getMessage()), ()
    return True


def _name_severity(record: logging.LogRecord) -> bool:
    """Writes `warning:` or `error:` before messages that are more than information."""
    if record.levelno >= logging.WARNING and not getattr(record, "severity_named", False):
        record.msg = f"{record.levelname.lower()}: {record.msg}"
        record.severity_named = True
    return True
