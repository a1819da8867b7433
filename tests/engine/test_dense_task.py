"""What the loop is told about dense segmentation: losses, trackers by head, modes that keep an encoder still."""

from __future__ import annotations

import json

import pytest
import torch
from tests.data.dense.labelled import Drawn
from tests.models.dense.encoders import dense_config

from segtune.core.types import DenseBatch
from segtune.data.dense.loader import DenseScoringLoader
from segtune.engine.config import BINARY_METRICS, CLASS_METRICS
from segtune.engine.dense_loading import DenseLoaded, build_loaded
from segtune.engine.dense_task import DenseTask
from segtune.losses.config import DenseLossConfig
from segtune.losses.dense import DenseObjective
from segtune.models.dense.blocks import Blocks, unfreeze

HEADS = {
    "classes": {}, "binary": {"multiclass": False, "binary_classes": ("red",)}, "both": {"binary_classes": ("red",)},
}  # fmt: skip


def _task(blocks: Blocks = "all", **heads) -> tuple[DenseTask, DenseLoaded]:
    torch.manual_seed(0)
    config = dense_config("segtune/tiny-cnn", image_size=(32, 64), width=8, **heads)
    loaded = build_loaded(config, Drawn.classes, blocks)
    objective = DenseObjective(DenseLossConfig(), multiclass=config.multiclass, foreground=loaded.foreground)
    return DenseTask(loaded.model, objective, loaded.foreground), loaded


def _batch(loaded: DenseLoaded) -> DenseBatch:
    return next(iter(DenseScoringLoader(Drawn(3), loaded.transform, batch_size=3).batches()))


@pytest.mark.parametrize("heads", HEADS)
def test_a_row_of_the_history_has_what_the_heads_give(heads: str) -> None:
    task, loaded = _task(**HEADS[heads])
    batch = _batch(loaded)
    with torch.inference_mode():
        output = loaded.model.eval()(batch)
    tracker = task.tracker()
    tracker.observe(output, batch)
    sums, counts = task.objective.sums(output, batch), task.objective.counts(batch)
    assert sums.keys() == counts.keys() == task.objective.weights.keys()
    tracker.step({"loss": 1.0, **{term: float(value) / counts[term] for term, value in sums.items()}}, 0.5)
    row = tracker.compute()
    assert (row.keys() >= set(CLASS_METRICS)) == (heads != "binary")
    assert (row.keys() >= set(BINARY_METRICS)) == (heads != "classes")
    assert row.keys() >= {"loss", *sums}
    assert {key for key in task.headlines if key in row}
    resumed = task.tracker(json.loads(json.dumps(tracker.to_dict())))
    assert resumed.compute() == row
    assert task.tracker({}).steps == task.tracker(None).steps == 0


def test_training_mode_is_of_what_trains() -> None:
    task, loaded = _task()
    for blocks in (0, 2, "all"):
        unfreeze(loaded.model, blocks)
        loaded.model.eval()
        task.enter_training()
        assert loaded.model.decoder.training
        modes = [all(part.training for part in block.children()) for block in loaded.model.encoder.blocks]
        wanted = len(modes) if blocks == "all" else int(blocks)
        assert modes == [False] * (len(modes) - wanted) + [True] * wanted
    unfreeze(loaded.model, 0)
    task.enter_training()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    loaded.model(_batch(loaded))
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())


def test_a_validation_has_nothing_beyond_losses_and_metrics() -> None:
    assert _task()[0].validate_further(None) == ({}, {})
