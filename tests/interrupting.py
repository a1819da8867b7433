"""Runs in this process that a signal stops in the middle, and what of a history does not depend on the clock."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from segtune import experiment
from segtune.config import AnyConfig
from segtune.core.errors import Interrupted
from segtune.core.files import read_json
from segtune.engine import loop

TIMES = frozenset({"iter_per_sec", "avg_iter_time", "epoch_time", "peak_memory_gb", "val_avg_inference_time_s"})
"""Keys of a history that tell how long something took."""


def interrupted(monkeypatch: pytest.MonkeyPatch, config: AnyConfig, *, after: int) -> Path:
    """A run that gets SIGTERM at the end of a step, and is resumed in its directory by the caller."""
    own, made = loop.train_step, 0

    def step(*arguments, **named):
        nonlocal made
        made += 1
        report = own(*arguments, **named)
        if made == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return report

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step)
        with pytest.raises(Interrupted):
            experiment.train(config)
    return Path(config.run.root) / str(config.run.name)


def history_without_times(run: Path) -> dict:
    """`training_history.json` without times."""
    rows = read_json(run / "training_history.json")
    return {part: [{k: v for k, v in row.items() if k not in TIMES} for row in rows[part]] for part in ("train", "val")}


def checkpoint_names(run: Path) -> list[str]:
    """The names of a run's checkpoints, without the directories that they point to."""
    return sorted(path.name for path in (run / "checkpoints").iterdir() if not path.name.startswith("step-"))
