"""Names that point to checkpoints, which of these stay, and what is read while others write."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from segtune.core import pointers
from segtune.core.errors import CheckpointError
from segtune.engine.checkpoint import open_checkpoint, save_checkpoint
from segtune.engine.checkpoint_files import MANIFEST, OPTIMIZER, STATE, TRAINED
from segtune.engine.checkpoint_names import find_checkpoint, read_again
from segtune.engine.checkpoint_store import (
    LAST,
    UNVALIDATED,
    WEIGHTS,
    CheckpointStore,
    clean_leftovers,
    open_newest,
    present,
    resumable,
)


class Small(nn.Module):
    """A parameter of the component `class_head`."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.class_head = nn.Linear(3, 2)
        nn.init.constant_(self.class_head.weight, value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "checkpoints"


def _resumable(store: CheckpointStore, step: int, kind: str = "", **about: object) -> Path:
    place = store.place(step, kind)
    save_checkpoint(
        place, Small(step), {"epoch": step // 2, "step": step, "names": store.names(), **about},
        optimizer={"a|exp_avg": torch.ones(3)}, state={"step": step},
    )  # fmt: skip
    store.point(LAST, place)
    store.tidy()
    return place


def _weights(store: CheckpointStore, step: int, *names: str) -> Path:
    place = store.place(step, WEIGHTS)
    save_checkpoint(place, Small(step), {"epoch": step // 2, "step": step})
    for name in names:
        store.point(name, place)
    return place


def _directories(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("step-"))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_the_newest_steps_stay_and_what_names_mean(folder: Path) -> None:
    store = CheckpointStore(folder, 2)
    _weights(store, 1, "best")
    for step in (1, 2, 3, 4):
        _resumable(store, step)
    assert _directories(folder) == ["step-00000001-weights", "step-00000003", "step-00000004"]
    assert open_checkpoint(folder / LAST).about["step"] == 4
    assert os.readlink(folder / LAST) == "step-00000004"
    assert {name: path.name for name, path in present(folder).items()} == {
        "best": "step-00000001-weights", "last": "step-00000004",
    }  # fmt: skip


@pytest.mark.parametrize("limit", [1, 3])
def test_as_many_steps_stay_as_are_wanted(limit: int, folder: Path) -> None:
    store = CheckpointStore(folder, limit)
    for step in range(6):
        _resumable(store, step, UNVALIDATED)
        _resumable(store, step)
    assert [path.name for path in resumable(folder)] == [f"step-{step:08}" for step in range(5, 5 - limit, -1)]


def test_weights_stay_as_long_as_a_resume_may_need_them(folder: Path) -> None:
    """From the step before, `best` is what it was then."""
    store = CheckpointStore(folder, 2)
    for step in (2, 4, 6):
        _weights(store, step, "best", f"epoch-{step // 2:04}")
        store.keep_epochs(1)
        _resumable(store, step)
    assert _directories(folder) == [
        "step-00000004", "step-00000004-weights", "step-00000006", "step-00000006-weights",
    ]  # fmt: skip
    _flip(folder / "step-00000006" / OPTIMIZER)
    checkpoint, passed = open_newest(folder)
    store.restore(checkpoint)
    assert len(passed) == 1
    assert {name: path.name for name, path in present(folder).items()} == {
        "best": "step-00000004-weights", "epoch-0002": "step-00000004-weights", "last": "step-00000004",
    }  # fmt: skip
    again = _resumable(store, 6)  # the run has come to the same step once more
    assert again.name == "step-00000006-2"
    assert "step-00000006" not in _directories(folder)
    assert [path.name for path in resumable(folder)] == ["step-00000006-2", "step-00000004"]


@pytest.mark.parametrize("file", [OPTIMIZER, STATE, TRAINED, MANIFEST])
@pytest.mark.parametrize("damage", ["missing", "changed", "cut"])
def test_a_damaged_newest_falls_back_to_the_one_before(file: str, damage: str, folder: Path) -> None:
    store = CheckpointStore(folder, 2)
    _resumable(store, 1)
    path = _resumable(store, 2) / file
    if damage == "missing":
        path.unlink()
    elif damage == "changed":
        _flip(path)
    else:
        path.write_bytes(path.read_bytes()[:9])
    checkpoint, passed = open_newest(folder)
    assert checkpoint.about["step"] == 1
    assert len(passed) == 1
    assert file in passed[0]


def test_without_a_whole_one_only_what_is_left_is_named(folder: Path) -> None:
    store = CheckpointStore(folder, 2)
    _weights(store, 1, "best")
    for step in (1, 2):
        _flip(_resumable(store, step) / OPTIMIZER)
    with pytest.raises(CheckpointError) as caught:
        open_newest(folder)
    assert caught.value.where.endswith(f"step-00000002/{OPTIMIZER}")
    assert "RUN@best" in caught.value.fix
    assert "RUN@last" not in str(caught.value)
    _flip(folder / "best" / TRAINED)
    with pytest.raises(CheckpointError) as caught:
        open_newest(folder)
    assert "RUN@" not in str(caught.value)


def test_a_damaged_model_names_the_whole_ones_of_its_run(folder: Path) -> None:
    store = CheckpointStore(folder, 2)
    _weights(store, 1, "best")
    _weights(store, 2, "stage-1-best")
    _flip(_resumable(store, 2) / TRAINED)
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(f"{folder.parent}@last")
    assert "(RUN@best, RUN@stage-1-best)" in caught.value.fix


@pytest.mark.parametrize("pointer", ["link", "file"])
def test_pointers_without_links_are_files(pointer: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if pointer == "file":
        monkeypatch.setattr(os, "symlink", refuse)
    store = CheckpointStore(folder, 2)
    for step in (1, 2, 3):
        _resumable(store, step)
    assert (folder / LAST).is_symlink() == (pointer == "link")
    assert open_checkpoint(folder / LAST).about["step"] == 3
    assert find_checkpoint(f"{folder.parent}@last").about["step"] == 3
    assert find_checkpoint(str(folder / LAST)).about["step"] == 3
    assert find_checkpoint(f"{folder.parent}@step-00000002").about["step"] == 2
    assert _directories(folder) == ["step-00000002", "step-00000003"]
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_folder_of_an_older_version_gives_way_to_a_pointer(folder: Path) -> None:
    save_checkpoint(folder / LAST, Small(), {"step": 1}, optimizer={"a": torch.ones(1)}, state={"step": 1})
    save_checkpoint(folder / "best", Small(), {"step": 1})
    assert sorted(present(folder)) == ["best", LAST]
    checkpoint, _ = open_newest(folder)
    store = CheckpointStore(folder, 2)
    store.restore(checkpoint)
    assert (folder / LAST).is_dir()
    _resumable(store, 2)
    assert (folder / LAST).is_symlink()
    assert open_checkpoint(folder / LAST).about["step"] == 2
    assert open_checkpoint(folder / "best").about["step"] == 1


def test_a_link_to_another_disk_is_read_and_replaced(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    save_checkpoint(elsewhere, Small(), {"step": 1}, optimizer={"a": torch.ones(1)}, state={"step": 1})
    folder.mkdir(parents=True)
    (folder / LAST).symlink_to(elsewhere)
    assert open_newest(folder)[0].about["step"] == 1
    _resumable(CheckpointStore(folder, 2), 2)
    assert open_checkpoint(folder / LAST).about["step"] == 2
    assert open_checkpoint(elsewhere).about["step"] == 1


def test_leftovers_of_a_killed_process_are_cleaned(folder: Path) -> None:
    save_checkpoint(folder / LAST, Small(), {"step": 1})
    (folder / ".writing-last-123").mkdir()
    (folder / ".writing-last-123" / TRAINED).write_bytes(b"half")
    (folder / ".removing-step-00000001-5").mkdir()
    (folder / LAST).rename(folder / ".replaced-last")  # an older version, killed between two renames
    assert find_checkpoint(str(folder.parent)).about["step"] == 1  # reading disturbs no writer
    assert len(list(folder.iterdir())) == 3
    clean_leftovers(folder)
    assert [path.name for path in folder.iterdir()] == [LAST]
    (folder / ".replaced-last").mkdir()  # killed before the old one was removed
    clean_leftovers(folder)
    assert [path.name for path in folder.iterdir()] == [LAST]


@pytest.mark.parametrize("call", ["rename", "symlink", "replace"])
def test_a_failed_call_loses_nothing(call: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(folder, 1)
    _resumable(store, 1)

    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "rename") if call == "rename" else (os, call)), fail)
        with pytest.raises(OSError, match="Input/output"):
            _resumable(store, 2)
    clean_leftovers(folder)
    assert open_checkpoint(folder / LAST).about["step"] == 1
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_reader_never_finds_half_a_checkpoint(folder: Path) -> None:
    """The writer replaces `best` as fast as it can; every read is of one whole checkpoint."""
    store = CheckpointStore(folder, 1)
    _weights(store, 0, "best")
    stop, seen = threading.Event(), set()

    def write() -> None:
        step = 0
        while not stop.is_set():
            step += 1
            _weights(store, step, "best")
            store.tidy()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(150):
            checkpoint = find_checkpoint(str(folder.parent))

            def read(name: str, found: object) -> tuple[int, float]:
                weights = torch.as_tensor(_load(found.path)["class_head.weight"])
                return found.about["step"], float(weights.flatten()[0])

            step, value = read_again(str(folder.parent), checkpoint, read)
            assert step == value
            seen.add(step)
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 1


def _load(path: Path) -> dict:
    from segtune.engine.checkpoint_files import read_tensors

    return read_tensors(path / TRAINED)


def test_names_that_a_checkpoint_may_not_mean_are_refused(folder: Path) -> None:
    store = CheckpointStore(folder, 2)
    for names in ({"best": "../other"}, {"best": "last"}, {"../x": "step-00000001-weights"}):
        place = _resumable(store, 1, names=names)
        with pytest.raises(CheckpointError, match="names"):
            open_newest(folder)
        shutil.rmtree(place)


def test_a_pointer_file_that_points_nowhere_is_none(folder: Path) -> None:
    folder.mkdir(parents=True)
    for text in ("../../etc\n", "", "x" * 400, "a\nb\n"):
        (folder / LAST).write_text(text)
        assert pointers.resolve(folder / LAST) == folder / LAST
    (folder / LAST).write_bytes(b"\xff\xfe")
    assert pointers.resolve(folder / LAST) == folder / LAST
    assert json.dumps(sorted(present(folder))) == "[]"
