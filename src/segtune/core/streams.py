"""Standard output and standard error that never end a command: a reader may leave, a terminal may know only ASCII.

`segtune train RECIPE | head -1` closes the pipe after a line; the training that it would end is worth more than the
lines that nobody reads.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TextIO


class _Steady(io.FileIO):
    """A descriptor to which writing never fails; after the first failure nothing is written any more.

    Args:
        descriptor: 1 or 2; it stays open.
        announce: Say once on standard error that this stream is lost.
    """

    def __init__(self, descriptor: int, *, announce: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.lost: OSError | None = None
        self.announce = announce

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Writes, or does as if; returns the number of bytes that are done with."""
        size = memoryview(data).nbytes
        while self.lost is None:
            try:
                written: int | None = super().write(data)
                if written is not None:
                    return written
                select.select([], [self], [])  # a pipe that does not block, and is full
            except OSError as error:
                self.lost = error
                if self.announce and sys.stderr is not None:
                    why = "nobody reads it" if error.errno == errno.EPIPE else error.strerror
                    sys.stderr.write(f"warning: standard output is closed ({why}); the command goes on without it\n")
        return size


def steady() -> None:
    """Makes the streams of this process steady: to be called once, where a command begins.

    A letter that the terminal's encoding lacks is written as an escape.
    """
    sys.stderr = _steady(sys.stderr, 2, announce=False)
    sys.stdout = _steady(sys.stdout, 1, announce=True)


def last_words() -> None:
    """From now on a loss of standard output is not told: nothing but the rest of the output is left to do."""
    raw = _raw(sys.stdout)
    if raw is not None:
        raw.announce = False


def lost_output() -> OSError | None:
    """Why standard output could not be written, unless its reader or its terminal has left."""
    raw = _raw(sys.stdout)
    if raw is None or raw.lost is None or raw.lost.errno == errno.EPIPE or raw.isatty():
        return None
    return raw.lost


def _steady(stream: TextIO | None, descriptor: int, *, announce: bool) -> TextIO:
    if stream is None:  # closed by who started us (`>&-`); the next file that is opened must not take its place
        null = os.open(os.devnull, os.O_WRONLY)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
    else:
        stream.flush()
    raw = _Steady(descriptor, announce=announce)
    by_line = raw.isatty() or descriptor == 2
    encoding = getattr(stream, "encoding", None) or "utf-8"
    buffer = io.BufferedWriter(raw)  # type: ignore[type-var]
    return io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace", line_buffering=by_line)


def _raw(stream: TextIO | None) -> _Steady | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Steady) else None
