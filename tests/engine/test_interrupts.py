"""Signals in real processes, repeated as the system, a terminal and schedulers repeat them, and in this one."""

from __future__ import annotations

import contextlib
import os
import pty
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from segtune.core.errors import Interrupted
from segtune.engine import interrupts
from segtune.engine.interrupts import Interrupts

RUN = """
import signal, sys, time
from pathlib import Path
from segtune.core.signals import SIGNALS
from segtune.engine import interrupts

interrupts.SAME_SIGNAL_SECONDS = {same}
came = []

class Counted(interrupts.Interrupts):
    def _note(self, number, frame):
        came.append(number)
        super()._note(number, frame)

with Counted() as noted:
    Path("began").touch()
    while noted.received is None:
        pass
    end = time.{clock}() + {saving}
    while time.{clock}() < end:
        pass
    Path("saved").write_text(" ".join(signal.Signals(number).name for number in came))
    for number in SIGNALS:  # the limit of CPU time is still passed at the end of the process
        noted._previous[number] = signal.SIG_IGN
sys.exit(128 + noted.received)
"""
"""A run that is told to stop, and how long it then takes to save its state; which signals came it writes last."""


def _script(place: Path, *, saving: float, same: float = 3.0, clock: str = "monotonic") -> list[str]:
    script = place / "run.py"
    script.write_text(RUN.format(saving=saving, same=same, clock=clock))
    return [sys.executable, str(script)]


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def _stopped(place: Path, script: list[str], signals: list[signal.Signals], pause: float) -> tuple[int, str]:
    """A process that gets these signals, one after another; its exit code and what it has told."""
    process = subprocess.Popen(script, cwd=place, stderr=subprocess.PIPE, text=True)
    _wait_until((place / "began").exists)
    for number in signals:
        process.send_signal(number)
        time.sleep(pause)
    told = process.communicate(timeout=60)[1]
    return process.returncode, told


def _came(place: Path) -> list[str]:
    return (place / "saved").read_text().split()


def test_a_limit_of_cpu_time_that_is_told_each_second_does_not_disturb_the_saving(tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (1, resource.getrlimit(resource.RLIMIT_CPU)[1]))

    script = _script(tmp_path, saving=2.3, same=0.1, clock="process_time")
    done = subprocess.run(script, cwd=tmp_path, preexec_fn=limited, capture_output=True, text=True, timeout=120)
    assert done.returncode == 128 + signal.SIGXCPU, done.stderr
    assert len(_came(tmp_path)) >= 2
    assert set(_came(tmp_path)) == {"SIGXCPU"}
    assert done.stderr == "\nstopping after this step and saving\n"


def test_a_terminal_that_closes_tells_it_twice(tmp_path: Path) -> None:
    """The shell passes it on to its jobs, as bash does, and as it ends the system tells it once more."""
    script = _script(tmp_path, saving=1.5, same=0.1)
    shell, terminal = pty.fork()
    if shell == 0:
        try:
            job = subprocess.Popen(script, cwd=tmp_path)
            signal.signal(signal.SIGHUP, lambda *_: (job.send_signal(signal.SIGHUP), time.sleep(0.3), os._exit(0)))
            time.sleep(60)
        finally:
            os._exit(1)
    _wait_until((tmp_path / "began").exists)
    os.close(terminal)
    os.waitpid(shell, 0)
    _wait_until(lambda: (tmp_path / "saved").exists() and bool(_came(tmp_path)))
    assert _came(tmp_path) == ["SIGHUP", "SIGHUP"]


@pytest.mark.parametrize(
    ("signals", "pause"),
    [
        (["SIGHUP", "SIGHUP"], 0.01),
        (["SIGHUP", "SIGHUP"], 0.3),
        (["SIGUSR1", "SIGTERM"], 0.3),  # a scheduler: first the warning, then the end
        (["SIGUSR2", "SIGINT", "SIGTERM"], 0.3),
        (["SIGTERM", "SIGTERM", "SIGTERM"], 0.3),
        (["SIGINT", "SIGTERM", "SIGHUP"], 0.3),
        (["SIGINT", "SIGINT"], 0.01),  # the terminal, and a launcher that passes it on
    ],
)
def test_what_comes_after_the_first_signal_does_not_disturb_the_saving(
    signals: list[str], pause: float, tmp_path: Path
) -> None:
    script = _script(tmp_path, saving=1.5, same=0.1)
    numbers = [signal.Signals[name] for name in signals]
    code, told = _stopped(tmp_path, script, numbers, pause)
    assert code == 128 + numbers[0], told
    assert list(dict.fromkeys(_came(tmp_path))) == list(dict.fromkeys(signals))  # a busy system joins equal ones
    assert told.count("stopping after this step and saving") == 1
    assert ("once more loses it" in told) == ("SIGINT" in signals)


@pytest.mark.parametrize("before", [[], ["SIGTERM"], ["SIGXCPU"]])
def test_a_second_interruption_by_hand_loses_what_is_not_saved(before: list[str], tmp_path: Path) -> None:
    numbers = [signal.Signals[name] for name in (*before, "SIGINT", "SIGINT")]
    code, told = _stopped(tmp_path, _script(tmp_path, saving=30, same=0.1), numbers, pause=0.3)
    assert code == -signal.SIGINT  # Python's own end after a KeyboardInterrupt
    assert not (tmp_path / "saved").exists()
    first = "still saving" if before else "stopping after this step and saving"
    assert f"\n{first}; once more loses it\n" in told


def test_a_second_ctrl_c_counts_after_a_while(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Interrupts() as noted:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert noted.received == signal.SIGINT
        monkeypatch.setattr(interrupts, "SAME_SIGNAL_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == "\nstopping after this step and saving; once more loses it\n"


def test_a_signal_ends_repeatable_work_at_once() -> None:
    def told(number: int) -> Interrupted:
        return Interrupted("stopped", signal_number=number)

    def work() -> None:
        signal.raise_signal(signal.SIGUSR2)
        raise AssertionError("it goes on")

    with Interrupts() as noted:
        with pytest.raises(Interrupted) as caught, noted.at_once(told):
            work()
        assert caught.value.exit_code == 128 + signal.SIGUSR2
    with Interrupts() as noted:
        signal.raise_signal(signal.SIGHUP)  # before: the work does not begin
        with pytest.raises(Interrupted), noted.at_once(told):
            raise AssertionError("it begins")
    with Interrupts() as noted, pytest.raises(Interrupted), noted.at_once(told), contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGTERM)  # swallowed by a library: told at the end
    with Interrupts() as noted, noted.at_once(told):
        pass
    assert noted.received is None


def test_a_process_that_prepares_data_leaves_signals_to_its_run() -> None:
    with Interrupts() as noted:
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGHUP)
            os._exit(0 if noted.received is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
