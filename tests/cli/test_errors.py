"""Whatever goes wrong in a command becomes one message and the documented exit code."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from segtune.cli.main import main
from segtune.core.errors import CheckpointError, ConfigError, DataError, Interrupted, SegtuneError, Unprepared


def _fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def check(dataset: str) -> None:
        raise error

    monkeypatch.setattr("segtune.data.check.check_dataset", check)


def _wrapped() -> Exception:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "runs/a/last")
        except OSError as inner:
            raise RuntimeError("could not save") from inner
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (SegtuneError("failed"), 1, "error: failed\n"),
        (ConfigError("bad", where="a.yaml", fix="mend it"), 2, "error: a.yaml: bad\n  fix: mend it\n"),
        (DataError("bad"), 3, "error: bad\n"),
        (CheckpointError("bad"), 3, "error: bad\n"),
        (Interrupted("saved", signal_number=15), 143, "error: saved\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (_wrapped(), 1, "error: the disk is full (writing runs/a/last)\n  fix: "),
        (RuntimeError("Error: No space left on device (os error 28)"), 1, "error: the disk is full\n  fix: "),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "error: /x: Permission denied\n  fix: "),
        (MemoryError(), 1, "error: out of memory\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "error: the connection was closed by the other side\n  fix: "),
        (EOFError("Ran out of input"), 1, "error: internal error: EOFError: Ran out of input\n"),
        (OSError(errno.EROFS, "Read-only", "runs"), 1, "error: runs: the file system is read-only\n  fix: choose"),
        (
            OSError(errno.EIO, "Input/output error", "a"),
            1,
            "error: a: the drive reported an error (",
        ),
        (OSError(errno.ESTALE, "Stale", b"a\xff"), 1, "error: a\\udcff: the network drive no longer knows this file"),
        (OSError(errno.EMFILE, "Too many"), 1, "error: too many open files\n  fix: raise the limit with `ulimit -n"),
        (
            OSError(errno.ENAMETOOLONG, "long", "x" * 9),
            1,
            "error: xxxxxxxxx: the name is too long",
        ),
        (OSError(errno.EROFS, "Read-only", "a/.b.json.17.tmp"), 1, "error: a/b.json: the file system is read-only\n"),
        (OSError(errno.ELOOP, "loop", "a"), 1, "error: a: symbolic links here point to each other\n"),
        (OSError(errno.EXDEV, "Cross-device link", "a", None, "b"), 1, "error: b: Cross-device link\n  fix: "),
        (RuntimeError("Read-only file system (os error 30)"), 1, "error: the file system is read-only\n  fix: "),
    ],
)
def test_messages_and_codes(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _fail_with(monkeypatch, error)
    assert main(["data", "check", "photos"]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not captured.out


CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
)
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
WORKER = f"Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n{CPU}\n"


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (RuntimeError(CPU), CPU),
        (RuntimeError(CUBLAS), CUBLAS),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors"), "CUDA error: out of memory"),
        (RuntimeError(WORKER), CPU),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "[Errno 12] Cannot allocate memory"),
    ],
)
@pytest.mark.parametrize(
    ("command", "module", "keys"),
    [
        (
            ["train", "quickstart"],
            "segtune.experiment.train",
            ("train.batch_size", "train.gradient_checkpointing=all", "data.queries_per_image=1"),
        ),
        (["evaluate", "segtune/tiny", "--data", "photos"], "segtune.experiment.evaluate", ("--batch-size 1",)),
    ],
)
def test_lack_of_memory_is_no_bug(
    error: Exception,
    found: str,
    command: list[str],
    module: str,
    keys: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(module, fail)
    assert main(command) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: out of memory\n  found: {found}\n  fix: ")
    assert all(key in message for key in keys)


def test_what_a_cpu_says_is_understood(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The words are PyTorch's own: another version may choose others."""
    import torch

    monkeypatch.setattr("segtune.data.check.check_dataset", lambda dataset: torch.empty(1 << 55))
    assert main(["data", "check", "photos"]) == 1
    assert capsys.readouterr().err.startswith("error: out of memory\n")


def test_a_bug_leaves_its_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _fail_with(monkeypatch, ValueError("a bug\nwith two lines"))
    assert main(["data", "check", "photos"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: internal error: ValueError: a bug\n")
    assert "Traceback" not in message
    path = re.search(r"(\S+\.log)", message)
    assert path
    text = Path(path[1]).read_text()
    assert "Traceback" in text
    assert "with two lines" in text


BROKEN = """
def __getattr__(name):
    raise RuntimeError("operator torchvision::nms does not exist")
raise RuntimeError("operator torchvision::nms does not exist")
"""


def test_a_broken_torchvision_is_told_with_its_cure(tmp_path: Path) -> None:
    """transformers says "Could not import module 'BloomPreTrainedModel'", and what to do it does not say."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(BROKEN)
    about = tmp_path / "torchvision-0.20.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.20.0\n")
    Image.new("RGB", (20, 20)).save(tmp_path / "photo.png")
    source = str(Path(__file__).resolve().parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{source}", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "segtune", "predict", "segtune/tiny", "photo.png", "a disc"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    message = done.stderr.partition("error: ")[2]
    assert message.startswith("the torchvision of this machine does not fit its torch"), done.stderr
    assert "-m pip uninstall torchvision" in message
    assert "bug of segtune" not in message


class Speechless(Exception):
    """An exception that fails when it is asked for its words."""

    def __str__(self) -> str:
        raise ValueError("nothing to say")


@pytest.mark.parametrize("error", [ValueError("a \udce9"), Speechless(), ValueError("")])
@pytest.mark.parametrize("argument", ["photos", "caf\udce9", "zero\0byte"])
def test_the_report_of_a_bug_never_fails_itself(
    error: Exception, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["segtune", "data", "check", argument])
    _fail_with(monkeypatch, error)
    assert main(["data", "check", "photos"]) == 1
    assert capsys.readouterr().err.startswith(f"error: internal error: {type(error).__name__}: ")
    assert "Traceback" in next(tmp_path.glob("*.log")).read_text() or isinstance(error, Speechless)


def test_a_bug_is_told_where_no_file_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    _fail_with(monkeypatch, ValueError("a bug"))
    assert main(["data", "check", "photos"]) == 1
    assert "error: internal error: ValueError: a bug\n" in capsys.readouterr().err


def test_a_sample_that_nobody_foresaw_is_bad_data_with_details(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    error = Unprepared("this sample cannot be prepared", where="a", found="ValueError: odd")
    error.__cause__ = ValueError("odd")
    _fail_with(monkeypatch, error)
    assert main(["data", "check", "photos"]) == 3
    message = capsys.readouterr().err
    assert message.startswith("error: a: this sample cannot be prepared\n  found: ValueError: odd\n  details: ")
    assert "ValueError: odd" in Path(message.rpartition("details: ")[2].strip()).read_text()


def test_an_error_of_the_system_in_the_past_does_not_hide_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bug = ValueError("a bug")
    bug.__context__ = OSError(errno.ENOENT, "No such file", "cache")
    _fail_with(monkeypatch, bug)
    assert main(["data", "check", "photos"]) == 1
    assert "internal error: ValueError: a bug" in capsys.readouterr().err
