"""What a person is told of an exception that no check has foreseen: one message and an exit code, never a traceback.

The table of the operating system's errors is `core.os_errors`; what is left is a bug of ours, and its traceback goes
into a file.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import segtune
from segtune.core.environment import blames_torchvision
from segtune.core.errors import SegtuneError, Unprepared
from segtune.core.os_errors import FULL, TABLE, number_of, text_of, words_for
from segtune.core.visible import visible

LOST = "another process of this run has ended or no longer answers; what it or the launcher has said tells why"
"""What is told where a connection is lost and nothing more is known."""

_LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "DistBackendError",
    "Timed out waiting",
    "gloo/transport/tcp/pair.cc",  # whatever the system says of the connection, "Broken pipe" for example
)
"""What PyTorch says when another process has ended in the middle of a common operation."""

_NO_MEMORY = (
    "DefaultCPUAllocator: ",  # "can't allocate memory", "not enough memory": a RuntimeError like any other
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUSPARSE_STATUS_INSUFFICIENT_RESOURCES",
)
"""What PyTorch says where memory is lacking and the type of its error does not tell."""

_LESS_MEMORY = {
    "train": "begin a new run with train.batch_size=1 and a larger train.accumulate, "
    "train.gradient_checkpointing=all or data.queries_per_image=1, "
    "and with eval.batch_size=1 where it fails while scoring; a resume keeps the settings of its run",
    "evaluate": "add --batch-size 1",
}
"""What needs less memory, by command."""

_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")


class Failure(NamedTuple):
    """What is told, and the exit code."""

    message: str
    exit_code: int = 1


def unexpected(error: BaseException, arguments: Sequence[str]) -> Failure:
    """What a person is told of an exception.

    Args:
        error: Any but those of `core.errors`.
        arguments: Of the command line, for advice that depends on the command.
    """
    chain = list(_chain(error))
    if any(number_of(one) in FULL for one in chain) or any("No space left on device" in text_of(one) for one in chain):
        place = next((_place(one) for one in chain if _place(one)), "")
        return Failure(
            "the disk is full"
            + (f" (writing {place})" if place else "")
            + "\n  fix: free some space, then continue with `segtune train --resume RUN`; "
            "old runs and checkpoints/step-* folders are the largest files, and run.root=FOLDER chooses another disk"
        )
    if (lacking := next((found for one in chain if (found := _lacking_memory(one))), None)) is not None:
        command = arguments[0] if arguments else ""
        fix = _LESS_MEMORY.get(command, "end other programs, or take a smaller image or model")
        return Failure(f"out of memory\n  found: {lacking}\n  fix: {fix}")
    if (broken := next((text_of(one) for one in reversed(chain) if blames_torchvision(one)), None)) is not None:
        return Failure(
            "the torchvision of this machine does not fit its torch, and transformers cannot be imported beside it\n"
            f"  found: {broken.splitlines()[0]}\n"
            f"  fix: {sys.executable} -m pip uninstall torchvision (segtune needs none)"
        )
    if "RANK" in os.environ and is_lost(error):
        return Failure(LOST)
    if (told := _of_the_system(error)) is not None:
        return told
    return _internal(error)


def is_lost(error: BaseException) -> bool:
    """Whether an exception of one of several processes says that the connection to another one is lost."""
    return any(sign in f"{type(error).__name__}: {text_of(error)}" for sign in _LOST)


def details_of(error: SegtuneError) -> str:
    """A last line for an error whose cause nobody has foreseen: the file with the traceback."""
    if not isinstance(error, Unprepared):
        return ""
    path = _write_details(error)
    return "" if path is None else f"\n  details: {path}"


def _of_the_system(error: BaseException) -> Failure | None:
    """What the operating system says, where that is what the exception or its declared cause is about."""
    one: BaseException | None = error
    while one is not None:
        number = number_of(one)
        if number is not None and (number in TABLE or _place(one)):
            words, advice = words_for(one)
            place = _place(one)
            return Failure(f"{place}: {words}\n  fix: {advice}" if place else f"{words}\n  fix: {advice}")
        one = one.__cause__
    return None


def _place(error: BaseException) -> str:
    """The file that an error of the system names; that of a rename is where it should have gone."""
    if not isinstance(error, OSError):
        return ""
    name = error.filename2 if error.filename2 is not None else error.filename
    if name is None or isinstance(name, int):
        return ""
    path = os.fsdecode(name)
    folder, own = os.path.split(path)
    written = _TEMPORARY.fullmatch(own)  # what `core.files` writes beside the file that a person knows
    return os.path.join(folder, written[1]) if written else path


def _lacking_memory(error: BaseException) -> str:
    """The line in which an error tells that memory is lacking; empty where it tells something else."""
    lines = text_of(error).splitlines()
    if (
        type(error).__name__ == "OutOfMemoryError"
        or isinstance(error, MemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
    ):
        return lines[0] if lines else "not enough memory"
    return next((line for line in lines if any(sign in line for sign in _NO_MEMORY)), "")


def _internal(error: BaseException) -> Failure:
    summary = f"{type(error).__name__}: {text_of(error)}".splitlines()[0][:200]
    path = _write_details(error)
    if path is None:
        return Failure(f"internal error: {summary}")
    return Failure(f"internal error: {summary}\n  this is a bug of segtune; the details are in {path}")


def _write_details(error: BaseException) -> Path | None:
    """Writes the traceback and the command into a file; where there is no place for one, to standard error.

    The command may hold what no encoding can (bytes that are no text), and the exception may raise another when it is
    asked for its words: nothing here may fail.
    """
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:
        text = "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
    about = f"segtune {segtune.__version__}, Python {sys.version}\n{visible(' '.join(sys.argv))}\n\n"
    try:
        name = f"segtune-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        path = Path(tempfile.gettempdir()) / name
        path.write_text(about + text, encoding="utf-8", errors="backslashreplace")
    except (OSError, ValueError):  # a name with a zero byte is a ValueError
        print(visible(text).encode("ascii", "backslashreplace").decode(), file=sys.stderr)
        return None
    return path


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
