"""The processes of one training on this machine, started by the command itself.

The process that a person has started is the first of them: its output, its exit code and Ctrl-C stay what they are for
a process that is alone. The others run the same command with the variables that torchrun would set. (torchrun itself
ends with 1 whatever has happened, and prints a summary of its own.)
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NoReturn

from segtune.cli.failures import LOST, is_lost
from segtune.core.environment import process_rank
from segtune.core.errors import Elsewhere, Interrupted, SegtuneError
from segtune.core.visible import visible
from segtune.engine.config import TrainConfig, share_of_step

PARENT = "SEGTUNE_PARENT"
"""The environment variable that tells a started process who has started it."""

_PATIENCE = "SEGTUNE_PARENT_TIMEOUT"
"""The environment variable that tells a started process after how many seconds a stopped first one is given up."""

_led = False
"""Whether `companions` of another process has started this one."""

_LOOK = 0.2
"""Seconds between two looks of the first process at the others."""

_LOOK_AT_FIRST = 0.5
"""Seconds between two looks of another process at the first one."""

_ENDS_WITHIN = 10.0
"""Seconds in which a process ends whose connections are lost."""

_TELLS_WITHIN = 20.0
"""Seconds in which the first process notices by itself that another one has failed, and tells why."""

_LEAVES_WITHIN = {True: 60.0, False: 3.0}
"""Seconds that another process gets to leave, by whether the first one is done (else it has failed)."""


def wanted_processes(wanted: int | Literal["auto"], train: TrainConfig) -> int:
    """How many processes a run gets on this machine.

    Args:
        wanted: `run.num_processes`.
        train: Says how many images a step has, of which each process takes an equal share.

    Returns:
        What is wanted; for `auto` the largest number that can share a step and does not exceed the GPUs of this machine
        or, where there is none, the CPU cores that this process may use.
    """
    if wanted != "auto":
        return wanted
    import torch  # takes seconds, and they are needed for training anyhow

    gpu = torch.accelerator.current_accelerator(check_available=True)
    most = torch.accelerator.device_count() if gpu is not None else usable_cores()
    return max(count for count in range(1, max(1, most) + 1) if share_of_step(train, count) is not None)


def usable_cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def companions(count: int, arguments: Sequence[str], timeout: float = 600.0) -> Iterator[None]:
    """Starts the other processes of a run and makes this one the first of them, until the block ends.

    A process that is already one of several (a launcher has started it) and one that is to be alone start nothing.
    A lost connection says only that another process has ended. The first one, which sees how, tells it.

    Args:
        count: Processes in all.
        arguments: What stands after `segtune` in the command line of the others.
        timeout: `run.ddp_timeout`: the seconds after which a process that is stopped (SIGSTOP) is given up.

    Raises:
        Elsewhere: The connection was lost, and another process tells why.
        Interrupted: The connection was lost because a signal has stopped another process.
        SegtuneError: The connection was lost because another process was killed, or for a reason that is not known.
    """
    if count == 1 or "WORLD_SIZE" in os.environ:
        try:
            yield
        except Exception as error:
            if _led and is_lost(error):
                raise Elsewhere(LOST, 1) from error
            raise
        return
    common = {
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()),
        # Accelerate would set it too, with a warning
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // count))),
    }  # fmt: skip
    before, others, done = dict(os.environ), list[subprocess.Popen[bytes]](), threading.Event()
    try:
        for rank in range(1, count):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), PARENT: str(os.getpid()), _PATIENCE: str(timeout)}
            command = [sys.executable, "-m", "segtune", *arguments]
            others.append(subprocess.Popen(command, env={**before, **common, **own}, stdin=subprocess.DEVNULL))
        os.environ.update({**common, "RANK": "0", "LOCAL_RANK": "0"})
        threading.Thread(target=_watch, args=(others, done, timeout), daemon=True).start()
        yield
        _part(others, done, succeeded=True)
    except Exception as error:
        if is_lost(error) and not isinstance(error, SegtuneError):
            raise _why_lost(others) from error
        raise
    finally:
        _part(others, done, succeeded=False)
        for name in (*common, "RANK", "LOCAL_RANK"):
            os.environ.pop(name, None)
        os.environ.update(before)


def end_with_parent() -> None:
    """Ends this process, where `companions` has started it, when the one that has started it is gone or given up."""
    global _led
    if PARENT in os.environ:
        _led = True
        known = int(os.environ.pop(PARENT)), float(os.environ.pop(_PATIENCE, "inf"))
        threading.Thread(target=_end_without, args=known, daemon=True).start()


def leave_after_first(seconds: float) -> None:
    """Waits, in a process that tells nothing of a failure, while the first one tells it and leaves.

    Where `companions` has started this process, the first one ends it: if one ends by itself with an exit code up to
    128, it has told why.

    Args:
        seconds: To wait where a launcher has started all processes.
    """
    while True:
        with suppress(KeyboardInterrupt):  # it is meant for the first one too, which then leaves
            time.sleep(seconds)
        if not _led:
            return


def _end_without(parent: int, timeout: float) -> None:
    """Ends this process when the first one is gone, or has been stopped for `timeout` seconds; counts as `_watch`."""
    looks = 0
    while os.getppid() == parent:
        looks = looks + 1 if _is_stopped(parent) else 0
        if looks * _LOOK_AT_FIRST >= timeout:
            if process_rank() == 1:  # of the others, which all give it up, one tells
                _tell(_stopped_too_long("the first process", timeout))
            break
        time.sleep(_LOOK_AT_FIRST)
    os._exit(1)


def _watch(others: Sequence[subprocess.Popen[bytes]], done: threading.Event, timeout: float) -> None:
    """Ends this process when another one has died and this one does not notice (it may wait for that one for hours).

    One that has been stopped for `timeout` seconds is given up too. The time in which this process was stopped itself
    (Ctrl-Z stops all of them) does not count: the looks are counted, not the clock.
    """
    looks = 0
    while not done.wait(_LOOK):
        looks = looks + 1 if any(_is_stopped(one.pid) for one in others) else 0
        if looks * _LOOK >= timeout:
            _give_up(others, _stopped_too_long("another process", timeout))
        why = _failure_of(others)
        # where one has stopped after a signal, this one is stopping too, and may still be saving
        if why is not None and not isinstance(why, Interrupted):
            if not done.wait(_TELLS_WITHIN):
                _give_up(others, why)
            return


def _why_lost(others: Sequence[subprocess.Popen[bytes]]) -> SegtuneError:
    """What the first process tells after it has lost a connection: how another one has ended, for which it waits."""
    end = time.monotonic() + _ENDS_WITHIN
    while (why := _failure_of(others)) is None and time.monotonic() < end:
        time.sleep(_LOOK)
    return why or SegtuneError(LOST)


def _failure_of(others: Sequence[subprocess.Popen[bytes]]) -> SegtuneError | None:
    """How another process has failed; None where none has ended so.

    Of several that have, one that has told why counts first (see `leave_after_first`), then one that was killed.
    """
    ends = [code for one in others if (code := one.poll())]
    failures = [_failure_by(code) for code in ends]
    return min(failures, key=lambda why: (not isinstance(why, Elsewhere), isinstance(why, Interrupted)), default=None)


def _failure_by(code: int) -> SegtuneError:
    """The failure of another process, from its exit code as `subprocess` gives it; not 0."""
    resume = "go on from the last checkpoint with `segtune train --resume RUN`"
    if code < 0:
        memory = ", as happens where memory is short" if -code == signal.SIGKILL else ""
        return SegtuneError(f"another process of this run was killed by signal {-code}{memory}", fix=resume)
    if code - 128 in set(signal.Signals):
        why = f"another process of this run was stopped by {signal.Signals(code - 128).name}"
        return Interrupted(why, signal_number=code - 128, fix=resume)
    return Elsewhere("another process of this run has failed", code)


def _stopped_too_long(who: str, timeout: float) -> SegtuneError:
    return SegtuneError(
        f"{who} of this run has been stopped (SIGSTOP) for {timeout:.0f} seconds",
        fix="go on from the last checkpoint with `segtune train --resume RUN`; run.ddp_timeout=SECONDS waits longer",
    )


def _tell(why: SegtuneError) -> None:
    print(visible(f"error: {why}"), file=sys.stderr, flush=True)


def _give_up(others: Sequence[subprocess.Popen[bytes]], why: SegtuneError) -> NoReturn:
    """Ends this process from the thread that watches, whatever the main thread waits for, and leaves none behind."""
    if not isinstance(why, Elsewhere):
        _tell(why)
    for one in others:
        one.kill()
    end = time.monotonic() + _LEAVES_WITHIN[False]
    for one in others:
        with suppress(subprocess.TimeoutExpired):  # a killed process that waits for storage ends when that answers
            one.wait(max(0.0, end - time.monotonic()))
    os._exit(why.exit_code)


def _is_stopped(pid: int) -> bool:
    """Whether a process is stopped; unknown on systems without `/proc`, and then False."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2][:1] == "T"
    except OSError:
        return False


def _part(others: Sequence[subprocess.Popen[bytes]], done: threading.Event, *, succeeded: bool) -> None:
    """Lets the other processes leave, and ends those that do not."""
    done.set()
    end = time.monotonic() + _LEAVES_WITHIN[succeeded]
    for leave in (None, subprocess.Popen.terminate, subprocess.Popen.kill):
        for one in others:
            if leave is not None and one.poll() is None:
                leave(one)
        for one in others:
            try:
                one.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
        end = time.monotonic() + _LEAVES_WITHIN[False]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
