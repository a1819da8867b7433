"""Grid files: what they may say, and what is told where they say something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.sweep.making import a_search, grid_file

from segtune.core.errors import ConfigError
from segtune.sweep.config import Range, label
from segtune.sweep.grids import find_grid, load_search, shipped_grids
from segtune.sweep.points import Base, resolved


def test_a_grid_file_is_read(tmp_path: Path) -> None:
    search = load_search(str(grid_file(tmp_path)), ["optim.warmup_steps=3"], study="other", root="elsewhere")
    assert (search.name, search.root, search.sampler) == ("other", "elsewhere", "grid")
    assert search.overrides == ("optim.warmup_steps=3",)
    assert search.axes == {"optim.lr": (1e-4, 1e-3), "losses.dice": (0.5, 2.0)}
    assert load_search(str(grid_file(tmp_path))).name == "mine"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"axes": {"optim.lr": []}}, "optim.lr is an empty axis"),
        ({"axes": {}}, "axes"),
        ({"axes": {"optim.lr": 3}}, "optim.lr needs a list of values or a range"),
        ({"axes": {"optim.lr": [1e-3, 0.001]}}, "optim.lr has 0.001 twice"),
        ({"axes": {"run.name": ["a"]}}, "run.name belongs to the search"),
        ({"axes": {"train.epochs": [1, 2]}}, "exclude each other"),
        ({"axes": {"optim.lr": {"low": 1, "high": 2}}}, "a grid needs its step"),
        ({"axes": {"optim.lr": {"low": 2, "high": 2}}, "sampler": "random"}, "is not below"),
        ({"axes": {"optim.lr": {"low": 0, "high": 2, "log": True}}, "sampler": "random"}, "low above 0"),
        ({"axes": {"optim.lr": {"low": 1, "hihg": 2}}, "sampler": "random"}, "axes.optim.lr.hihg: no such key"),
        ({"trials": 3}, "a grid runs every point"),
        ({"sampler": "tpee"}, "sampler"),
        ({"metrik": "loss"}, "metrik: no such key; did you mean metric?"),
        ({"recipe": None}, "recipe: is missing"),
    ],
)
def test_a_wrong_grid_file(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_search(str(grid_file(tmp_path, **changes)))
    assert told in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_a_recipe_is_no_grid_file() -> None:
    from segtune.core.recipe_files import shipped_recipes

    with pytest.raises(ConfigError, match="not a grid file") as caught:
        load_search(str(shipped_recipes()["quickstart"]))
    assert "segtune train" in caught.value.fix


def test_a_grid_file_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no such grid file") as caught:
        find_grid("grids/quickstrat.yaml")
    assert caught.value.fix == "did you mean quickstart?"


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden"])
def test_a_name_that_is_no_file_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a name for a study"):
        load_search(str(grid_file(tmp_path)), study=name)


@pytest.mark.parametrize("name", sorted(shipped_grids()))
def test_shipped_grids_are_valid(name: str) -> None:
    search = load_search(f"grids/{name}.yaml")
    assert search.description[:1].isupper()
    assert search.description.endswith(".")
    resolved(search, Base.read(search))


def test_a_recipe_beside_the_grid_file(tmp_path: Path) -> None:
    (tmp_path / "own-recipe.yaml").write_text("extends: quickstart\nlosses: {bce: 7}\n")
    search = a_search(tmp_path, recipe="own-recipe.yaml")
    assert Base.read(search).config({}).losses.bce == 7
    assert Base.read(search).config({}).recipe == "own-recipe"


def test_values_of_a_range_are_what_is_written() -> None:
    assert Range(low=0.1, high=0.5, step=0.1).values() == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert Range(low=2, high=9, step=3).values() == (2, 5, 8)
    assert all(isinstance(value, int) for value in Range(low=2, high=9, step=3).values())
    with pytest.raises(ValueError, match="without step"):
        Range(low=1, high=2).values()


def test_labels_tell_values_apart() -> None:
    values = [1, "1", 1.0, True, "true", None, "null", "cosine", [1, 2], {"a": 1}, "a: b", "[", "", " x"]
    labels = [label(value) for value in values]
    assert len(set(labels)) == len(values)
    assert label("cosine") == "cosine"
