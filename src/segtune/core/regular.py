"""Opening of regular files alone.

A name may belong to a FIFO, a socket or a device: reading one can wait for ever, and opening one can already do
something. Whatever a person, a dataset or a checkpoint names is opened here.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO (named pipe)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)
# O_NONBLOCK: without it the opening of a FIFO waits for a writer; the flags of Windows differ
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def other_kind(path: Path | str) -> str:
    """What a path is where it is no regular file, in words; links are followed.

    Args:
        path: Something that exists.

    Returns:
        Words such as "a FIFO (named pipe)"; empty for a regular file.

    Raises:
        OSError: There is nothing, or it may not be looked at.
    """
    return _other_kind(os.stat(path).st_mode)


def open_regular(path: Path | str) -> BufferedReader:
    """Opens a regular file for reading.

    Raises:
        OSError: It is missing, may not be read, or is no regular file; `strerror` says which.
    """
    _require(os.stat(path).st_mode, path)  # before it is opened, because the opening of a device may have effects
    handle = os.open(path, _FLAGS)
    try:
        _require(os.fstat(handle).st_mode, path)  # it may have been replaced in between
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path | str) -> bytes:
    """The whole content of a regular file; raises as `open_regular` does."""
    with open_regular(path) as file:
        return file.read()


def _require(mode: int, path: Path | str) -> None:
    if kind := _other_kind(mode):
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(path))


def _other_kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return ""
    return next((words for is_kind, words in _KINDS if is_kind(mode)), "no regular file")
