"""Commands in real processes in which something goes wrong while a batch is prepared.

Each command runs in a fork of a server that has imported the engine already, so that a case takes a second or two.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

import psutil

STAMP, OUT, ERR = "fault", "out.txt", "err.txt"
TIMEOUT = 120.0


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and where.

    Attributes:
        kind: A name of `ACTS`.
        samples: The class whose samples it concerns: `_TrainingSamples` or `_ScoredSamples`.
        epoch: In which epoch of training, from 0; None for any.
    """

    kind: str
    samples: str
    epoch: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code.
        seconds: From the fault to the end.
        out: Its standard output.
        err: Its standard error.
        left: Processes of its group that are still there.
    """

    code: int
    seconds: float
    out: str
    err: str
    left: list[psutil.Process]


def _vanish() -> None:
    for path in Path("data").rglob("*.*"):
        if path.suffix in (".jpg", ".png"):
            path.unlink(missing_ok=True)


def _raise(error: Exception) -> None:
    raise error


ACTS: dict[str, Callable[[], object]] = {
    "vanished": _vanish,
    "transform": lambda: _raise(ValueError("not a picture of this world")),
    "end of file": lambda: _raise(EOFError("Ran out of input")),
    "memory": lambda: _raise(MemoryError()),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(5),
}


def context() -> ForkServerContext:
    """The server that the commands are forked from."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["segtune.experiment.run", "segtune.experiment.scoring", "segtune.cli.main", __name__])
    return made


def command(arguments: Sequence[str], fault: Fault | None, place: Path, started_by: ForkServerContext) -> Ended:
    """Runs a command in a directory, with a fault, to its end."""
    process = started_by.Process(target=_run, args=(list(arguments), fault, str(place)))
    process.start()
    process.join(TIMEOUT)
    ended = time.time()
    hangs = process.is_alive()
    time.sleep(0.2)
    left = [one for one in psutil.process_iter() if one.pid != process.pid and _group(one) == process.pid]
    if hangs:
        os.killpg(process.pid, signal.SIGKILL)
    stamp = place / STAMP
    seconds = ended - stamp.stat().st_mtime if stamp.exists() else 0.0
    out, err = ((place / name).read_text() for name in (OUT, ERR))
    assert not hangs, f"hangs; so far it said: {err}"
    return Ended(process.exitcode or 0, seconds, out, err, left)


def _group(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid) if process.status() != psutil.STATUS_ZOMBIE else -1
    except (OSError, psutil.Error):
        return -1


def _run(arguments: list[str], fault: Fault | None, place: str) -> None:
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # as in a process of its own; that of the server is handed on
    os.chdir(place)
    for name, descriptor in ((OUT, 1), (ERR, 2)):
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(handle, descriptor)
        os.close(handle)
    if fault is not None:
        _install(fault)
    from segtune.cli.main import run

    sys.argv = ["segtune", *arguments]
    run()


def _install(fault: Fault) -> None:
    from segtune.data import loader
    from segtune.data.dense import loader as dense

    for module in (loader, dense):
        samples = getattr(module, fault.samples)
        samples.__getitem__ = _faulty(samples.__getitem__, fault)


def _faulty(own: Callable[..., object], fault: Fault) -> Callable[..., object]:
    def sample(self: object, key: object) -> object:
        if fault.epoch is None or (isinstance(key, tuple) and key[0] == fault.epoch):
            Path(STAMP).touch()
            ACTS[fault.kind]()
        return own(self, key)

    return sample
