"""Whole runs with the gradient scaler of fp16 in this process: it belongs to a GPU, and PyTorch has one for a CPU."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from tests.interrupting import interrupted
from tests.photos import write_photos
from tests.test_dense_experiment import TENSORS, _weights, assert_same_run, config

from segtune import experiment
from segtune.core.files import read_jsonl
from segtune.experiment import dense
from segtune.experiment import run as course

SCALE = 2.0**10  # a power of two: scaled and unscaled again, a gradient is what it was
STAGES = (
    "train.epochs=3", "eval.final=false",
    "train.stages=[{epochs: 1, unfreeze: 0}, {epochs: 1, unfreeze: 1, lr_factor: 0.5}, {unfreeze: 2, lr_factor: 0.2}]",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(course, "write_report", lambda path: None)


def _scale_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    own = dense.accelerator_for

    def accelerator_for(precision: str) -> Accelerator:
        accelerator = own(precision)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
        accelerator.native_amp = True
        monkeypatch.setattr(accelerator, "autocast", contextlib.nullcontext)
        return accelerator

    monkeypatch.setattr(Accelerator, "mixed_precision", "fp16")
    monkeypatch.setattr(dense, "accelerator_for", accelerator_for)


def test_the_stages_of_a_scaled_run_make_the_steps_of_a_plain_one_and_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = experiment.train(config("plain", *STAGES)).path
    _scale_gradients(monkeypatch)
    scaled = experiment.train(config("scaled", *STAGES)).path
    rows = [read_jsonl(run / "metrics.jsonl") for run in (plain, scaled)]
    assert len(rows[0]) == 6
    assert rows[0] == rows[1]
    ours, theirs = _weights(scaled, "last", TENSORS), _weights(plain, "last", TENSORS)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    for after in (3, 5):  # in the middle of the second stage, and of the third
        run = interrupted(monkeypatch, config(f"stopped-{after}", *STAGES), after=after)
        experiment.resume(run)
        assert_same_run(run, scaled)
