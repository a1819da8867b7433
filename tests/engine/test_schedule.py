from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from transformers import get_wsd_schedule

from segtune.engine.config import OptimConfig
from segtune.engine.schedule import Schedule


def _schedule(total: int, per_epoch: int = 10**9, **changes) -> Schedule:
    return Schedule(OptimConfig.model_validate(changes), total, per_epoch)


def _curve(total: int, per_epoch: int = 10**9, **changes) -> list[float]:
    schedule = _schedule(total, per_epoch, **changes)
    return [schedule.factor(step) for step in range(total)]


def test_cosine_by_hand():
    curve = _curve(12, schedule="cosine", warmup_steps=4, floor=0.1)
    assert curve[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    # eight steps of half a cosine from 1 towards 0.1
    assert curve[4] == pytest.approx(1.0)
    assert curve[6] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.sqrt(0.5)))
    assert curve[8] == pytest.approx(0.55)
    assert curve[10] == pytest.approx(0.1 + 0.9 * 0.5 * (1 - math.sqrt(0.5)))
    assert curve[11] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 7 / 8)))
    assert _schedule(12, warmup_steps=4, floor=0.1).factor(12) == pytest.approx(0.1)


def test_linear_by_hand():
    assert _curve(6, schedule="linear", warmup_steps=2) == pytest.approx([0.5, 1.0, 1.0, 0.75, 0.5, 0.25])
    assert 0 < _schedule(6, schedule="linear", warmup_steps=2).factor(6) < 1e-6


def test_constant_by_hand():
    assert _curve(5, schedule="constant", warmup_steps=2) == pytest.approx([0.5, 1, 1, 1, 1])


def test_none_is_the_peak_from_the_first_step():
    assert _curve(5, schedule="none", warmup_steps=100) == [1.0] * 5


def test_restarts_by_hand():
    """Two steps of warm-up, one of burn-in, then cosines of 2, 4 and 8 steps from 1 to 0.2."""
    curve = _curve(12, schedule="restarts", warmup_steps=2, burn_in_steps=1, period=2, period_multiplier=2, floor=0.2)
    quarter = math.sqrt(0.5)
    four = [1.0, 0.2 + 0.4 * (1 + quarter), 0.6, 0.2 + 0.4 * (1 - quarter)]
    assert curve == pytest.approx([0.5, 1.0, 1.0, 1.0, 0.6, *four, 1.0, 0.2 + 0.4 * (1 + math.cos(math.pi / 8)),
                                   0.2 + 0.4 * (1 + math.cos(math.pi / 4))])  # fmt: skip


@pytest.mark.parametrize("multiplier", [1, 3])
def test_restarts_are_those_of_torch(multiplier):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 5, multiplier, eta_min=0.01)
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    ours = _curve(40, schedule="restarts", warmup_steps=0, period=5, period_multiplier=multiplier, floor=0.01)
    assert ours == pytest.approx(rates)


def test_the_peak_is_held_before_the_rate_falls():
    curve = _curve(12, schedule="warmup_stable_decay", warmup_steps=2, decay_share=0.4, floor=0.1)
    half = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)]
    assert curve == pytest.approx([0.5, *[1.0] * 7, *half])
    assert _schedule(12, schedule="warmup_stable_decay", warmup_steps=2, floor=0.1).factor(12) == pytest.approx(0.1)
    whole = _curve(12, schedule="warmup_stable_decay", warmup_steps=2, decay_share=1.0)
    assert whole == pytest.approx(_curve(12, schedule="cosine", warmup_steps=2))


def test_it_is_the_schedule_of_transformers():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    theirs = get_wsd_schedule(optimizer, num_warmup_steps=0, num_decay_steps=12, num_stable_steps=28, min_lr_ratio=0.05)
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    ours = _curve(40, schedule="warmup_stable_decay", warmup_steps=0, decay_share=0.3, floor=0.05)
    assert ours == pytest.approx(rates)


def test_exponential_moves_between_epochs_alone():
    curve = _curve(7, 3, schedule="exponential", warmup_steps=0, gamma=0.5)
    assert curve == pytest.approx([1, 1, 1, 0.5, 0.5, 0.5, 0.25])
    warm = _curve(4, 2, schedule="exponential", warmup_steps=4, gamma=0.5)
    assert warm == pytest.approx([0.25, 0.5, 0.75 * 0.5, 0.5])


def test_plateau_by_hand():
    schedule = _schedule(100, 10, schedule="plateau", warmup_steps=2, plateau_factor=0.5, lr=1e-3, min_rate=2e-4)
    assert [schedule.factor(0), schedule.factor(1), schedule.factor(99)] == [0.5, 1.0, 1.0]
    assert [schedule.factor(50, reductions) for reductions in range(5)] == pytest.approx([1, 0.5, 0.25, 0.2, 0.2])


def test_each_knows_its_unit():
    units = {
        name: _schedule(10, 5, schedule=name).unit for name in get_args(OptimConfig.model_fields["schedule"].annotation)
    }
    assert {name for name, unit in units.items() if unit == "epoch"} == {"exponential", "plateau"}
    for name, unit in units.items():
        curve = _curve(20, 5, schedule=name, warmup_steps=0, gamma=0.5)
        inside = [curve[i] == curve[i + 1] for i in range(19) if i % 5 != 4]
        assert all(inside) or unit == "step", name


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "plateau", "exponential", "none"])
@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (3, 0), (3, 3), (3, 100), (50, 10)])
def test_every_rate_is_positive_at_most_one_and_falls_after_the_warm_up(schedule, total, warmup):
    curve = _curve(total, 1000, schedule=schedule, warmup_steps=warmup)
    assert all(0 < value <= 1 for value in curve)
    assert curve[: min(warmup, total)] == sorted(curve[: min(warmup, total)])
    assert curve[warmup:] == sorted(curve[warmup:], reverse=True)


def test_a_step_beyond_the_end_keeps_the_last_rate():
    assert _schedule(10, schedule="cosine", warmup_steps=0, floor=0.2).factor(1000) == pytest.approx(0.2)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "plateau", "restarts", "exponential"])
def test_a_warm_up_longer_than_the_run_is_told(schedule: str) -> None:
    told = _schedule(12, schedule=schedule, warmup_steps=100).shortcoming()
    assert "optim.warmup_steps=100 is more than the 12 steps of this run" in told
    assert "12% of optim.lr" in told
    assert "\n" not in told
    assert not _schedule(12, schedule=schedule, warmup_steps=12).shortcoming()  # the last step is made with the peak


def test_without_a_warm_up_none_is_too_long() -> None:
    assert not _schedule(5, schedule="none", warmup_steps=100).shortcoming()
    assert not _schedule(5, warmup_steps=0).shortcoming()
