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

from segtune.core.errors import CheckpointError


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
    except BaseException:
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


def share_by_umask(*folders: Path) -> None:
    """Gives the weights in folders the mode that the umask gives every new file; safetensors writes them as 0600.

    Args:
        folders: Their `*.safetensors`, not those of folders below, which may be anybody's.
    """
    probe = folders[0] / f".mode.{os.getpid()}.tmp"  # the umask itself can only be read by changing it, for all threads
    handle = os.open(probe, os.O_CREAT | os.O_WRONLY, 0o666)
    try:
        mode = os.fstat(handle).st_mode & 0o777
    finally:
        os.close(handle)
        probe.unlink()
    for path in (path for folder in folders for path in folder.glob("*.safetensors")):
        path.chmod(mode)


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
        CheckpointError: It is missing, unreadable or not JSON.
    """
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError("cannot be read", where=str(path), found=error.strerror or str(error)) from error
    except ValueError as error:
        raise CheckpointError("not a JSON file", where=str(path), found=str(error)[:200]) from error


def parse_json(text: str) -> Any:
    """Parses JSON as RFC 8259 has it: no NaN, no infinity, and no key twice in one object.

    Raises:
        ValueError: It is something else, or nested too deeply to be read.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_twins, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def append_jsonl(path: Path | str, row: Mapping[str, Any]) -> None:
    """Appends one row to a JSON Lines file, after cutting off a row that a crash had torn."""
    rest = (json.dumps(jsonable(row), ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        _cut_torn_row(handle)
        while rest:  # one write, unless the disk is nearly full
            rest = rest[os.write(handle, rest) :]
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
        content = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError("cannot be read", where=str(path), found=error.strerror or str(error)) from error
    rows = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            rows.append(parse_json(line.decode("utf-8")))
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
