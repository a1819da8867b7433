"""Processes that prepare batches: started, asked, listened to and ended here.

Each worker has a pipe of its own and shares no lock and no queue with another process. So a worker that dies, however
it dies, blocks nobody: its pipe ends, and the command ends with one message. Workers hold nothing worth saving; they
are killed as soon as no more batches are wanted, also when the command fails elsewhere or the interpreter ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
import torch.multiprocessing  # teaches pipes to hand over tensors in shared memory

from segtune.core.errors import SegtuneError
from segtune.core.log import get_logger
from segtune.data.worker_errors import Failure, no_memory, shortage, worker_died


class Preparation(Protocol):
    """How a batch is prepared from its keys; it goes to every worker."""

    def __call__(self, keys: Sequence[Any]) -> Any:
        """The batch."""
        ...

    def names(self, keys: Sequence[Any]) -> str:
        """What a person calls its samples."""
        ...


AHEAD = 2
"""Batches that each worker has been asked for and that have not been taken yet."""

ENDS_WITHIN = 2.0
"""Seconds in which a killed process is expected to have gone."""

SLOW_AFTER = 60.0
"""Seconds without a batch after which a warning says what is being waited for. Slow storage is no error."""

LEFT_TO_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What a terminal or a scheduler sends to a whole process group: the run saves, and then ends its workers itself."""

_log = get_logger(__name__)


class Workers:
    """Workers that prepare the batches of one iteration, in order.

    A thread of this process takes what the workers send, so that none of them waits for the model. Batches come in
    the order of their keys, and so do errors.

    Args:
        prepare: Prepares a batch.
        keys: The keys of every batch.
        count: Workers.
        pin: Put batches into page-locked memory.
    """

    def __init__(self, prepare: Preparation, keys: Sequence[Sequence[Any]], count: int, *, pin: bool) -> None:
        self.prepare, self.keys, self.pin = prepare, keys, pin
        self.device = torch.cuda.current_device() if pin else -1
        self._asked = self._taken = 0
        self._death: SegtuneError | None = None
        self._closed = self._dismissed = False
        self._ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.workers: list[_Worker] = []
        # Runs on close, and at the latest before multiprocessing waits for its children at the end of the process.
        self._end = util.Finalize(self, _kill, args=(self.workers,), exitpriority=10)
        try:
            for _ in range(count):
                self.workers.append(_Worker(prepare))
            for _ in range(min(AHEAD * count, len(keys))):
                self._ask()
            self._thread = threading.Thread(target=self._receive, daemon=True)
            self._thread.start()
        except BaseException:
            self._end()
            raise

    def take(self) -> Any:
        """The next batch; raises what has gone wrong with it, or the death of any worker."""
        outcome = self._next()
        self.require_alive()
        self._taken += 1
        if isinstance(outcome, BaseException):
            raise outcome
        self._ask()
        return outcome

    def require_alive(self) -> None:
        """Raises where a worker has died, even one that had nothing left to do: what killed it comes again."""
        if self._death is None and wait([worker.process.sentinel for worker in self.workers], timeout=0):
            self._thread.join(ENDS_WITHIN)  # the thread is just finding out how it died
        if self._death is not None:
            raise self._death

    def finish(self) -> None:
        """Sends the workers home when all batches have been taken; raises where one has died before it went.

        A killed process takes a moment to go, and who kills its workers could not tell that from its own kill: one that
        was killed during the last batch would pass unnoticed.
        """
        self.require_alive()
        self._dismissed = True
        for worker in self.workers:
            worker.dismiss()
        self._thread.join(ENDS_WITHIN)  # a stopped worker does not go; it is killed later
        self.require_alive()

    def close(self) -> None:
        """Ends the workers at once."""
        self._closed = True
        self._end()
        self._thread.join(ENDS_WITHIN)  # the ends of the pipes end it
        if not self._thread.is_alive():
            for worker in self.workers:
                worker.connection.close()
                with contextlib.suppress(ValueError):  # it has not gone yet
                    worker.process.close()

    def _next(self) -> Any:
        started = time.monotonic()
        while True:
            try:
                return self._ready.get(timeout=SLOW_AFTER)
            except queue.Empty:
                waited = time.monotonic() - started
                what = self.prepare.names(self.keys[self._taken])
                _log.warning("no batch for %.0f seconds; still waiting for %s (slow storage?)", waited, what)

    def _ask(self) -> None:
        """Asks the next worker for the next batch, where there is one."""
        if self._asked < len(self.keys):
            self.workers[self._asked % len(self.workers)].ask(self._asked, self.keys[self._asked])
            self._asked += 1

    def _receive(self) -> None:
        """What the thread does: hands on what comes, and then waits for the end of the workers."""
        try:
            if self.pin:
                torch.cuda.set_device(self.device)  # a new thread would pin memory by way of the first GPU
            self._hand_on()
            self._see_off()
        except BaseException as error:  # whatever it is, the main thread has to know
            if not self._closed:
                self._ready.put(error)

    def _hand_on(self) -> None:
        """Hands on what the workers send, in order."""
        early: dict[int, Any] = {}
        turn = 0
        while turn < len(self.keys):
            for number, outcome in self._heard():
                early[number] = outcome
            while turn in early:
                outcome = early.pop(turn)
                turn += 1
                if isinstance(outcome, Failure):
                    raise outcome.error()
                self._ready.put(pinned(outcome) if self.pin else outcome)

    def _see_off(self) -> None:
        """Waits until every worker has ended; raises where one did so otherwise than it was asked to."""
        left = {worker.process.sentinel: worker for worker in self.workers}
        while left:
            for one in wait(list(left)):
                worker = left.pop(one)  # type: ignore[arg-type]
                worker.process.join(ENDS_WITHIN)
                if not self._dismissed or worker.process.exitcode:
                    raise self._died(worker)

    def _heard(self) -> list[tuple[int, Any]]:
        """Waits until a worker says something; raises where one has died."""
        pipes: dict[Any, _Worker] = {worker.connection: worker for worker in self.workers}
        ends: dict[Any, _Worker] = {worker.process.sentinel: worker for worker in self.workers}
        ready = wait([*pipes, *ends])
        said = []
        for one in ready:
            worker = pipes.get(one)
            if worker is None and not ends[one].connection.poll():  # a last word comes first
                raise self._died(ends[one])
            if worker is not None:
                said.append(self._hear(worker))
        return said

    def _hear(self, worker: _Worker) -> tuple[int, Any]:
        try:
            return worker.hear()
        except (EOFError, OSError, RuntimeError) as error:
            # Tensors are fetched from the worker itself: when it has gone that fails in one of these ways.
            worker.process.join(ENDS_WITHIN)
            if not worker.process.is_alive():
                raise self._died(worker) from error
            raise shortage(error) from error.__cause__

    def _died(self, worker: _Worker) -> SegtuneError:
        worker.process.join(ENDS_WITHIN)
        worker.drain()
        numbers = worker.asked[worker.answered : worker.answered + 1]
        names = ", ".join(self.prepare.names(self.keys[number]) for number in numbers)
        self._death = worker_died(worker.process.pid or 0, worker.process.exitcode, names, len(self.workers))
        return self._death


