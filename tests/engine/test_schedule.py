from __future__ import annotations

import math

import pytest

from segtune.engine.config import OptimConfig
from segtune.engine.schedule import rate_factor


def _curve(total: int, **changes) -> list[float]:
    config = OptimConfig.model_validate(changes)
    return [rate_factor(step, total, config) for step in range(total)]


def test_cosine_by_hand():
    curve = _curve(12, schedule="cosine", warmup_steps=4, floor=0.1)
    assert curve[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    # eight steps of half a cosine from 1 towards 0.1
    assert curve[4] == pytest.approx(1.0)
    assert curve[6] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.sqrt(0.5)))
    assert curve[8] == pytest.approx(0.55)
    assert curve[10] == pytest.approx(0.1 + 0.9 * 0.5 * (1 - math.sqrt(0.5)))
    assert curve[11] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 7 / 8)))
    assert rate_factor(12, 12, OptimConfig(warmup_steps=4, floor=0.1)) == pytest.approx(0.1)


def test_linear_by_hand():
    assert _curve(6, schedule="linear", warmup_steps=2) == pytest.approx([0.5, 1.0, 1.0, 0.75, 0.5, 0.25])
    assert 0 < rate_factor(6, 6, OptimConfig(schedule="linear", warmup_steps=2)) < 1e-6


def test_constant_by_hand():
    assert _curve(5, schedule="constant", warmup_steps=2) == pytest.approx([0.5, 1, 1, 1, 1])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (3, 0), (3, 3), (3, 100), (50, 10)])
def test_every_rate_is_positive_at_most_one_and_falls_after_the_warm_up(schedule, total, warmup):
    curve = _curve(total, schedule=schedule, warmup_steps=warmup)
    assert all(0 < value <= 1 for value in curve)
    assert curve[: min(warmup, total)] == sorted(curve[: min(warmup, total)])
    assert curve[warmup:] == sorted(curve[warmup:], reverse=True)


def test_a_step_beyond_the_end_keeps_the_last_rate():
    config = OptimConfig(schedule="cosine", warmup_steps=0, floor=0.2)
    assert rate_factor(1000, 10, config) == pytest.approx(0.2)
