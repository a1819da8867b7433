"""Running one trial: a process that trains, begun or continued, watched from outside, and how it ended."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segtune.config import AnyConfig
from segtune.core import rundir as names
from segtune.core.config import dump_yaml
from segtune.core.errors import Interrupted, SegtuneError
from segtune.core.files import read_json, write_text
from segtune.core.log import get_logger
from segtune.core.signals import SIGNALS
from segtune.sweep.locks import FileLock
from segtune.sweep.place import run_name
from segtune.sweep.signals import Signals
from segtune.sweep.study import Claim, Study
from segtune.sweep.trials import is_finite

COMMAND = (sys.executable, "-m", "segtune")
"""The program that trains: see `Training`."""

_POLL = 0.2  # seconds between looks at a training
_TOLD = 1_000  # characters of what a training said last

_log = get_logger(__name__)


class Training:
    """The training of one trial.

    Args:
        study: To which the trial belongs.
        claim: The trial, held by this process.
        signals: Noted while it runs.
        command: The program that trains. It is called as `COMMAND train CONFIG.yaml` or `COMMAND train --resume RUN`
            and leaves in `run.root/run.name` of the configuration what `segtune train` leaves there: `config.yaml`
            when it begins, a `metrics_epoch_N.json` an epoch, and at its end `training_history.json` and exit code 0.

    Raises:
        ConfigError: The values of the trial contradict each other (a drawn point; a grid is checked before).
    """

    def __init__(self, study: Study, claim: Claim, signals: Signals, command: Sequence[str] = COMMAND) -> None:
        self.study, self.trial, self.signals, self.command = study, claim.trial, signals, command
        self.number = claim.trial.number
        self.run, self.log = study.place.run(self.number), study.place.log(self.number)
        self.metric = str(study.search.metric)
        self.config = _of_the_trial(study, claim)
        self._next_epoch = 1 + max(self.trial.reported, default=0)

    def complete(self) -> None:
        """Trains to the end and notes how it ended.

        Raises:
            Interrupted: A signal ended it before; the trial stays open, to be continued.
        """
        if self.trial.pruned_at is not None:  # the search was killed while the training saved itself
            self.study.finish(self.number, "pruned")
            return
        lock = self.study.place.training_lock(self.number)
        self._wait_for(lock)
        try:
            arguments = self._arguments()
            start = self.log.stat().st_size if self.log.exists() else 0
            with self.log.open("ab") as log:
                training = subprocess.Popen(
                    [*self.command, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=True, pass_fds=() if lock.handle is None else (lock.handle,),
                )  # fmt: skip
            with _ended_with_us(training):
                pruned = self._watch(training)
        finally:
            lock.release()
        self._conclude(training.returncode, pruned, start)

    def _wait_for(self, lock: FileLock) -> None:
        """Takes the lock of the training; one whose search was killed may still be running."""
        told = False
        while not lock.take():
            if not told:
                _log.info("%s: its training still runs, its search is gone; waiting for its end", run_name(self.number))
                told = True
            if self.signals.pause(_POLL):
                raise self._interrupted(self.signals.received or signal.SIGINT)

    def _arguments(self) -> list[str]:
        """`train --resume RUN` where the trial has a run, else `train CONFIG`."""
        if self.run.config.is_file():
            return ["train", "--resume", str(self.run.path)]
        if self.run.path.exists():  # killed before it had written anything
            shutil.rmtree(self.run.path)
        write_text(self.study.place.config(self.number), dump_yaml(self.config))
        return ["train", str(self.study.place.config(self.number))]

    def _watch(self, training: subprocess.Popen[bytes]) -> bool:
        """Waits for the end, reports epochs, passes signals on; whether it was ended early."""
        pruned = False
        while True:
            try:
                training.wait(_POLL)
            except subprocess.TimeoutExpired:
                ended = False
            else:
                ended = True
            if not ended:
                self.signals.pass_on(training)
            hopeless = self._report_epochs()
            if ended:
                return pruned
            if hopeless and not pruned and self.signals.received is None:
                pruned = True
                self.study.note(self.number, pruned_at=self._next_epoch - 1)
                training.send_signal(signal.SIGTERM)

    def _report_epochs(self) -> bool:
        """Reports what is new; whether the pruner would end the trial (never after the last epoch)."""
        hopeless = False
        while (path := self.run.epoch_metrics(self._next_epoch)).is_file():
            epoch, value = self._next_epoch, read_json(path).get(self.metric)
            self._next_epoch += 1
            if not is_finite(value):
                continue
            hopeless = self.study.report(self.number, epoch, value) and epoch < self.config.train.epochs
            _log.info(
                "%s  epoch %d/%d  %s %.4f", run_name(self.number), epoch, self.config.train.epochs, self.metric, value
            )
        return hopeless

    def _conclude(self, code: int, pruned: bool, start: int) -> None:
        """Notes how a training that has ended did so."""
        stopped = -code if code < 0 else code - 128
        if pruned:
            self._note_seconds()
            self.study.finish(self.number, "pruned")
        elif code == 0:
            self._note_seconds()
            self._note_result()
        elif self.signals.received is not None:
            raise self._interrupted(self.signals.received)
        elif stopped in SIGNALS:
            raise self._interrupted(stopped)
        else:
            self.fail(last_words(self.log, start) or _without_words(code))

    def _note_result(self) -> None:
        history = _history(self.run)
        values = {epoch: row[self.metric] for epoch, row in history.items() if self.metric in row}
        finite = [float(value) for value in values.values() if is_finite(value)]
        if not values:
            self.fail(f"no epoch has a value of {self.metric}")
        elif not is_finite(values[max(values)]):
            self.fail(f"{self.metric} is not finite after epoch {max(values)}")
        else:
            self.study.finish(self.number, "complete", max(finite) if self.study.highest else min(finite))

    def _note_seconds(self) -> None:
        times = [row.get("epoch_time") for row in _history(self.run).values()]
        self.study.note(self.number, seconds=sum(time for time in times if is_finite(time)))

    def fail(self, message: str) -> None:
        """Notes that the trial has failed, and why."""
        fail(self.study, self.number, message)

    def _interrupted(self, number: int) -> Interrupted:
        return Interrupted(
            f"stopped by {signal.Signals(number).name}; {run_name(self.number)} is not finished", signal_number=number
        )


@contextmanager
def _ended_with_us(training: subprocess.Popen[bytes]) -> Iterator[None]:
    """After a full disk or a damaged file no training goes on that nobody watches."""
    try:
        yield
    except BaseException:
        training.terminate()
        training.wait()
        raise


def fail(study: Study, number: int, message: str) -> None:
    """Notes that a trial has failed, and why."""
    study.note(number, message=message)
    study.finish(number, "failed")
    _log.warning("%s failed: %s", run_name(number), message.splitlines()[0])


def last_words(log: Path, start: int = 0) -> str:
    """The last message of a log that begins with `error: `, without that word, else its last line; 1,000 letters of it.

    Args:
        log: What a training has printed.
        start: The byte from which on it counts.
    """
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", "replace").strip()
    found = re.findall(r"^error: (.*(?:\n +\S.*)*)", text, flags=re.MULTILINE)
    words = found[-1] if found else text.splitlines()[-1] if text else ""
    return words[:_TOLD].strip()


def _of_the_trial(study: Study, claim: Claim) -> AnyConfig:
    """The configuration of a trial's run, its place filled in."""
    place = {"run.name": run_name(claim.trial.number), "run.root": str(study.place.trials)}
    return study.base.config(claim.trial.settings | place, where=f"point {claim.trial.point}")


def _history(run: names.RunDir) -> dict[int, dict[str, Any]]:
    """The epochs of a run, training and validation of each together; empty where none is recorded."""
    if not (run.path / names.HISTORY).is_file():
        return {}
    history = run.read_json(names.HISTORY)
    rows: dict[int, dict[str, Any]] = {}
    try:
        for row in [*history["train"], *history["val"]]:
            rows.setdefault(int(row["epoch"]), {}).update(row)
    except (KeyError, TypeError, ValueError) as error:
        raise SegtuneError("the history of this trial is damaged", where=str(run.path / names.HISTORY)) from error
    return rows


def _without_words(code: int) -> str:
    if code < 0:
        hint = "; it may have been short of memory" if -code == signal.SIGKILL else ""
        return f"ended by {signal.Signals(-code).name}{hint}"
    return f"ended with exit code {code} and without a word"
