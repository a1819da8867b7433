"""What a step minimises, whatever is segmented: terms as sums, what they are averaged over, and their weights.

A term is a sum over elements and the number of elements. Whoever adds micro-batches or processes together adds sums
and counts and divides once at the end, so neither accumulation nor the number of processes changes the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class Objective(Protocol):
    """The losses of a kind of segmentation; batches and outputs are those of its models."""

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each term that is computed, in a fixed order."""
        ...

    def counts(self, batch: Any) -> dict[str, float]:
        """What the sum of each term over a batch is divided by, known before any forward."""
        ...

    def sums(self, output: Any, batch: Any) -> dict[str, Tensor]:
        """The sum of each term over a batch, unweighted: float32 scalars with gradients."""
        ...


def add_counts(objective: Objective, batches: Any) -> dict[str, float]:
    """The counts of several batches together; zeros for none."""
    total = dict.fromkeys(objective.weights, 0.0)
    for batch in batches:
        for term, count in objective.counts(batch).items():
            total[term] += count
    return total


def means(sums: Mapping[str, Tensor], counts: Mapping[str, float]) -> dict[str, Tensor]:
    """Each sum over its count; nothing divided by nothing is nothing."""
    return {term: value / (counts[term] or 1.0) for term, value in sums.items()}


def weighted_total(
    sums: Mapping[str, Tensor], weights: Mapping[str, float], counts: Mapping[str, float] | None = None
) -> Tensor:
    """The training loss: each sum over its count, times its weight; without counts the sums are means already."""
    over = counts or dict.fromkeys(weights, 1.0)
    return torch.stack([weight * sums[term] / (over[term] or 1.0) for term, weight in weights.items()]).sum()
