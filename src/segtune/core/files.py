"""Files that are either written completely or not at all, and JSON that any program can read.

A file is written beside its final name, flushed to the disk and renamed, so that a crash or a full disk leaves the
old one. Rows of a log are appended by a single write; a row torn by a crash is cut off by the next one.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from segtune.core import strict_json
from segtune.core.errors import CheckpointError
from segtune.core.regular import read_regular
from segtune.core.text import require_texts_in


def write_bytes(path: Path | str, data: bytes) -> None:
    """Replaces a file in one step, or leaves it as it was.

    Args:
        path: The file; missing folders above it are made.
        data: The whole content.

    Raises:
        OSError: No space, no permission; the file is then untouched and nothing is left beside it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary(path)
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:  # writing names no file, only opening does
            error.filename = str(path)
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    sync_directory(path.parent)


def temporary(path: Path) -> Path:
    """The name beside `path` under which this process writes what will take its place."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")


def remove_temporaries(folder: Path | str) -> None:
    """Removes what killed processes left of `write_bytes` anywhere below a folder.

    Files of processes that still run stay: somebody may be scoring the run. On a shared file system such a process may
    run on another machine and then fails to rename its file; that is rare, told, and loses nothing.
    """
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):  # a link to a folder is among the folders
            found = _TEMPORARY.fullmatch(name)
            if found is not None and not _runs(int(found[1])):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(place, name))


def _runs(process: int) -> bool:
    """Whether another process of this number runs here; the caller itself is not in the middle of writing."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it runs and belongs to somebody else
        return True
    return True


def write_text(path: Path | str, text: str) -> None:
    """Replaces a UTF-8 text file in one step; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Replaces a JSON file in one step.

    Args:
        path: The file.
        value: Plain data; NumPy scalars and arrays become numbers and lists, paths text, NaN and infinity null.
    """
    write_text(path, json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Reads a JSON file that this package has written.

    Raises:
        CheckpointError: It is missing, unreadable, not JSON, or holds a text that UTF-8 cannot hold.
    """
    try:
        return parse_json(read_regular(path).decode("utf-8"), str(path))
    except OSError as error:
        raise CheckpointError("cannot be read", where=str(path), found=error.strerror or str(error)) from error
    except ValueError as error:
        raise CheckpointError("not a JSON file", where=str(path), found=str(error)[:200]) from error


def parse_json(text: str, where: str = "") -> Any:
    """Parses JSON that this package has written, as RFC 8259 has it: no NaN, no infinity, no key twice in one object.

    Args:
        text: The JSON.
        where: The file, for the message.

    Raises:
        ValueError: It is something else, or nested too deeply to be read.
        CheckpointError: It holds half of a character (an escape of a lone surrogate), which could never be written.
    """
    try:
        value = strict_json.loads(text, constants=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\ud" in text or "\\uD" in text:
        require_texts_in(value, where, error=CheckpointError, controls=True)
    return value


def append_jsonl(path: Path | str, row: Mapping[str, Any]) -> None:
    """Appends one row to a JSON Lines file, after cutting off a row that a crash had torn."""
    rest = (json.dumps(jsonable(row), ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        _cut_torn_row(handle)
        while rest:  # one write, unless the disk is nearly full
            rest = rest[os.write(handle, rest) :]
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        os.close(handle)


def write_jsonl(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replaces a JSON Lines file in one step; values as in `write_json`."""
    lines = (json.dumps(jsonable(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_text(path, "".join(lines))


def cut_torn_row(path: Path | str) -> None:
    """Cuts off a last row without its line end, which a crash had torn; call it where nobody else writes."""
    handle = os.open(path, os.O_RDWR)
    try:
        _cut_torn_row(handle)
    finally:
        os.close(handle)


def read_jsonl(path: Path | str) -> list[dict[str, Any]]:
    """Reads the rows of a JSON Lines file; a last row without its line end (torn by a crash) is left out.

    Raises:
        CheckpointError: It is missing or unreadable, or a whole row is not JSON; the message has the line.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise CheckpointError("cannot be read", where=str(path), found=error.strerror or str(error)) from error
    rows = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            rows.append(parse_json(line.decode("utf-8"), f"{path}, line {number}"))
        except ValueError as error:
            found = line[:80].decode("utf-8", "replace")
            raise CheckpointError("not a row of JSON", where=f"{path}, line {number}", found=found) from error
    return rows


def jsonable(value: Any) -> Any:
    """The value as plain JSON data: NumPy numbers and arrays, paths, tuples and sets converted, NaN and infinity null.

    Raises:
        TypeError: Something else, named by its type.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(child) for key, child in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(child) for child in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def sync_directory(path: Path | str) -> None:
    """Flushes a folder, so that a rename in it survives a power cut; file systems that cannot are left alone."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def apply_umask(path: Path | str) -> None:
    """Gives a file the mode that the umask allows (0644 with the usual 022).

    safetensors makes its files readable by their owner alone, whatever the umask says.

    Args:
        path: A file that this process has written, or a folder: then all `*.safetensors` below it. Links are left
            alone.

    Raises:
        OSError: It is not there, or belongs to somebody else.
    """
    path = Path(path)
    mode = 0o666 & ~_umask()
    for file in path.rglob("*.safetensors") if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink():
            file.chmod(mode)


def _umask() -> int:
    """The umask of this process. `os.umask` can only be asked by setting it, which other threads would notice."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    old = os.umask(0o077)
    os.umask(old)
    return old


def _cut_torn_row(handle: int) -> None:
    end = os.lseek(handle, 0, os.SEEK_END)
    keep = end
    while keep > 0:
        start = max(0, keep - 4096)
        block = os.pread(handle, keep - start, start)
        newline = block.rfind(b"\n")
        if newline >= 0:
            keep = start + newline + 1
            break
        keep = start
    if keep < end:
        os.ftruncate(handle, keep)