class _Worker:
    """One process that prepares batches, and this end of its pipe."""

    def __init__(self, prepare: Preparation) -> None:
        context = torch.multiprocessing.get_context()
        self.connection, other = context.Pipe()
        self.asked: list[int] = []
        self.answered = 0
        self.process: BaseProcess = context.Process(target=_work, args=(other, prepare), daemon=True)
        # A signal to the whole group that comes before the worker ignores it would run the handlers of the run in it.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_PARENT)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        other.close()  # so that the end of the process is the end of the pipe

    def ask(self, number: int, keys: Sequence[Any]) -> None:
        """Asks for a batch; that the worker has died is noticed by who waits for the answer."""
        self.asked.append(number)
        with contextlib.suppress(OSError):
            self.connection.send((number, keys))

    def dismiss(self) -> None:
        """Asks the worker to end."""
        with contextlib.suppress(OSError):
            self.connection.send(None)

    def hear(self) -> tuple[int, Any]:
        """The next answer: the number of a batch, and the batch or a failure."""
        data = self.connection.recv_bytes()
        self.answered += 1
        said: tuple[int, Any] = pickle.loads(data)  # from our own worker
        return said

    def drain(self) -> None:
        """Counts what a dead worker had sent before it died, so that the message names what it died of."""
        with contextlib.suppress(EOFError, OSError):
            while self.connection.poll():
                self.connection.recv_bytes()
                self.answered += 1


def pinned(batch: Any) -> Any:
    """The batch in page-locked memory, where it knows how to go there."""
    return batch.pin_memory() if hasattr(batch, "pin_memory") else batch


def _kill(workers: list[_Worker]) -> None:
    """Kills the workers: they ignore what can be ignored, and one that is stopped hears nothing else."""
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.process.join(ENDS_WITHIN)


def _work(own: Connection, prepare: Preparation) -> None:
    """What a worker process does until it is killed."""
    for received in LEFT_TO_PARENT:
        signal.signal(received, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_PARENT)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    while True:
        try:
            asked = own.recv()
        except (EOFError, OSError):  # nobody is left who would ask
            return
        if asked is None:
            os._exit(0)  # at once, as a kill would: there is nothing to clear up
        number, keys = asked
        try:
            outcome = prepare(keys)
        except MemoryError as error:
            outcome = Failure(no_memory(prepare.names(keys), error))
        except BaseException as error:
            outcome = Failure(error)
        try:
            own.send((number, outcome))
        except BrokenPipeError:
            return
        except Exception as error:
            own.send((number, Failure(shortage(error))))
        del outcome


def _end_with_parent() -> None:
    """Ends this worker when the process that began it has gone, even one that was killed before the worker looked.

    A worker left over would hold for ever what it has inherited, the lock of a trial of a search among it.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
