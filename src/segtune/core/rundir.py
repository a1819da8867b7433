"""The run directory: the one place where a training or evaluation leaves everything about itself.

It is never overwritten, and while one process writes into it every other writer is refused. Reading needs no lock.
Only the names of files and the manner of writing are known here; what stands in them belongs to their writers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from segtune.core import files, pointers
from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.paths import require_utf8_path

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
PARAMETERS = "parameters.json"
DATA = "data.json"
DATA_ITEMS = "data_items.json"
RESUMES = "resumes.jsonl"
METRICS = "metrics.jsonl"
HISTORY = "training_history.json"
HISTORY_FIGURE = "training_history.png"
REPORT = "report.html"
CARD = "README.md"
CHECKPOINTS = "checkpoints"
PREDICTIONS = "predictions"
_LOCK = ".lock"
_BEFORE_CONFIG = (_LOCK, "base")
"""What a run holds before its configuration is written: the lock, and random weights that it starts from."""

_held: set[int] = set()  # lock handles of this process


def _drop_inherited_locks() -> None:
    """A forked data worker must not keep the lock of a parent that was killed."""
    for handle in _held:
        with contextlib.suppress(OSError):
            os.close(handle)  # closing, not unlocking: the parent still holds its own handle
    _held.clear()


os.register_at_fork(after_in_child=_drop_inherited_locks)


def default_name(recipe: str | Path, root: str | Path = "runs") -> str:
    """A free name for a run: `RECIPE-YYYYmmdd-HHMMSS`, with `-2`, `-3`, ... where that is taken.

    Args:
        recipe: Name of a recipe, or the path of its file.
        root: The folder in which runs lie.
    """
    stem = re.sub(r"[^\w.-]+", "-", Path(recipe).stem).strip("-.") or "run"
    name = f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    count, free = 1, name
    while (Path(root) / free).exists():
        count += 1
        free = f"{name}-{count}"
    return free


class RunDir:
    """One run directory.

    Attributes:
        path: Where it is.
        writes: Whether this process writes into it. Of several that train together only the first one does: in the
            others, which get a copy of what it has opened, every writing method does nothing.
    """

    def __init__(self, path: Path | str, *, writes: bool = True) -> None:
        self.path, self.writes = Path(path), writes
        self._handle: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets: the place, neither the lock nor the right to write."""
        return {"path": self.path, "writes": False, "_handle": None}

    @classmethod
    def create(cls, root: Path | str, name: str) -> Self:
        """Makes a new, empty run directory and locks it for this process.

        Args:
            root: The folder in which runs lie; made when missing.
            name: One path component.

        Raises:
            ConfigError: There is one of that name already, the name is no file name, UTF-8 cannot hold its whole path,
                or it cannot be made there.
        """
        require_utf8_path(Path(root) / name, str(root), what="the run", error=ConfigError)
        if not name or name.startswith(".") or any(bad in name for bad in "/\\\0\n") or len(name.encode()) > 200:
            raise ConfigError("not a name for a run", where="run.name", found=repr(name), expected="one file name")
        run = cls(Path(root) / name)
        try:
            run.path.parent.mkdir(parents=True, exist_ok=True)
            run.path.mkdir()
        except FileExistsError as error:
            if run._was_never_begun():
                return run.lock()
            if run.path.parent.is_dir():
                raise ConfigError(
                    "this run exists already, and a run is never overwritten",
                    where=str(run.path),
                    fix=f"continue it with `segtune train --resume {run.path}`, or choose another run.name=NAME",
                ) from error
            raise ConfigError("not a folder for runs", where=str(root), found="a file") from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise ConfigError(
                "a run cannot be made here",
                where=str(run.path),
                found=error.strerror or str(error),
                fix="choose a folder you can write to: run.root=FOLDER",
            ) from error
        run.lock()
        return run

    def _was_never_begun(self) -> bool:
        """Whether this is what a process leaves that is killed before it has written down what it will do."""
        if not self.path.is_dir() or (self.path / CONFIG).exists():
            return False
        return all(name in _BEFORE_CONFIG or name.endswith(".tmp") for name in os.listdir(self.path))

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Opens an existing run for reading; call `lock` before writing into it.

        Raises:
            CheckpointError: There is nothing, or it is not a run.
        """
        run = cls(path)
        if not run.path.exists():
            raise CheckpointError("no such run", where=str(path), fix=nearby(run.path))
        if not run.config.is_file():
            found = "a file" if run.path.is_file() else ", ".join(sorted(os.listdir(run.path))[:6]) or "an empty folder"
            raise CheckpointError(
                "not a run directory",
                where=str(path),
                expected=f"{CONFIG}, {METRICS} and {CHECKPOINTS}/, as `segtune train` leaves them",
                found=found,
                fix=nearby(run.path),
            )
        return run

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path.resolve().name

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / CONFIG

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / CHECKPOINTS

    def checkpoint(self, name: str) -> Path:
        """The folder that `last`, `best`, `stage-1-best` or `epoch-0003` means now; it never changes any more.

        Where there is no such checkpoint yet, the path at which it will be.
        """
        return pointers.resolve(self.path / CHECKPOINTS / name)

    def epoch_metrics(self, epoch: int) -> Path:
        """The file of one epoch's metrics; epochs count from 1."""
        return self.path / f"metrics_epoch_{epoch}.json"

    def predictions(self, data: str, split: str, mode: str) -> Path:
        """The predictions of one evaluation (JSON Lines)."""
        return self.path / PREDICTIONS / f"{_part(data)}_{_part(split)}_{mode}.jsonl"

    def scores(self, data: str, split: str, mode: str) -> Path:
        """The scores of one evaluation."""
        return self.path / f"eval_{_part(data)}_{_part(split)}_{mode}.json"

    def lock(self) -> Self:
        """Holds the directory for this process until `release` or its end; a second call does nothing.

        Raises:
            ConfigError: Another process holds it; the message names that process.
        """
        if self._handle is not None or not self.writes:
            return self
        handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "unknown"
            os.close(handle)
            raise ConfigError(
                "another process is writing into this run",
                where=str(self.path),
                found=f"process {holder}",
                fix="wait for it, or stop it",
            ) from error
        except OSError as error:
            # a file system without locks (some network mounts): better to train unguarded than not at all
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                os.close(handle)
                raise
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        _held.add(handle)
        self._handle = handle
        return self

    def release(self) -> None:
        """Gives the lock back; does nothing when it is not held."""
        handle, self._handle = self._handle, None
        if handle is not None and handle in _held:  # not in _held: inherited by a forked process and closed there
            _held.discard(handle)
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)

    def __enter__(self) -> Self:
        return self.lock()

    def __exit__(self, *exception: object) -> None:
        self.release()

    def write_text(self, name: str, text: str) -> Path:
        """Replaces a text file of the run in one step; returns its path."""
        if self.writes:
            files.write_text(self.path / name, text)
        return self.path / name

    def write_json(self, name: str, value: Any) -> Path:
        """Replaces a JSON file of the run in one step; returns its path. Values as in `files.write_json`."""
        if self.writes:
            files.write_json(self.path / name, value)
        return self.path / name

    def read_json(self, name: str) -> Any:
        """Reads a JSON file of the run; raises CheckpointError when it is missing or damaged."""
        return files.read_json(self.path / name)

    def append_jsonl(self, name: str, row: Mapping[str, Any]) -> None:
        """Appends one row to a JSON Lines file of the run."""
        if self.writes:
            files.append_jsonl(self.path / name, row)

    def write_jsonl(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Replaces a JSON Lines file of the run in one step (a resumed run drops the rows that it will redo)."""
        if self.writes:
            files.write_jsonl(self.path / name, rows)

    def read_jsonl(self, name: str) -> list[dict[str, Any]]:
        """Reads the rows of a JSON Lines file of the run; an empty list when there is no such file."""
        return files.read_jsonl(self.path / name) if (self.path / name).exists() else []


def _part(text: str) -> str:
    """One component of a file name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "data"


def nearby(path: Path) -> str:
    """What to do about a path that is no run: names the newest runs in it, beside it, or in `runs`."""
    for folder in (path, path.parent, Path("runs")):
        with contextlib.suppress(OSError):
            runs = [item for item in folder.iterdir() if (item / CONFIG).is_file()]
            if runs:
                newest = sorted(runs, key=lambda item: item.stat().st_mtime, reverse=True)[:3]
                return "runs there: " + ", ".join(str(item) for item in newest)
    return "start one with `segtune train RECIPE`"
