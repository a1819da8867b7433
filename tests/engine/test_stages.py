"""The plan of a run's stages: epochs, rates and settings as the recipe has them, refusals in its own words."""

from __future__ import annotations

import pytest

from segtune.config import load_recipe
from segtune.core.config import validate
from segtune.core.errors import ConfigError
from segtune.engine.config import OptimConfig, TrainConfig
from segtune.engine.schedule import Schedule
from segtune.engine.stages import plan

THREE = [
    {"epochs": 30, "unfreeze": 0},
    {"epochs": 30, "unfreeze": 8, "lr_factor": 0.3, "name": "top"},
    {"epochs": None, "unfreeze": 16, "lr_factor": 0.05, "optim": {"schedule": "exponential", "warmup_steps": 0}},
]


def _train(**settings) -> TrainConfig:
    return validate(TrainConfig, settings, where="here")


def test_without_stages_there_is_one_over_everything() -> None:
    optim = OptimConfig(lr=3e-4)
    (only,) = plan(_train(epochs=7), optim)
    assert (only.index, only.epochs, only.optim, only.unfreeze, only.train) == (0, 7, optim, None, {})


def test_stages_have_their_epochs_rates_and_schedules() -> None:
    optim = OptimConfig(lr=1e-3, rates={"decoder": 2e-3}, schedule="restarts")
    first, second, third = plan(_train(epochs=100, stages=THREE), optim)
    assert [stage.epochs for stage in (first, second, third)] == [30, 30, 40]
    assert [stage.name for stage in (first, second, third)] == ["stage-1", "top", "stage-3"]
    assert [stage.best for stage in (first, second, third)] == ["stage-1-best", "stage-2-best", "stage-3-best"]
    assert [stage.unfreeze for stage in (first, second, third)] == [0, 8, 16]
    assert first.optim == optim
    assert [second.optim.lr, second.optim.rates["decoder"]] == pytest.approx([3e-4, 6e-4])
    assert [third.optim.lr, third.optim.rates["decoder"]] == pytest.approx([5e-5, 1e-4])
    assert (second.optim.schedule, third.optim.schedule, third.optim.warmup_steps) == ("restarts", "exponential", 0)


@pytest.mark.parametrize(
    ("epochs", "stages", "words"),
    [
        (10, [{"epochs": 4}, {"epochs": 5}], "9 epochs in all"),
        (10, [{"epochs": 4}, {"epochs": 6}, {"epochs": None}], "10 epochs in all"),
        (10, [{"epochs": None}, {"epochs": None}], "more than one"),
        (10, [{"epochs": 0}, {"epochs": 10}], "greater than or equal to 1"),
        (10, [{"epochs": 10, "unfreze": 2}], "unfreeze"),
        (10, [{"epochs": 10, "unfreeze": -1}], "unfreeze"),
        (10, [{"epochs": 10, "lr_factor": 0}], "lr_factor"),
    ],
)
def test_stages_that_cannot_be_are_refused(epochs: int, stages: list, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _train(epochs=epochs, stages=stages)


@pytest.mark.parametrize(
    ("optim", "words"), [({"shedule": "cosine"}, "schedule"), ({"lr": -1}, "lr"), ({"name": "adamw8bit"}, "one kind")]
)
def test_settings_of_a_stage_that_do_not_exist_are_refused(optim: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refusal:
        plan(_train(epochs=1, stages=[{"epochs": 1, "optim": optim}]), OptimConfig())
    assert "train.stages[0]" in str(refusal.value)


def test_the_recipe_of_the_first_users_is_theirs() -> None:
    """30, 30 and the rest of 100 epochs; 0, 8 and 16 blocks; restarts of 15 epochs after 60 steps, down to 1e-7."""
    config = load_recipe("dinov2-giant-stages", ["data.root=photos"])
    stages = plan(config.train, config.optim)
    assert [(stage.epochs, stage.unfreeze) for stage in stages] == [(30, 0), (30, 8), (40, 16)]
    assert [stage.optim.lr for stage in stages] == pytest.approx([1e-4, 3e-5, 5e-6])
    for stage in stages[:2]:
        optim = stage.optim
        assert (optim.schedule, optim.period, optim.period_multiplier, optim.burn_in_steps) == ("restarts", 15, 1, 60)
        assert optim.lr * optim.floor == pytest.approx(1e-7, rel=1e-3)
    assert (stages[2].optim.schedule, stages[2].optim.gamma) == ("exponential", 0.999)
    assert (config.model.encoder, config.model.decoder, config.optim.warmup_steps) == (
        "facebook/dinov2-giant",
        "unet",
        0,
    )


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 60])
def test_exponential_is_its_factor_to_the_power_of_the_epoch_whatever_the_batches(steps_per_epoch: int) -> None:
    config = OptimConfig(schedule="exponential", gamma=0.999, warmup_steps=0)
    schedule = Schedule(config, 101 * steps_per_epoch, steps_per_epoch)
    assert schedule.factor(100 * steps_per_epoch) == pytest.approx(0.999**100)
    assert schedule.factor(100 * steps_per_epoch - 1) == pytest.approx(0.999**99)


def test_the_period_of_restarts_counts_steps_or_epochs() -> None:
    by_step = OptimConfig(schedule="restarts", period=15, warmup_steps=0, burn_in_steps=60, floor=0.1)
    by_epoch = by_step.model_copy(update={"period": 3, "period_unit": "epoch"})
    first, second = Schedule(by_step, 1000, 5), Schedule(by_epoch, 1000, 5)
    assert [first.factor(step) for step in range(200)] == [second.factor(step) for step in range(200)]
    assert [first.factor(step) for step in (0, 59, 60, 75, 90)] == [1.0] * 5
    assert first.factor(74) < 0.13
