"""How training ends before its time, and what is told then: a signal, or steps that came to nothing."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from segtune.core.errors import Interrupted, SegtuneError
from segtune.core.files import read_json
from segtune.core.rundir import RunDir
from segtune.engine.checkpoint_files import ABOUT
from segtune.engine.checkpoint_store import LAST
from segtune.engine.state import TrainerState


class Diverged(SegtuneError):
    """Loss or gradient stayed non-finite."""


class WindowGivenUp(BaseException):
    """A signal came between two micro-batches; no handler of ordinary errors catches it.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def interrupted(run: RunDir, state: TrainerState, number: int) -> Interrupted:
    """The error of a run that a signal has ended, after it was saved.

    Args:
        run: The run directory.
        state: Where it stands.
        number: Of the signal.
    """
    when = f"after step {state.step}" if state.step else "before its first step was made"
    return Interrupted(
        f"stopped by {signal.Signals(number).name} {when}; everything is saved",
        signal_number=number, fix=f"go on with `segtune train --resume {run.path}`",
    )  # fmt: skip


def diverged(run: RunDir, state: TrainerState, ids: Sequence[str], precision: str, rate: float) -> Diverged:
    """Why training ends after so many skipped steps, and what is left of it.

    Args:
        run: The run directory.
        state: Where it stands.
        ids: Samples of the last step.
        precision: `train.precision`.
        rate: `optim.lr` of the stage.
    """
    last = run.checkpoint(LAST) / ABOUT
    other = "" if precision == "fp32" else " or train.precision=fp32"
    saved = "no weights had been saved yet"
    if last.is_file():
        saved = f"{run.path}@last has the weights after step {read_json(last)['step']}"
    return Diverged(
        f"{state.skipped_in_row} steps in a row gave a loss or gradient that is not finite",
        where=f"step {state.step}", found=f"samples {', '.join(ids[:4])}",
        fix="look at these samples, or begin a new run with a lower rate: "
        f"`segtune train {run.path} run.name=NAME optim.lr={rate / 3:.1g}`{other}; "
        f"a resume would repeat these steps with the settings of this run. {saved}",
    )  # fmt: skip
