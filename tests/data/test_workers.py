"""Whatever happens in a data worker, or around it, ends with one error of ours, soon, and with no process left."""

from __future__ import annotations

import errno
import faulthandler
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import psutil
import pytest
import torch

from segtune.core.errors import ConfigError, DataError, SegtuneError, Unprepared
from segtune.data import workers
from segtune.data.batches import load_batches

WITHIN = 10.0
KEYS = [[2 * i, 2 * i + 1] for i in range(12)]


class Samples:
    """Numbers; one of them does something else first."""

    def __init__(self, act: Callable[[], object] = lambda: None, at: int = 9) -> None:
        self.act, self.at = act, at

    def __getitem__(self, key: int) -> torch.Tensor:
        if key == self.at:
            self.act()
        return torch.full((3,), float(key))

    def name(self, key: int) -> str:
        return f"picture {key}"


def _raising(error: BaseException) -> Callable[[], object]:
    def act() -> None:
        raise error

    return act


def _die(number: signal.Signals) -> None:
    faulthandler.disable()  # it would print into the output of the tests
    os.kill(os.getpid(), number)


def _children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def _in_time() -> Iterator[None]:
    """What is inside takes seconds and leaves no process behind."""
    before, started = set(_children()), time.monotonic()
    yield
    assert time.monotonic() - started < WITHIN
    _, alive = psutil.wait_procs([one for one in _children() if one not in before], timeout=1)
    assert not alive


def _drawn(samples: Samples, count: int, keys: list[list[int]] = KEYS) -> list[torch.Tensor]:
    return list(load_batches(samples, keys, torch.stack, count))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_batches_come_in_order_whoever_prepares_them(count: int) -> None:
    with _in_time():
        batches = _drawn(Samples(lambda: time.sleep(0.2)), count)
    assert [batch[:, 0].tolist() for batch in batches] == KEYS


def test_no_batches_need_no_worker() -> None:
    assert _drawn(Samples(), 4, []) == []


@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize(
    ("error", "kind", "code", "words"),
    [
        (DataError("damaged", where="a.jpg", fix="copy it"), DataError, 3, "a.jpg: damaged\n  fix: copy it"),
        (ConfigError("wrong", where="data.val"), ConfigError, 2, "data.val: wrong"),
        (ValueError("a bug"), Unprepared, 3, "picture 9: this sample cannot be prepared\n  found: ValueError: a bug"),
        (EOFError("Ran out of input"), Unprepared, 3, "picture 9: this sample cannot be prepared\n  found: EOFError: "),
        (KeyError("size"), Unprepared, 3, "picture 9: this sample cannot be prepared\n  found: KeyError: 'size'"),
        (OSError(errno.ENOENT, "No such file", "b.png"), DataError, 3, "b.png: cannot be read\n  found: no "),
        (OSError(errno.EIO, "Input/output error", "b.png"), DataError, 3, "b.png: cannot be read\n  found: the drive"),
        (OSError(errno.ESTALE, "Stale file handle"), DataError, 3, "picture 9: cannot be read\n  found: the network"),
    ],
)  # fmt: skip
def test_an_error_is_the_same_with_and_without_workers(
    count: int, error: Exception, kind: type[SegtuneError], code: int, words: str
) -> None:
    with _in_time(), pytest.raises(SegtuneError) as caught:
        _drawn(Samples(_raising(error)), count)
    assert type(caught.value) is kind
    assert caught.value.exit_code == code
    assert str(caught.value).startswith(words)
    assert "Traceback" not in str(caught.value)


def test_the_cause_and_the_traceback_of_a_worker_are_kept_for_the_file_of_details() -> None:
    with pytest.raises(Unprepared) as caught:
        _drawn(Samples(_raising(ValueError("a bug"))), 1)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "in _raising" in caught.value.__notes__[0] or "in act" in caught.value.__notes__[0]


class Unportable(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.kept = lambda: None


def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    with pytest.raises(Unprepared, match="Unportable: 1 and 2") as caught:
        _drawn(Samples(_raising(Unportable(1, 2))), 1)
    assert "Unportable" in str(caught.value.__cause__)


def test_a_lack_of_descriptors_is_not_told_as_bad_data() -> None:
    for count in (0, 1):
        with pytest.raises(OSError, match="Too many") as caught:
            _drawn(Samples(_raising(OSError(errno.EMFILE, "Too many open files"))), count)
        assert caught.value.errno == errno.EMFILE


def test_a_worker_out_of_memory_says_what_takes_less() -> None:
    with _in_time(), pytest.raises(SegtuneError, match="out of memory in a data worker") as caught:
        _drawn(Samples(_raising(MemoryError())), 2)
    assert caught.value.exit_code == 1
    assert "data.num_workers" in caught.value.fix


def _decode_without_memory() -> None:
    try:
        raise MemoryError
    except MemoryError as error:
        raise DataError("the image is damaged or cut short") from error


def test_a_decoder_without_memory_has_no_damaged_file() -> None:
    with pytest.raises(MemoryError):
        _drawn(Samples(_decode_without_memory), 0)
    with pytest.raises(SegtuneError, match="out of memory in a data worker"):
        _drawn(Samples(_decode_without_memory), 1)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: _die(signal.SIGKILL), "a data worker was killed\n  found: SIGKILL, while it prepared"),
        (lambda: _die(signal.SIGBUS), "a data worker crashed for lack of shared memory\n"),
        (lambda: _die(signal.SIGSEGV), "a data worker crashed\n  found: SIGSEGV, while it prepared"),
        (lambda: os._exit(7), "a data worker ended by itself\n  found: exit code 7, while it prepared picture 8, "),
        (lambda: os._exit(0), "a data worker ended by itself\n  found: exit code 0, while it prepared picture 8, "),
    ],
)
def test_a_dead_worker_is_one_message(count: int, act: Callable[[], object], words: str) -> None:
    with _in_time(), pytest.raises(SegtuneError) as caught:
        _drawn(Samples(act), count)
    assert caught.value.exit_code == 1
    assert str(caught.value).partition(": ")[2].startswith(words)
    assert "segtune train --resume" in caught.value.fix


