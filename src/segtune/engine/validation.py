"""Validation while a run trains: losses and metrics over all processes."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from segtune.engine.processes import gather, rank, world
from segtune.engine.task import EpochTracker, Task
from segtune.engine.tracker import Stopwatch
from segtune.losses.objective import add_counts


def validate(
    model: nn.Module, batches: Any, task: Task, accelerator: Accelerator
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Losses and metrics as in training, and what the kind of segmentation measures besides.

    Args:
        model: It is in evaluation mode inside, and in training mode afterwards.
        batches: `engine.loop.ScoredBatches`.
        task: The kind of segmentation.
        accelerator: Its device.

    Returns:
        Keys of the history row, and of its benchmarks.
    """
    tracker, seconds = task.tracker(), Stopwatch()
    sums: dict[str, float] = {}
    counts = add_counts(task.objective, ())
    model.eval()
    with torch.inference_mode():
        for batch in batches.batches(rank(), world()):
            batch = batch.to(accelerator.device)
            with task.scoring_autocast():
                output = model(batch)
            tracker.observe(output, batch)
            for term, value in task.objective.sums(output, batch).items():
                sums[term] = sums.get(term, 0.0) + float(value)
            counts = added([counts, task.objective.counts(batch)])
    tracker, sums, counts = whole(tracker), added(gather(sums)), added(gather(counts))
    means = {term: value / (counts[term] or 1.0) for term, value in sums.items()}
    means["loss"] = sum(weight * means.get(term, 0.0) for term, weight in task.objective.weights.items())
    tracker.step(means, seconds.lap())
    further, benchmarks = task.validate_further(batches)
    task.enter_training()
    return {**tracker.compute("val_"), **further}, benchmarks


def whole(tracker: EpochTracker) -> EpochTracker:
    """What all processes have seen together, with the first one's times; changed in place where it is the first's."""
    first, *others = gather(tracker)
    for other in others:
        first.merge(other)
    return first


def added(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums of what several processes have by the same names; a process without batches has none."""
    return {name: sum(part.get(name, 0) for part in parts) for name in dict.fromkeys(itertools.chain(*parts))}
