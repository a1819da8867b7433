"""Points of a grid, and the check of every one of them before anything runs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from tests.sweep.making import a_search

from segtune.core.config import merge_overrides
from segtune.core.errors import ConfigError
from segtune.sweep.config import Range
from segtune.sweep.points import Base, grid_points, highest_is_best, resolved


def test_a_grid_is_the_product_of_its_axes(tmp_path: Path) -> None:
    axes = {"optim.lr": [1e-4, 1e-3], "losses.dice": {"low": 0.5, "high": 1.5, "step": 0.5}, "run.seed": [0, 1]}
    points = grid_points(a_search(tmp_path, axes=axes))
    assert [point.index for point in points] == list(range(12))
    expected = itertools.product([1e-4, 1e-3], [0.5, 1.0, 1.5], [0, 1])
    assert [tuple(point.settings.values()) for point in points] == list(expected)
    assert str(points[0]) == "optim.lr=0.0001 losses.dice=0.5 run.seed=0"


def test_too_many_points_are_told(tmp_path: Path) -> None:
    axes = {key: list(range(1, 100)) for key in ("train.batch_size", "train.accumulate", "run.seed")}
    with pytest.raises(ConfigError, match="970299 points"):
        grid_points(a_search(tmp_path, axes=axes))


@pytest.mark.parametrize(
    "value", [1, 0.25, True, None, "text: with [marks] #", "1e-3", ["q_proj", "v_proj"], {"patience": 3}]
)
def test_a_value_reaches_the_configuration_as_it_is(value: Any) -> None:
    assert merge_overrides({"a": {"b": 0}, "kept": 1}, [f"a.b={json.dumps(value)}"]) == {"a": {"b": value}, "kept": 1}


def test_settings_common_to_all_points(tmp_path: Path) -> None:
    search = a_search(tmp_path, overrides=["train.batch_size=3"], epochs=7)
    config = Base.read(search).config({"optim.lr": 2e-4})
    assert (config.train.batch_size, config.train.epochs, config.optim.lr) == (3, 7, 2e-4)
    assert config.recipe == "quickstart"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"axes": {"optim.lrr": [1e-3]}}, ("optim.lrr: no such key; did you mean optim.lr?",)),
        ({"axes": {"optim.lr": [1e-3, -1.0]}}, ("optim.lr: input should be greater than 0", "optim.lr=-1.0")),
        (
            {"axes": {"optim.lr": [1e-3, 1e-5], "optim.min_rate": [0, 1e-4]}},
            ("min_rate=0.0001 is above lr=1e-05", "optim.lr=1e-05 optim.min_rate=0.0001"),
        ),
        ({"axes": {"optim": [1]}}, ("optim: is a section",)),
        ({"axes": {"optim.lr.x": [1]}}, ("optim.lr is a value and has no keys below it",)),
        (
            {"sampler": "random", "axes": {"optim.lr": {"low": 1e-6, "high": 1e-2}, "optim.min_rate": [0, 1e-4]}},
            ("min_rate=0.0001 is above lr=1e-06",),
        ),
        (
            {"sampler": "tpe", "axes": {"optim.schedule": {"low": 1, "high": 2}}},
            ("optim.schedule",),
        ),
        ({"sampler": "tpe", "axes": {"train.batch_size": {"low": 1.0, "high": 2.5}}}, ("whole numbers",)),
        ({"sampler": "tpe", "axes": {"eval.before": {"low": 0, "high": 1}}}, ("holds a number",)),
        ({"metric": "val_gIou"}, ("metric", "did you mean val_gIoU?")),
        ({"metric": "val_tversky"}, ("metric", "losses.tversky above 0")),
        ({"overrides": ["data.val=null", "train.best=loss"], "metric": "val_loss"}, ("no validation data",)),
        ({"overrides": ["run.export=base"]}, ("run.export", "same place")),
        ({"overrides": ["optim.lrr=1"]}, ("optim.lrr: no such key", "recipe quickstart")),
        ({"recipe": "quickstrat"}, ("no such recipe", "did you mean quickstart?")),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(
    changes: dict[str, Any], told: tuple[str, ...], tmp_path: Path
) -> None:
    search = a_search(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        resolved(search, Base.read(search))
    for text in told:
        assert text in str(caught.value)


def test_equal_problems_are_told_once(tmp_path: Path) -> None:
    search = a_search(tmp_path, axes={"optim.lrr": [1, 2, 3], "losses.dise": [1, 2]})
    with pytest.raises(ConfigError) as caught:
        resolved(search, Base.read(search))
    message = str(caught.value)
    assert message.count("optim.lrr: no such key") == 1
    assert message.count("losses.dise: no such key") == 1
    assert "at optim.lrr=1 losses.dise=1, and 5 other points" in message


@pytest.mark.parametrize(
    ("key", "ends", "kind"),
    [("losses.dice", (0, 4), float), ("train.batch_size", (1.0, 4.0), int), ("optim.lr", (1e-4, 1e-2), float)],
)
def test_a_range_takes_the_kind_of_its_key(key: str, ends: tuple[float, float], kind: type, tmp_path: Path) -> None:
    search = a_search(tmp_path, sampler="random", axes={key: {"low": ends[0], "high": ends[1]}})
    axis = resolved(search, Base.read(search)).axes[key]
    assert isinstance(axis, Range)
    assert type(axis.low) is type(axis.high) is kind


def test_the_metric_and_its_direction(tmp_path: Path) -> None:
    search = a_search(tmp_path)
    base = Base.read(search)
    assert resolved(search, base).metric == "val_generate_gIoU"
    assert highest_is_best(resolved(search, base), base)
    lowest = a_search(tmp_path, metric="val_loss")
    assert not highest_is_best(lowest, base)
    given = a_search(tmp_path, overrides=["train.best=val_gIoU", "train.best_goal=min"])
    assert not highest_is_best(given, Base.read(given))


def test_a_dense_recipe_is_searched_by_its_own_keys_and_metric(tmp_path: Path) -> None:
    axes = {"model.unfreeze": [0, 2, "all"], "losses.dice": {"low": 1, "high": 5, "step": 4}}
    search = a_search(tmp_path, recipe="shapes", overrides=[], axes=axes)
    base = Base.read(search)
    assert (resolved(search, base).metric, highest_is_best(search, base)) == ("val_mIoU", True)
    configs = [base.config(point.settings) for point in grid_points(search)]
    assert [config.model_dump()["model"]["unfreeze"] for config in configs] == [0, 0, 2, 2, "all", "all"]
    with pytest.raises(ConfigError, match="no value of val_gIoU would come"):
        resolved(a_search(tmp_path, recipe="shapes", overrides=[], axes=axes, metric="val_gIoU"), base)


STAGES = """
extends: quickstart
train:
  epochs: 4
  stages: [{name: words, epochs: 2, train: {mask_decoder: frozen}}, {name: all, lr_factor: 0.3}]
"""


def test_an_axis_over_one_stage_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "stages.yaml").write_text(STAGES)
    axes = {"train.stages.1.lr_factor": {"low": 1, "high": 3, "step": 1}, "train.stages.0.epochs": [1, 2]}
    search = a_search(tmp_path, recipe=str(tmp_path / "stages.yaml"), epochs=None, axes=axes)
    base = Base.read(search)
    points = grid_points(resolved(search, base))
    made = [base.config(point.settings).train.stages for point in points]
    assert [(stages[0].epochs, stages[1].lr_factor) for stages in made] == [
        (epochs, factor) for factor in (1.0, 2.0, 3.0) for epochs in (1, 2)
    ]
    assert all(isinstance(stages[1].lr_factor, float) for stages in made)
    assert {(stages[0].name, stages[1].name) for stages in made} == {("words", "all")}
    search = a_search(
        tmp_path, recipe=str(tmp_path / "stages.yaml"), epochs=None, axes={"train.stages.2.lr_factor": [0.1]}
    )
    with pytest.raises(ConfigError, match=r"train.stages is a list of 2 and has no entry 2"):
        resolved(search, Base.read(search))
