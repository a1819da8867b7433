"""Nothing but regular files is opened: every reader of the package, with a FIFO that nobody writes to."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from segtune.core.errors import SegtuneError
from segtune.core.files import read_json, read_jsonl
from segtune.core.regular import open_regular, other_kind, read_regular
from segtune.core.yaml_files import load_mapping
from segtune.data.images import content_digest, open_image, verify_image
from segtune.data.index_png import read_index_png
from segtune.data.sources.annotations import read_annotation
from segtune.data.sources.classes import read_classes
from segtune.data.sources.coco_file import read_coco
from segtune.metrics.predictions import read_predictions

READERS = (
    read_json,
    read_jsonl,
    load_mapping,
    open_image,
    verify_image,
    content_digest,
    read_index_png,
    read_annotation,
    read_classes,
    read_coco,
    read_predictions,
)


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """A reader that waits is interrupted."""

    def late(*_: object) -> None:
        raise AssertionError("it waited")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "x.json")
    return tmp_path / "x.json"


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_every_reader_refuses_a_fifo(fifo, read):
    with pytest.raises(SegtuneError, match=r"x\.json") as caught:
        read(fifo)
    assert "FIFO" in caught.value.found


def test_what_is_no_regular_file_is_named(fifo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.json").symlink_to(fifo)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.json")
        kinds = {
            "x.json": "FIFO",
            "link.json": "FIFO",
            "socket.json": "socket",
            "/dev/null": "device",
            ".": "directory",
        }
        for path, kind in kinds.items():
            assert kind in other_kind(path)
            with pytest.raises(OSError, match=kind):
                open_regular(path)
    (tmp_path / "good").write_bytes(b"abc")
    assert other_kind("good") == ""
    assert read_regular("good") == b"abc"
    with pytest.raises(FileNotFoundError):
        read_regular("none")
