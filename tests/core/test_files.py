from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segtune.core import files
from segtune.core.errors import CheckpointError


def test_a_failed_write_leaves_the_old_file_and_nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"new": 2})
    assert files.read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_data_reaches_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), sync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("rename"), replace(self, to))[1])
    files.write_bytes(tmp_path / "a", b"x")
    assert order == ["fsync", "rename", "fsync"]


def test_json_is_strict(tmp_path: Path) -> None:
    value = {"a": float("nan"), "b": np.float32(0.5), "c": np.arange(2), "d": Path("x"), 3: (np.inf, True, np.bool_(0))}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == {
        "a": None,
        "b": 0.5,
        "c": [0, 1],
        "d": "x",
        "3": [None, True, False],
    }
    with pytest.raises(TypeError, match="object"):
        files.write_json(tmp_path / "b.json", {"x": object()})


def test_rows_survive_a_torn_last_row(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    files.append_jsonl(path, {"step": 1})
    files.append_jsonl(path, {"step": 2, "text": "é\nx"})
    with path.open("a") as file:
        file.write('{"step": 3, "lo' + "x" * 10_000)
    assert [row["step"] for row in files.read_jsonl(path)] == [1, 2]
    files.append_jsonl(path, {"step": 3})
    assert [row["step"] for row in files.read_jsonl(path)] == [1, 2, 3]
    files.write_jsonl(path, files.read_jsonl(path)[:1])
    assert path.read_text() == '{"step": 1}\n'


def test_a_torn_first_row_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"st')
    files.append_jsonl(path, {"step": 1})
    assert path.read_text() == '{"step": 1}\n'


def test_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "m.jsonl").write_text('{"a": 1}\nnonsense\n{"a": 2}\n')
    with pytest.raises(CheckpointError, match=r"a\.json"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(CheckpointError, match="cannot be read"):
        files.read_json(tmp_path / "b.json")
    with pytest.raises(CheckpointError, match="line 2"):
        files.read_jsonl(tmp_path / "m.jsonl")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_files_get_the_mode_that_the_umask_allows(tmp_path: Path, umask: int, mode: int) -> None:
    """safetensors writes files of mode 0600, which a group cannot read."""
    (tmp_path / "below").mkdir()
    written = [tmp_path / "a.safetensors", tmp_path / "below" / "b.safetensors"]
    others = tmp_path / "thesis.txt"
    for path in (*written, others):
        path.touch(0o600)
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.touch(0o600)
    (tmp_path / "link.safetensors").symlink_to(outside)
    old = os.umask(umask)
    try:
        files.apply_umask(tmp_path)
    finally:
        os.umask(old)
    assert [path.stat().st_mode & 0o777 for path in written] == [mode, mode]
    assert [path.stat().st_mode & 0o777 for path in (outside, others)] == [0o600, 0o600]


@pytest.mark.parametrize("write", [lambda path: files.write_text(path, "x"), lambda path: files.append_jsonl(path, {})])
def test_what_fails_while_writing_names_the_file(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match="Input/output") as caught:
        write(tmp_path / "a.json")
    assert caught.value.filename == str(tmp_path / "a.json")


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1, "a": 2}', b'{"a": {"b": 1, "b": 1}}', b'{"a": NaN}', b"[Infinity]", b"-Infinity", b"[" * 100_000,
        b"9" * 5000, b'"\xff"', b"\xef\xbb\xbf{}", b"", b"{'a': 1}", b'{"a": 1} x', b'{"a": 01}',
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_json_is_one_message(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.json: not a JSON file") as caught:
        files.read_json(tmp_path / "a.json")
    assert len(str(caught.value)) < 1000
    (tmp_path / "a.jsonl").write_bytes(content + b"\n")
    with pytest.raises(CheckpointError, match="line 1"):
        files.read_jsonl(tmp_path / "a.jsonl")


def test_temporaries_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "below").mkdir()
    gone = [f".a.json.{ended.pid}.tmp", f"below/.b.{ended.pid}.tmp", f".c.{10**30}.tmp"]
    kept = [f".a.json.{os.getppid()}.tmp", "a.5.tmp", ".hidden", ".a.x.tmp"]
    for name in (*gone, *kept):
        (tmp_path / name).write_text("")
    (tmp_path / f".last.{ended.pid}.tmp").symlink_to("below")
    files.remove_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "below"])
    assert os.listdir(tmp_path / "below") == []