class Large(Samples):
    """A sample that no pipe takes at once."""

    def __getitem__(self, key: int) -> np.ndarray:  # type: ignore[override]
        return np.zeros(3_000_000, np.uint8)


def test_a_worker_killed_in_the_middle_of_a_message_blocks_nobody() -> None:
    for delay in (0.0, 0.01, 0.03, 0.1):
        batches = load_batches(Large(), [[i] for i in range(3000)], np.stack, 2)
        next(batches)
        time.sleep(delay)
        _children()[-1].kill()
        with _in_time(), pytest.raises(SegtuneError, match="a data worker was killed"):
            list(batches)


@pytest.mark.parametrize("pause", [0.0, 0.5])  # a killed process takes a moment to go
@pytest.mark.parametrize("count", [1, 4])
def test_a_worker_that_dies_with_nothing_left_to_do_is_told(count: int, pause: float) -> None:
    batches = load_batches(Samples(), KEYS[:4], torch.stack, count)
    for _ in range(4):
        next(batches)
    _children()[0].kill()
    time.sleep(pause)
    with _in_time(), pytest.raises(SegtuneError, match="a data worker was killed"):
        next(batches, None)


def _stop(process: psutil.Process) -> None:
    process.suspend()


@pytest.mark.parametrize("first", [lambda process: None, _stop])
def test_who_stops_early_leaves_no_worker_behind(first: Callable[[psutil.Process], object]) -> None:
    with _in_time():
        batches = load_batches(Samples(), KEYS, torch.stack, 2)
        next(batches)
        for one in _children():
            first(one)  # a stopped process hears nothing but SIGKILL
        batches.close()  # type: ignore[attr-defined]


def test_a_stopped_worker_with_nothing_left_to_do_is_not_waited_for() -> None:
    batches = load_batches(Samples(), KEYS[:4], torch.stack, 2)
    with _in_time():
        for _ in range(4):
            next(batches)
        _children()[0].suspend()
        assert next(batches, None) is None


def test_an_error_elsewhere_ends_the_workers() -> None:
    def consume() -> None:
        for _ in load_batches(Samples(), KEYS, torch.stack, 2):
            raise ZeroDivisionError

    with _in_time(), pytest.raises(ZeroDivisionError):
        consume()


def test_signals_to_the_group_are_the_parents_affair() -> None:
    batches = load_batches(Samples(), KEYS, torch.stack, 2)
    got = [next(batches)]
    for one in _children():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            one.send_signal(number)
    with _in_time():
        got += batches
    assert len(got) == len(KEYS)


def test_slow_storage_is_told_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(workers, "SLOW_AFTER", 0.3)
    monkeypatch.setattr(workers._log, "warning", lambda text, *values: told.append(text % values))
    assert len(_drawn(Samples(lambda: time.sleep(1.0)), 1)) == len(KEYS)
    assert "picture 8, picture 9" in told[0]


LEFT_OPEN = """
import sys, torch
from segtune.data.batches import load_batches
class Samples(list):
    name = staticmethod(str)
kept = load_batches(Samples(range(1000)), [[i] for i in range(1000)], list, num_workers=2)
next(kept)
cycle = [kept]
cycle.append(cycle)
{end}
"""


@pytest.mark.parametrize(("end", "code"), [("", 0), ("sys.exit(3)", 3), ("raise ValueError", 1)])
def test_an_interpreter_that_ends_does_not_wait_for_its_workers(end: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", LEFT_OPEN.format(end=end)], timeout=60, capture_output=True, text=True)
    assert done.returncode == code
    assert "Exception ignored" not in done.stderr


SLOW_WORKER = """
import os, time
from segtune.data.batches import load_batches
class Samples(list):
    name = staticmethod(str)
os.register_at_fork(after_in_child=lambda: time.sleep(3))
for _ in load_batches(Samples(range(1000)), [[i] for i in range(1000)], list, num_workers=1):
    time.sleep(0.1)
"""


@pytest.mark.parametrize("begun", [False, True])
def test_a_worker_ends_with_its_parent_however_early_that_is_killed(begun: bool) -> None:
    parent = psutil.Popen([sys.executable, "-c", SLOW_WORKER], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (children := [one for one in parent.children() if one.status() != psutil.STATUS_ZOMBIE]):
        assert parent.poll() is None
        time.sleep(0.01)
    time.sleep(4 if begun else 0)
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs(children, timeout=20)
    for one in alive:
        one.kill()
    assert not alive
    assert len(gone) == 1


def test_descriptors_do_not_add_up() -> None:
    _drawn(Samples(), 2)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        _drawn(Samples(), 2)
    assert len(os.listdir("/proc/self/fd")) <= before + 2
