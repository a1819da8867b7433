"""What goes wrong in a data worker, as the process that started it tells it: exceptions, deaths, shortages."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import signal
import traceback

from segtune.core.errors import SegtuneError


class Failure:
    """An error of a worker as it travels: the error, what caused it, and the worker's traceback as a note.

    Args:
        error: What was raised.
    """

    def __init__(self, error: BaseException) -> None:
        note = "in a data worker:\n" + "".join(traceback.format_exception(error))
        chain: list[bytes] = []
        one: BaseException | None = error
        while one is not None and len(chain) < 8:
            chain.append(_portable(one))
            one = one.__cause__
        self.chain, self.note = chain, note

    def error(self) -> BaseException:
        """The error, to be raised here."""
        errors: list[BaseException] = [pickle.loads(one) for one in self.chain]  # from our own worker
        for error, cause in itertools.pairwise(errors):
            error.__cause__ = cause
        errors[0].add_note(self.note)
        return errors[0]


def _portable(error: BaseException) -> bytes:
    """An exception as bytes that another process can read; one that cannot travel is told in words."""
    try:
        data = pickle.dumps(error)
        if type(pickle.loads(data)) is type(error):
            return data
    except Exception:  # exceptions of other packages may raise anything here
        pass
    return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


def worker_died(pid: int, exit_code: int | None, names: str, count: int) -> SegtuneError:
    """The error that a dead worker is told with (exit code 1).

    Args:
        pid: Its process.
        exit_code: As `multiprocessing` tells it, negative for a signal; None where it is not known.
        names: What it was preparing.
        count: Workers of the loader.
    """
    resume = "; a run goes on from its last checkpoint with `segtune train --resume RUN`"
    fewer = f"use fewer workers (data.num_workers, here {count}; 0 for none)"
    preparing = f", while it prepared {names}" if names else ""
    if exit_code is None or exit_code >= 0:
        code = "unknown" if exit_code is None else exit_code
        return SegtuneError(
            "a data worker ended by itself", where=f"process {pid}", found=f"exit code {code}{preparing}",
            fix=f"look at these samples with `segtune data check`, or {fewer}{resume}",
        )  # fmt: skip
    number = -exit_code
    with contextlib.suppress(ValueError):
        number = signal.Signals(number)
    name = number.name if isinstance(number, signal.Signals) else f"signal {number}"
    where, found = f"process {pid}", f"{name}{preparing}"
    if number == signal.SIGKILL:
        return SegtuneError(
            "a data worker was killed", where=where, found=f"{found}; Linux does that when memory runs out",
            fix=f"free some memory, or {fewer}{resume}",
        )  # fmt: skip
    if number == signal.SIGBUS:
        return SegtuneError(
            "a data worker crashed for lack of shared memory", where=where, found=found,
            fix=f"give /dev/shm more room (docker run --shm-size=8g), or {fewer}{resume}",
        )  # fmt: skip
    return SegtuneError(
        "a data worker crashed", where=where, found=found,
        fix=f"look at these samples with `segtune data check`, or {fewer}{resume}",
    )  # fmt: skip


def shortage(error: Exception) -> Exception:
    """What says that descriptors or shared memory are exhausted, as an error of ours; any other as it is."""
    text = str(error)
    if "ancdata" in text or "Too many open files" in text:
        return SegtuneError(
            "too many open files: a batch cannot be handed over by its worker", found=text.splitlines()[0],
            fix="raise the limit with `ulimit -n 4096`, or use fewer workers (data.num_workers)",
        )  # fmt: skip
    if isinstance(error, RuntimeError) and ("shared memory" in text or "/torch_" in text):
        return SegtuneError(
            "no shared memory for a batch", found=text.splitlines()[0],
            fix="give /dev/shm more room (docker run --shm-size=8g), or set data.num_workers=0",
        )  # fmt: skip
    return error


def no_memory(names: str, error: MemoryError) -> SegtuneError:
    """A worker's lack of memory; the message names what takes it there, which is not what takes it in a model."""
    return SegtuneError(
        "out of memory in a data worker", where=names, found=str(error) or "not enough memory",
        fix="use fewer workers (data.num_workers), a smaller batch or smaller pictures, or end other programs",
    )  # fmt: skip
