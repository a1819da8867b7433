"""From axes to points: the combinations of a grid, the configuration of each, and its check before anything runs."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from segtune.config import AnyConfig, validate_run
from segtune.core.config import merge_overrides
from segtune.core.errors import ConfigError
from segtune.core.recipe_files import read_recipe, recipe_name
from segtune.sweep.config import Axis, Range, SearchConfig, label

_MOST_POINTS = 100_000
_MOST_CORNERS = 2_000
_TOLD = 5  # problems of points in one message


@dataclass(frozen=True)
class Point:
    """One combination of values.

    Attributes:
        index: Its place in the search, from 0.
        settings: Key of the recipe to value.
    """

    index: int
    settings: dict[str, Any]

    def __str__(self) -> str:
        return " ".join(f"{key}={label(value)}" for key, value in self.settings.items())


@dataclass(frozen=True)
class Base:
    """What all points of a search share: the recipe as plain data, overrides applied."""

    mapping: dict[str, Any]

    @classmethod
    def read(cls, search: SearchConfig) -> Base:
        """Reads the recipe of a search.

        Raises:
            ConfigError: No such recipe, or a malformed override.
        """
        overrides = [*search.overrides, *([f"train.epochs={search.epochs}"] if search.epochs else [])]
        return cls({"recipe": recipe_name(search.recipe), **read_recipe(search.recipe, overrides)})

    def config(self, settings: Mapping[str, Any], where: str = "the recipe of the search") -> AnyConfig:
        """The validated configuration of a run.

        Args:
            settings: Key to value, over the recipe's.
            where: For the message.

        Raises:
            ConfigError: An unknown key (with the nearest), or values that do not fit or contradict each other.
        """
        overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        return validate_run(merge_overrides(self.mapping, overrides), where=where)


def grid_points(search: SearchConfig) -> list[Point]:
    """Every combination of the axes, the last axis fastest.

    Raises:
        ConfigError: There are more than 100,000.
    """
    axes = [axis.values() if isinstance(axis, Range) else axis for axis in search.axes.values()]
    if (count := math.prod(len(axis) for axis in axes)) > _MOST_POINTS:
        raise ConfigError(f"a grid of {count} points", expected=f"at most {_MOST_POINTS}", fix="sampler=random")
    return [
        Point(index, dict(zip(search.axes, values, strict=True)))
        for index, values in enumerate(itertools.product(*axes))
    ]


def resolved(search: SearchConfig, base: Base) -> SearchConfig:
    """The search with its metric filled in, after everything about it is checked that can be known before it runs.

    Args:
        search: As `load_search` gives it.
        base: Its recipe.

    Returns:
        The same search; `metric` and `trials` are set, and a range with whole ends over a fractional key has fractional
        ones.

    Raises:
        ConfigError: The recipe, the metric or any point is wrong.
    """
    config = base.config({}, where=f"recipe {search.recipe}")
    if config.run.export:
        raise ConfigError(
            "every trial would export to the same place", where="run.export", found=config.run.export,
            fix="set run.export when you train the best configuration",
        )  # fmt: skip
    metric = search.metric or config.train.best
    _require_metric(metric, base, config)
    trials = None if search.sampler == "grid" else search.budget
    search = search.model_copy(update={"metric": metric, "trials": trials})
    search = search.model_copy(
        update={"axes": {key: _of_its_kind(key, axis, base, search) for key, axis in search.axes.items()}}
    )
    check_points(base, grid_points(search) if search.sampler == "grid" else _corners(search))
    return search


def highest_is_best(search: SearchConfig, base: Base) -> bool:
    """Whether the largest value of the search's metric is the best one."""
    config = base.config({})
    return config.train.highest_is_best(search.metric or config.train.best)


def check_points(base: Base, points: Iterable[Point]) -> None:
    """Builds the configuration of every point.

    Raises:
        ConfigError: One error with every different problem and the first point that has it.
    """
    problems: dict[str, tuple[Point, int]] = {}
    for point in points:
        try:
            base.config(point.settings, where="")
        except ConfigError as error:
            for line in error.message.splitlines()[1:] or [error.message]:
                first, count = problems.get(line.strip(), (point, 0))
                problems[line.strip()] = first, count + 1
    if not problems:
        return
    told = [
        f"  {problem}\n    at {first}" + (f", and {count - 1} other points" if count > 1 else "")
        for problem, (first, count) in itertools.islice(problems.items(), _TOLD)
    ]
    if len(problems) > _TOLD:
        told.append(f"  and {len(problems) - _TOLD} other problems")
    raise ConfigError("\n".join(["not every point can be run; nothing was started", *told]), where="axes")


def _require_metric(metric: str, base: Base, config: AnyConfig) -> None:
    """A metric is what could decide about the best checkpoint: the configuration knows which keys can."""
    try:
        base.config({"train.best": metric, "train.best_goal": None})
    except ConfigError as error:
        problem = error.message.splitlines()[-1].strip()
        raise ConfigError(f"no value of {metric} would come: {problem}", where="metric") from error
    if metric.startswith("val_") and config.data.val is None:
        raise ConfigError(
            f"no value of {metric} would come: the recipe has no validation data", where="metric",
            fix="set data.val, or take a metric of training",
        )  # fmt: skip


def _of_its_kind(key: str, axis: Axis, base: Base, search: SearchConfig) -> Axis:
    """A range of the kind of number that its key holds: whole ends over a fractional key become fractional."""
    if not isinstance(axis, Range):
        return axis
    first = _first_point(search) | {key: axis.low}
    value: Any = base.config(first, where=f"axes.{key}").model_dump(mode="json")
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, list) else value.get(part)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError("a range needs a key that holds a number", where=f"axes.{key}", fix="give a list of values")
    if isinstance(value, float):
        step = None if axis.step is None else float(axis.step)
        return axis.model_copy(update={"low": float(axis.low), "high": float(axis.high), "step": step})
    ends = (axis.low, axis.high, axis.step or 1)
    if any(number != int(number) for number in ends):
        raise ConfigError("this key holds whole numbers", where=f"axes.{key}", found=", ".join(map(str, ends)))
    step = None if axis.step is None else int(axis.step)
    return axis.model_copy(update={"low": int(axis.low), "high": int(axis.high), "step": step})


def _first_point(search: SearchConfig) -> dict[str, Any]:
    return {key: axis.low if isinstance(axis, Range) else axis[0] for key, axis in search.axes.items()}


def _corners(search: SearchConfig) -> Iterator[Point]:
    """Listed values with the ends of ranges: all combinations, or of too many each value beside the first ones."""
    ends = {key: (axis.low, axis.high) if isinstance(axis, Range) else axis for key, axis in search.axes.items()}
    if math.prod(len(values) for values in ends.values()) <= _MOST_CORNERS:
        for index, values in enumerate(itertools.product(*ends.values())):
            yield Point(index, dict(zip(ends, values, strict=True)))
        return
    first = _first_point(search)
    for key, values in ends.items():
        for index, value in enumerate(values):
            yield Point(index, first | {key: value})
