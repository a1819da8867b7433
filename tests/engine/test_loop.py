"""What the loop makes of the numbers of a step and of a validation; whole runs are in `e2e`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tests.factory import batch_of, group, groups, tiny_loaded

from segtune.core.types import Batch
from segtune.engine.config import METRICS, EvalConfig, OptimConfig, TrainConfig
from segtune.engine.loading import Loaded
from segtune.engine.loop import Settings, Trainer
from segtune.engine.stages import plan
from segtune.engine.step import StepReport
from segtune.engine.task import ReasoningTask
from segtune.engine.tracker import Tracker
from segtune.losses.config import TERMS, LossConfig

EVERYTHING = {"focal": 20.0, "iou": 0.6, "tversky": 0.4, "boundary": 3.0}


def _trainer(loaded: Loaded, losses: LossConfig, validation: list[Batch]) -> Trainer:
    train, scoring = TrainConfig(validate_generate=False, best="val_gIoU"), EvalConfig()
    loader = SimpleNamespace(batches=lambda rank, world: iter(validation))
    parts: list[Any] = [
        loaded.model, None, [None], loader, ReasoningTask(loaded.model, loaded.conversation, losses, train, scoring),
        None, Settings(train, 0), plan(train, OptimConfig())[0], Accelerator(cpu=True), {},
    ]  # fmt: skip
    return Trainer(*parts)


@pytest.mark.parametrize("space", ["model", "original"])
def test_a_validation_row_is_the_same_however_it_is_cut(space: str) -> None:
    loaded, losses = tiny_loaded(), LossConfig(**EVERYTHING, space=space)
    members = [*groups(2), group(2, queries=1), group(3, queries=3)]
    # A random model's logits lie around 0: in double precision rounding carries none of thousands of pixels across it.
    loaded.model.double()
    whole = _trainer(loaded, losses, [batch_of(loaded, members).to(dtype=torch.float64)])._validate()
    cut = [batch_of(loaded, [member]).to(dtype=torch.float64) for member in members]
    parts = _trainer(loaded, losses, cut)._validate()
    assert set(whole) == {f"val_{name}" for name in ("loss", *TERMS, *EVERYTHING, *METRICS, "no_box")}
    assert parts == pytest.approx(whole, rel=1e-4)
    assert whole["val_loss"] == pytest.approx(sum(getattr(losses, t) * whole[f"val_{t}"] for t in losses.terms))


def test_progress_shows_the_terms_that_have_a_weight() -> None:
    loaded, shown = tiny_loaded(), []
    progress: Any = SimpleNamespace(step=lambda epoch, facts, memory: shown.append(facts))
    for losses in (LossConfig(), LossConfig(iou=1.0)):
        trainer = _trainer(loaded, losses, [])
        terms = {name: torch.tensor(1.0) for name in ("loss", *losses.terms)}
        trainer._note(StepReport(terms, torch.tensor(1.0), False), [], Tracker(), 1e-4, progress)
    assert [list(facts) for facts in shown] == [["loss", *TERMS, "gIoU"], ["loss", *TERMS, "iou", "gIoU"]]
