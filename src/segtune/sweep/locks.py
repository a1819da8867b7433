"""Locks that end with the process that holds them, whatever ends it, and that a child may go on holding."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Self

from segtune.core.errors import ConfigError


class FileLock:
    """An exclusive lock on a file, by `flock`: gone when the last process that has its handle open has ended.

    Two of these on the same file exclude each other in one process, too.

    Args:
        path: The file; made where it is missing, never removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle: int | None = None

    def take(self, *, wait: bool = False) -> bool:
        """Takes the lock.

        Args:
            wait: Until it is free, where somebody holds it.

        Returns:
            Whether it is held now.

        Raises:
            ConfigError: The file system has no locks.
        """
        if self.handle is not None:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)  # not inherited unless a child is given it
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise ConfigError(
                    "this file system has no locks, and a search needs them", where=str(self.path),
                    fix="choose another place: `--root FOLDER`",
                ) from error  # fmt: skip
            raise
        self.handle = handle
        return True

    def release(self) -> None:
        """Closes this process's handle; a child that was given it still holds the lock."""
        handle, self.handle = self.handle, None
        if handle is not None:
            os.close(handle)

    def __enter__(self) -> Self:
        self.take(wait=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
